//! Structured logs on standard error, in a human format or as JSON.

mod fields;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::OnceLock;

use tracing::{Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

use super::traces::{self, Traces};
use crate::escape::{self, EscapingWriter};
use fields::HumanFields;

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line that people can read.
    Human,
    /// One JSON object for each line.
    Json,
}

/// Parses a log filter. Adds directives that exclude the spans of traces, and the warnings of `rustls` if the filter
/// does not name `rustls`.
fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    let names_rustls = filter.contains("rustls");
    let mut filter = EnvFilter::builder().parse(filter)?;
    if !names_rustls {
        // Any client can cause warnings of `rustls` before it has authenticated.
        filter = filter.add_directive("rustls=error".parse()?);
    }
    // `kube` logs the text of an answer that it cannot parse, and an answer can contain a token.
    filter = filter.add_directive("kube_client::client=error".parse()?);
    Ok(filter.add_directive(format!("{}=off", traces::TARGET).parse()?))
}

/// The filter of the process, set by [`init`].
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Returns a layer that writes one line for each event. No text in an event can start a new line or look like another
/// field.
pub(crate) fn line_layer<S, W>(
    format: LogFormat,
    writer: impl Fn() -> W + Send + Sync + 'static,
    colours: bool,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    match format {
        LogFormat::Json => fmt::layer()
            .with_writer(move || EscapingWriter::new(writer(), escape::json))
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
        LogFormat::Human => fmt::layer()
            .with_writer(writer)
            .fmt_fields(HumanFields)
            .with_ansi(colours)
            .boxed(),
    }
}

/// Sends logs that match `filter` (`info`, or directives such as `info,curfew_store=debug`) to standard error, and
/// spans to `traces`. A second call in a process has no effect.
///
/// # Errors
/// [`ParseError`] if `filter` is invalid.
pub fn init(format: LogFormat, filter: &str, traces: Option<&Traces>) -> Result<(), ParseError> {
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    #[expect(
        clippy::disallowed_methods,
        reason = "`line_layer` escapes the text of each event"
    )]
    let stderr = || std::io::stderr();
    let layer = line_layer(format, stderr, std::io::IsTerminal::is_terminal(&stderr()));
    let spans = traces.map(|traces| {
        let spans = tracing_opentelemetry::layer().with_tracer(traces.tracer());
        let trace_targets = Targets::new().with_target(traces::TARGET, Level::INFO);
        spans
            .with_location(false)
            .with_threads(false)
            .with_filter(trace_targets)
    });
    // `try_init` fails only if the process has a subscriber already, for example in tests that start several services.
    let result = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .with(spans)
        .try_init();
    if result.is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Replaces the filter. Does nothing before [`init`].
///
/// # Errors
/// [`ParseError`] if `filter` is invalid.
pub fn set_filter(filter: &str) -> Result<(), ParseError> {
    let filter = parse_filter(filter)?;
    if let Some(handle) = FILTER.get() {
        // `reload` fails only after the subscriber is dropped, at the end of the process.
        let _ = handle.reload(filter);
    }
    Ok(())
}
