use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use prost::Message;
use spop::{Action, FramePayload, FrameType, SpopCodec, TypedData};
use tokio_util::codec::Decoder;
use tower::ServiceExt;

use super::{parse_headers, split_head_and_body};
use crate::app::App;
use crate::browser::BrowserService;
use crate::clock::ManualClock;
use crate::config::ConfigSource;
use crate::contract::CheckService;
use crate::contract::ext_authz_grpc::{ExtAuthz, wire};
use crate::contract::spoe::Agent;
use crate::listener::SpopService;
use crate::session::Timestamp;

/// The maximum size of a SPOE frame, as in the agent.
const MAX_FRAME_BYTES: u32 = 128 * 1024;

/// The whole service with `fuzz/curfew.yaml`, without its listeners. It has no session. Only requests below `/public`
/// are allowed, because they need no session.
struct Service {
    runtime: tokio::runtime::Runtime,
    app: App,
    check_service: CheckService,
    browser: BrowserService,
    grpc: ExtAuthz,
    agent: Agent,
    admin: Router,
}

thread_local! {
    static SERVICE: Option<Service> = Service::start();
}

impl Service {
    fn start() -> Option<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().ok()?;
        let source = ConfigSource {
            file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/curfew.yaml").into()),
            environment: Default::default(),
        };
        let loaded = source.load().inspect_err(|error| eprintln!("{error}"));
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_795_780_000_000)));
        let app = runtime.block_on(App::start(source, loaded.ok()?, clock));
        let app = app.inspect_err(|error| eprintln!("{error}")).ok()?;
        let (check_service, browser, grpc, agent, admin) = app.services();
        Some(Self {
            runtime,
            app,
            check_service,
            browser,
            grpc,
            agent,
            admin,
        })
    }
}

fn run_with_service(run: impl FnOnce(&Service)) {
    SERVICE.with(|service| {
        let Some(service) = service else {
            // Without the service, the targets would test nothing.
            std::process::abort();
        };
        run(service);
    });
}

/// Parses a request: a line with method and URL, headers, an empty line, and the body.
fn parse_request(data: &[u8]) -> Option<Request<Body>> {
    let (lines, body) = split_head_and_body(data);
    let (first, rest) = lines.split_first()?;
    let mut parts = first.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(parts.next()?);
    request = request.uri(parts.next()?);
    let mut request = request.body(Body::from(body.to_vec())).ok()?;
    *request.headers_mut() = parse_headers(rest.iter().copied());
    Some(request)
}

/// Whether the decoded input contains a public path.
fn contains_public_path(data: &[u8]) -> bool {
    let decoded: Vec<u8> = percent_encoding::percent_decode(data).collect();
    memchr::memmem::find(&decoded, b"/public").is_some()
}

/// Returns the content of a body, or nothing if reading it fails.
async fn read_body<B>(body: B) -> Bytes
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let read = axum::body::to_bytes(Body::new(body), usize::MAX).await;
    read.unwrap_or_default()
}

/// Sends an HTTP request without a session. Checks that only requests for a public path are allowed, and that their
/// answer contains no identity. The answer is never a 500.
pub(super) fn http(data: &[u8]) {
    let Some(request) = parse_request(data) else {
        return;
    };
    let path = request.uri().path().to_owned();
    let is_check = !["/.", "/oidc", "/ssf"]
        .iter()
        .any(|start| path.starts_with(start));
    run_with_service(|service| {
        let response: Response<Body> = if is_check {
            service
                .runtime
                .block_on(service.check_service.answer(request, None))
        } else {
            service.runtime.block_on(service.browser.answer(request))
        };
        if !is_check {
            assert!(!response.headers().contains_key("x-session-user"));
        }
        let status = response.status();
        if is_check && status == StatusCode::OK {
            assert!(contains_public_path(data));
            assert_no_identity(response.headers());
        }
        assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE);
        service.runtime.block_on(read_body(response.into_body()));
    });
}

fn assert_no_identity(headers: &HeaderMap) {
    for name in ["x-session-user", "x-session-groups", "x-session-id"] {
        let mut values = headers.get_all(name).into_iter();
        assert!(values.all(http::HeaderValue::is_empty));
    }
}

/// Sends a gRPC message of Envoy. Checks that every message gets a complete answer with a status and a reply for the
/// client, and that only requests for public paths are allowed.
pub(super) fn check_request(data: &[u8]) {
    let mut framed = BytesMut::from(&[0_u8][..]);
    framed.put_u32(u32::try_from(data.len()).unwrap_or_default());
    framed.put_slice(data);
    let request = Request::post("/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .body(Body::from(framed.freeze()));
    let Ok(request) = request else { return };
    run_with_service(|service| {
        let answer = service.grpc.clone().oneshot(request);
        let response: Result<_, Infallible> = service.runtime.block_on(answer);
        let Ok(response) = response;
        let body = service.runtime.block_on(read_body(response.into_body()));
        let message = body.get(5..).unwrap_or_default();
        let Ok(answer) = wire::CheckResponse::decode(message) else {
            fail("a call must get an answer");
            return;
        };
        match (
            answer.status.map(|status| status.code),
            answer.http_response,
        ) {
            (Some(0), Some(wire::HttpResponse::Ok(_))) => assert!(contains_public_path(data)),
            (Some(code), Some(wire::HttpResponse::Denied(denied))) => {
                assert!(code != 0 && denied.status.is_some_and(|status| status.code >= 300));
            }
            _ => fail("the answer is incomplete"),
        }
    });
}

/// Sends the messages of a SPOE frame. Every request is denied, except requests for public paths. Messages with
/// another name than `check` get no verdict.
pub(super) fn spop(data: &[u8]) {
    let mut codec = SpopCodec::new(MAX_FRAME_BYTES);
    let mut bytes = BytesMut::from(data);
    while let Ok(Some(frame)) = codec.decode(&mut bytes) {
        if *frame.frame_type() != FrameType::Notify {
            continue;
        }
        let FramePayload::ListOfMessages(messages) = frame.payload() else {
            continue;
        };
        for message in messages.iter() {
            run_with_service(|service| {
                let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let actions = service
                    .runtime
                    .block_on(service.agent.answer(message, peer));
                let verdict = actions.iter().find_map(|action| match action {
                    Action::SetVar { name, value, .. } if name == "verdict" => Some(value),
                    _ => None,
                });
                let Some(verdict) = verdict else {
                    assert!(message.name != "check");
                    return;
                };
                let denied = *verdict == TypedData::String("deny".to_owned());
                assert!(denied || contains_public_path(data));
            });
        }
    }
}

/// Sends a request to the admin API, and checks that the answer is never a 500.
pub(super) fn admin(data: &[u8]) {
    let Some(mut request) = parse_request(data) else {
        return;
    };
    run_with_service(|service| {
        let token = service.app.ephemeral_secrets().admin_token.as_ref();
        let bearer = token.map(|token| format!("Bearer {}", token.expose()));
        let bearer = bearer.and_then(|bearer| http::HeaderValue::try_from(bearer).ok());
        if let Some(bearer) = bearer {
            request.headers_mut().insert("authorization", bearer);
        }
        let Ok(response) = service
            .runtime
            .block_on(service.admin.clone().oneshot(request));
        let status = response.status();
        assert!(!status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE);
        service.runtime.block_on(read_body(response.into_body()));
    });
}

fn fail(message: &str) {
    assert!(message.is_empty(), "{message}");
}
