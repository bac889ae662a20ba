//! Curfew sends spans to a collector with OTLP. The spans are children of the proxy's spans.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AttributeValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::*;
use crate::support::curfew::Curfew;
use crate::support::loopback;

/// A collector that keeps all spans.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind(loopback(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        address
    }

    fn spans(&self) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        let resources = all.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == name)?;
    match found.value.clone()?.value? {
        AttributeValue::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_SPAN_ID: &str = "00f067aa0ba902b7";

async fn check(curfew: &Curfew, path: &str, cookie: &str, traceparent: &str) -> u16 {
    let request = client()
        .get(format!("http://{}{path}", curfew.check))
        .header("cookie", cookie)
        .header("traceparent", traceparent);
    let request = match path {
        "/auth-request" => request
            .header("x-original-url", "https://app.example.com/secret-path")
            .header("x-original-method", "GET"),
        _ => request
            .header("x-forwarded-host", "app.example.com")
            .header("x-forwarded-uri", "/secret-path")
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-proto", "https"),
    };
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn checks_are_traced_if_the_proxy_samples_them() {
    let collector = Collector::default();
    let address = collector.start().await;
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url())
        .set("STORE__NEAR_CACHE_SESSIONS", "0")
        .set("LOG__FILTER", "trace")
        .set("TRACES__OTLP_URL", &format!("http://{address}"))
        .set("TRACES__RATIO", "0");
    let curfew = setup.start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let session = curfew.sign_in("alice").await;
    let sampled_context = format!("00-{TRACE_ID}-{PARENT_SPAN_ID}-01");
    let unsampled_context = "00-11111111111111111111111111111111-2222222222222222-00";
    assert_eq!(
        check(
            &curfew,
            "/auth-request",
            &session.cookie(),
            &sampled_context
        )
        .await,
        200
    );
    assert_eq!(
        check(
            &curfew,
            "/forward-auth",
            "__Host-session=forged",
            &sampled_context
        )
        .await,
        401
    );
    for context in [
        unsampled_context,
        "nonsense",
        "00-0-0-01",
        &format!("00-{TRACE_ID}-{PARENT_SPAN_ID}-01-x"),
    ] {
        assert_eq!(
            check(&curfew, "/auth-request", &session.cookie(), context).await,
            200
        );
    }
    // The process sends the remaining spans when it stops.
    let log = curfew.log();
    curfew.stop().await;
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| hex(&span.trace_id) == TRACE_ID),
        "{spans:?}"
    );
    let checks: Vec<&Span> = spans.iter().filter(|span| span.name == "check").collect();
    assert_eq!(checks.len(), 2, "{spans:?}");
    for (contract, verdict, policy) in [
        ("auth-request", "allow", "default"),
        ("forward-auth", "invalid_credential", "none"),
    ] {
        let found = checks
            .iter()
            .find(|span| attribute(span, "curfew.contract").as_deref() == Some(contract));
        let found = found.unwrap();
        assert_eq!(hex(&found.parent_span_id), PARENT_SPAN_ID);
        assert_eq!(found.kind, 2, "the span should have the kind `server`");
        assert_eq!(attribute(found, "curfew.verdict").unwrap(), verdict);
        assert_eq!(attribute(found, "curfew.policy").unwrap(), policy);
        assert!(found.end_time_unix_nano >= found.start_time_unix_nano);
    }
    // A forged token causes no store request.
    let load_span = spans.iter().find(|span| span.name == "load").unwrap();
    assert_eq!(load_span.parent_span_id, checks[0].span_id);
    assert_eq!(attribute(load_span, "curfew.result").unwrap(), "ok");
    let resource = collector.0.lock().unwrap()[0].resource_spans[0]
        .resource
        .clone();
    let resource = format!("{resource:?}");
    assert!(
        resource.contains("curfew") && resource.contains("service.instance.id"),
        "{resource}"
    );
    // The spans contain no secret and no requested URL.
    let exported_requests = format!("{:?}", collector.0.lock().unwrap());
    for text in [&*session.token, "secret-path", "alice", "forged"] {
        assert!(!exported_requests.contains(text), "{text}");
    }
    assert!(
        !log.contains("\"spans\":"),
        "the log should contain no spans"
    );
}

/// If Curfew cannot reach the collector, only the traces are lost.
#[tokio::test]
async fn checks_work_without_a_collector() {
    let setup = Setup::memory()
        .set("TRACES__OTLP_URL", "http://127.0.0.1:1")
        .set("TRACES__RATIO", "1");
    let curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    for _ in 0..50 {
        assert_eq!(curfew.check(&session).await, ALLOWED);
    }
    curfew.stop().await;
}

#[test]
fn invalid_trace_settings_are_reported() {
    for (settings, setting_name) in [
        (&[("OTLP_URL", "collector:4317")][..], "traces.otlp_url"),
        (&[("OTLP_URL", "https://collector:4317")], "traces.ca_file"),
        (&[("RATIO", "2")], "traces.ratio"),
    ] {
        let mut setup = Setup::memory();
        for (key, value) in settings {
            setup = setup.set(&format!("TRACES__{key}"), value);
        }
        let output = run_command(&setup, &["check-config"]);
        assert!(
            to_text(&output.stderr).contains(setting_name),
            "{setting_name}: {output:?}"
        );
    }
}
