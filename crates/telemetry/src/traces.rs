//! OpenTelemetry traces of checks. The span of a check is a child of the proxy's span (W3C Trace Context). The span
//! of a store request is a child of the check's span. No span contains a credential or a path.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use url::Url;

use super::Replica;
use crate::build;

/// The target of spans. Logs do not contain spans.
pub const TARGET: &str = "curfew::trace";

/// Timeout for an export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of the exporter.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The URL of the collector, which receives OTLP over gRPC.
    pub url: Url,
    /// PEM certificates of trusted authorities, for `https`.
    pub authorities: Option<Vec<u8>>,
    /// The fraction of checks to sample, from 0 to 1. The fraction applies only if the proxy has made no sampling
    /// decision.
    pub ratio: f64,
}

/// The exporter of traces.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the exporter on the current Tokio runtime.
    ///
    /// # Errors
    /// [`ExporterBuildError`] if the settings are invalid.
    pub fn new(settings: &TraceSettings, this: &Replica) -> Result<Self, ExporterBuildError> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(settings.url.as_str())
            .with_timeout(EXPORT_TIMEOUT);
        if let Some(authorities) = &settings.authorities {
            let authorities = Certificate::from_pem(authorities);
            exporter = exporter.with_tls_config(ClientTlsConfig::new().ca_certificate(authorities));
        }
        let resource = Resource::builder_empty()
            .with_service_name("curfew")
            .with_attributes([
                KeyValue::new("service.version", build::VERSION),
                KeyValue::new("service.instance.id", this.name.clone()),
            ])
            .build();
        // The sampling decision of the proxy has priority.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.ratio)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter.build()?)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Self(provider))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer("curfew")
    }

    /// Exports the remaining spans.
    pub async fn finish(self) {
        let finishing =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(EXPORT_TIMEOUT));
        if let Ok(Err(error)) = finishing.await {
            tracing::warn!(%error, "could not export the last traces");
        }
    }
}

/// Starts the span of a check, as a child of the span that the proxy names in `headers`.
#[must_use]
pub fn check_span(contract: &'static str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "check",
        otel.kind = "server",
        curfew.contract = contract,
        curfew.policy = tracing::field::Empty,
        curfew.verdict = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        let _ = span.set_parent(parent);
    }
    span
}

/// Records the result in the current check's span.
pub fn record_answer(policy: &str, verdict: &'static str) {
    let span = Span::current();
    span.record("curfew.policy", policy);
    span.record("curfew.verdict", verdict);
}

/// Starts the span of a store request.
#[must_use]
pub fn store_span(operation: &'static str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "store",
        otel.kind = "client",
        otel.name = operation,
        db.operation.name = operation,
        curfew.result = tracing::field::Empty,
    )
}

struct HeaderExtractor<'a>(&'a HeaderMap);

impl Extractor for HeaderExtractor<'_> {
    /// Returns the value of a header that occurs exactly once. Curfew trusts no header with two values.
    fn get(&self, key: &str) -> Option<&str> {
        let mut lines = self.0.get_all(key).iter();
        let line = lines.next()?.to_str().ok()?;
        lines.next().is_none().then_some(line)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
