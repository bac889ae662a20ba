//! Traces of checks, for OpenTelemetry: each check is a span below the one that the proxy has begun (W3C Trace
//! Context), and each question to the store is one below that. No credential is in any, and no path.

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

/// The target of spans, which no log shows.
pub const TARGET: &str = "curfew::trace";

/// The most time that an export may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where traces go.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The collector, which takes OTLP over gRPC.
    pub url: Url,
    /// PEM certificates of the authorities to trust, for `https`.
    pub authorities: Option<Vec<u8>>,
    /// The part of those checks that is traced whose proxy has not decided.
    pub ratio: f64,
}

/// What sends traces.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins; within a runtime, which it sends on.
    ///
    /// # Errors
    /// [`ExporterBuildError`] when it can't be sent like this.
    pub fn new(settings: &TraceSettings, this: &Replica) -> Result<Self, ExporterBuildError> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(settings.url.as_str())
            .with_timeout(TIMEOUT);
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
        // What the proxy has decided is decided.
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

    /// Sends what has not been sent.
    pub async fn finish(self) {
        let finishing = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(TIMEOUT));
        if let Ok(Err(error)) = finishing.await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// A check that begins, below the span that its headers name.
#[must_use]
pub fn check(contract: &'static str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "check",
        otel.kind = "server",
        curfew.contract = contract,
        curfew.policy = tracing::field::Empty,
        curfew.verdict = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        let _ = span.set_parent(parent);
    }
    span
}

/// What came of the check that this is a part of.
pub fn answered(policy: &str, verdict: &'static str) {
    let span = Span::current();
    span.record("curfew.policy", policy);
    span.record("curfew.verdict", verdict);
}

/// A question to the store.
#[must_use]
pub fn store(operation: &'static str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "store",
        otel.kind = "client",
        otel.name = operation,
        db.operation.name = operation,
        curfew.result = tracing::field::Empty,
    )
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    /// A header that is there once: of two that differ, which is right is not known.
    fn get(&self, key: &str) -> Option<&str> {
        let mut lines = self.0.get_all(key).iter();
        let line = lines.next()?.to_str().ok()?;
        lines.next().is_none().then_some(line)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
