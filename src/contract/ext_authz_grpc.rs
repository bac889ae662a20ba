//! Envoy `ext_authz` over gRPC (`envoy.service.auth.v3`).
//!
//! The proxy describes the original request in `CheckRequest.attributes`. The proxy can name a policy in
//! `context_extensions["policy"]`, which only the proxy's configuration can set. Envoy Gateway can name the route.
//!
//! Envoy reads a missing status as "OK", so every answer has a status. A denial is always a complete
//! `denied_response`, because after an error of the call, Envoy's setting `failure_mode_allow` would decide.

mod route;
pub(crate) mod wire;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::Contracts;
use super::allowed::{is_identity, other_spellings};
use super::reply::{ReplyForm, build_reply};
use crate::admission::{ConcurrencyLimit, Permit};
use crate::check::{
    CheckRequest, ClientAddress, InvalidUrl, MalformedOriginal, Original, OriginalUrl, Outcome,
};
use crate::listener::MAX_MESSAGE_BYTES;
use crate::live::Live;
use crate::policy::Contract;
use crate::session::{DenyReason, Verdict};

/// The key of the policy name in `context_extensions`.
const POLICY_KEY: &str = "policy";

/// The content type of a gRPC response.
const GRPC_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The gRPC service `envoy.service.auth.v3.Authorization`.
#[derive(Clone)]
pub struct ExtAuthz {
    contracts: Live<Contracts>,
    limit: ConcurrencyLimit,
}

type ResponseFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl NamedService for ExtAuthz {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

/// This implementation is not generated, because the messages are Curfew's own types.
impl<B> Service<http::Request<B>> for ExtAuthz
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != "/envoy.service.auth.v3.Authorization/Check" {
            let unknown =
                Status::unimplemented("unknown method: the service has only the method Check");
            return Box::pin(async move { Ok(unknown.into_http()) });
        }
        // Take the permit before the message is read, so that a slow upload also needs a permit. Without a permit, do
        // not read the message.
        let permit = self.limit.take();
        let mut check = CheckMethod(self.clone(), permit);
        Box::pin(async move {
            let peer = request.extensions().get::<TcpConnectInfo>();
            let peer = peer.and_then(TcpConnectInfo::remote_addr);
            let unreadable = if is_compressed(request.headers()) {
                COMPRESSED_MESSAGE
            } else if check.1.is_none() {
                MISSING_ATTRIBUTES
            } else {
                let mut grpc = Grpc::new(ProstCodec::default());
                grpc = grpc.max_decoding_message_size(MAX_MESSAGE_BYTES);
                let answer = grpc.unary(&mut check, request).await;
                if !answer.headers().contains_key(Status::GRPC_STATUS) {
                    return Ok(answer);
                }
                // The message is too large or missing.
                MISSING_ATTRIBUTES
            };
            let peer = peer.map(|address| address.ip());
            let denial = check.0.check(Err(unreadable), peer, check.1.take()).await;
            Ok(grpc_response(&denial))
        })
    }
}

/// Builds a complete gRPC response with this message.
fn grpc_response(message: &wire::CheckResponse) -> Response<Body> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0); // not compressed
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(bytes.freeze()).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

/// Whether the message of a call is compressed. Envoy does not compress it by default.
fn is_compressed(headers: &HeaderMap) -> bool {
    headers
        .get("grpc-encoding")
        .is_some_and(|encoding| encoding != "identity")
}

/// The only method of the service, with the permit of the call.
struct CheckMethod(ExtAuthz, Option<Permit>);

impl UnaryService<wire::CheckRequest> for &mut CheckMethod {
    type Response = wire::CheckResponse;
    type Future = ResponseFuture<Result<tonic::Response<wire::CheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<wire::CheckRequest>) -> Self::Future {
        let (service, permit) = (self.0.clone(), self.1.take());
        Box::pin(async move {
            let peer = request.remote_addr().map(|address| address.ip());
            let answer = service.check(Ok(request.into_inner()), peer, permit).await;
            Ok(tonic::Response::new(answer))
        })
    }
}

impl ExtAuthz {
    /// Creates the service. `limit` bounds the concurrent calls.
    #[must_use]
    pub const fn new(contracts: Live<Contracts>, limit: ConcurrencyLimit) -> Self {
        Self { contracts, limit }
    }

    async fn check(
        &self,
        message: Result<wire::CheckRequest, MalformedOriginal>,
        peer: Option<IpAddr>,
        permit: Option<Permit>,
    ) -> wire::CheckResponse {
        let unreadable = message.as_ref().err().copied();
        let attributes = message.ok().and_then(|message| message.attributes);
        let attributes = attributes.unwrap_or_default();
        // If a key has several entries, the last entry is used, as in every protobuf map.
        let mut extensions = attributes.context_extensions.iter().rev();
        let policy = extensions.find(|entry| entry.key == POLICY_KEY);
        // A value that is not UTF-8 cannot be a policy name, so it becomes an unknown policy.
        let policy = policy.map(|entry| std::str::from_utf8(&entry.value).unwrap_or_default());
        let route = attributes.route_metadata_context.as_ref();
        let route = route.and_then(route::named_route);
        let http = attributes.request.and_then(|request| request.http);
        let http = http.unwrap_or_default();
        let method = Method::from_bytes(&http.method).map_err(|_| MISSING_ATTRIBUTES);
        let contracts = self.contracts.current();
        let url = original_url(&http, contracts.cookie.is_secure());
        let headers = client_headers(&http);
        let original = match (unreadable, &method, url, &headers) {
            (Some(malformed), ..) | (_, _, Err(malformed), _) => Err(malformed),
            (_, Err(malformed), ..) | (.., Err(malformed)) => Err(*malformed),
            (None, Ok(method), Ok(url), Ok(_)) => Ok(Original { method, url, route }),
        };
        let headers = headers.unwrap_or_default();
        let request = CheckRequest {
            contract: Contract::ExtAuthzGrpc,
            policy,
            original,
            headers: &headers,
            address: ClientAddress::InHeader,
            peer,
        };
        let outcome = contracts.check_with_permit(permit, &request).await;
        let reply = build_reply(&contracts, &request, &outcome, ReplyForm::Complete);
        check_response(&outcome, reply, &headers)
    }
}

/// The error for a message that has no attributes or could not be read.
const MISSING_ATTRIBUTES: MalformedOriginal = MalformedOriginal::missing(
    "attributes.request.http.method (is the message larger than 128 KiB because of with_request_body?)",
);
const COMPRESSED_MESSAGE: MalformedOriginal = MalformedOriginal {
    input: "the message",
    problem: "is compressed, which this service does not accept",
};
const INVALID_HEADERS: MalformedOriginal = MalformedOriginal {
    input: "attributes.request.http.headers",
    problem: "contains an invalid header",
};

fn original_url(
    http: &wire::HttpRequest,
    secure: bool,
) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    if http.method.is_empty() {
        return Err(MISSING_ATTRIBUTES);
    }
    let secure = match http.scheme.is_empty() {
        true => Ok(secure),
        false => OriginalUrl::is_secure(&http.scheme),
    };
    let secure = secure.map_err(|_| MalformedOriginal {
        input: "attributes.request.http.scheme",
        problem: "is not http, https, ws or wss",
    })?;
    OriginalUrl::from_parts(secure, &http.host, &http.path).map_err(|invalid| match invalid {
        InvalidUrl::Host => invalid.for_input("attributes.request.http.host"),
        _ => invalid.for_input("attributes.request.http.path"),
    })
}

/// Returns the client's headers. With Envoy's setting `encode_raw_headers`, each header is separate. Otherwise Envoy
/// joins the values of each name with commas.
fn client_headers(http: &wire::HttpRequest) -> Result<HeaderMap, MalformedOriginal> {
    let header_lines = http.header_map.as_ref();
    let count = header_lines.map_or(http.headers.len(), |map| map.headers.len());
    let mut headers = HeaderMap::try_with_capacity(count).map_err(|_| INVALID_HEADERS)?;
    let mut append = |name: &Bytes, value: &Bytes| {
        // Skip HTTP/2 pseudo-headers, because the message has separate fields for them.
        if name.starts_with(b":") {
            return Ok(());
        }
        let name = HeaderName::from_bytes(name).map_err(|_| INVALID_HEADERS)?;
        let value = HeaderValue::from_maybe_shared(value.clone());
        let appended = headers.try_append(name, value.map_err(|_| INVALID_HEADERS)?);
        appended.map(drop).map_err(|_| INVALID_HEADERS)
    };
    match header_lines {
        Some(map) => {
            for line in &map.headers {
                let raw = !line.raw_value.is_empty();
                append(&line.key, if raw { &line.raw_value } else { &line.value })?;
            }
        }
        None => {
            for line in &http.headers {
                append(&line.key, &line.value)?;
            }
        }
    }
    Ok(headers)
}

/// Builds the answer. `client_headers` are the headers of the original request.
pub(super) fn check_response(
    outcome: &Outcome,
    reply: Response<String>,
    client_headers: &HeaderMap,
) -> wire::CheckResponse {
    let (head, body) = reply.into_parts();
    let allowed = head.status == http::StatusCode::OK;
    let code = match outcome.verdict {
        Verdict::Allow if allowed => Code::Ok,
        Verdict::Deny(DenyReason::Forbidden) => Code::PermissionDenied,
        Verdict::Allow => Code::Unavailable,
        Verdict::Deny(reason) if reason.is_temporary_failure() => Code::Unavailable,
        Verdict::Deny(_) => Code::Unauthenticated,
    };
    let http_response = if allowed {
        wire::HttpResponse::Ok(wire::OkHttpResponse {
            // These headers go to the application. The cookies go to the client (below).
            headers: header_options(&head.headers, is_identity),
            headers_to_remove: other_spellings(client_headers, &head.headers)
                .map(|name| Bytes::copy_from_slice(name.as_str().as_bytes()))
                .collect(),
            response_headers_to_add: header_options(&head.headers, |name| *name == SET_COOKIE)
                .into_iter()
                .map(as_append)
                .collect(),
        })
    } else {
        wire::HttpResponse::Denied(wire::DeniedHttpResponse {
            status: Some(wire::HttpStatus {
                code: i32::from(head.status.as_u16()),
            }),
            headers: header_options(&head.headers, |_| true),
            body: body.into(),
        })
    };
    wire::CheckResponse {
        status: Some(wire::Status {
            code: code as i32,
            message: Bytes::from_static(outcome.verdict.as_str().as_bytes()),
        }),
        dynamic_metadata: Some(dynamic_metadata(outcome)),
        http_response: Some(http_response),
    }
}

/// Builds options that replace the request's headers of the same name, even if the new value is empty. If a name
/// occurs several times, the first value replaces the request's value, and the other values are appended.
fn header_options(
    headers: &HeaderMap,
    is_included: fn(&HeaderName) -> bool,
) -> Vec<wire::HeaderValueOption> {
    let names = headers.keys().filter(|name| is_included(name));
    let header_lines = names.flat_map(|name| {
        let values = headers.get_all(name).iter().enumerate();
        values.map(move |(index, value)| (name, index, value))
    });
    header_lines
        .map(|(name, index, value)| {
            let option = wire::HeaderValueOption {
                header: Some(wire::HeaderValue {
                    key: Bytes::copy_from_slice(name.as_str().as_bytes()),
                    value: to_utf8(value),
                    raw_value: Bytes::new(),
                }),
                append_action: wire::OVERWRITE_IF_EXISTS_OR_ADD,
                keep_empty_value: true,
            };
            if index == 0 {
                option
            } else {
                as_append(option)
            }
        })
        .collect()
}

/// Converts a value to UTF-8, which the field requires.
fn to_utf8(value: &HeaderValue) -> Bytes {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Bytes::copy_from_slice(text.as_bytes()),
        Err(_) => String::from_utf8_lossy(value.as_bytes())
            .into_owned()
            .into(),
    }
}

/// Changes an option to append instead of replace.
fn as_append(option: wire::HeaderValueOption) -> wire::HeaderValueOption {
    wire::HeaderValueOption {
        append_action: wire::APPEND_IF_EXISTS_OR_ADD,
        ..option
    }
}

/// Builds the metadata for Envoy's other filters and access log. The metadata contain the verdict. For an allowed
/// request with a session, they also contain the session ID, the subject, the policy, and the seconds until the idle
/// limit and until the absolute limit.
fn dynamic_metadata(outcome: &Outcome) -> wire::Struct {
    let text_value = |text: &str| wire::Kind::Text(Bytes::copy_from_slice(text.as_bytes()));
    let seconds_value = |duration: Duration| wire::Kind::Number(duration.as_secs_f64());
    let verdict = Bytes::from_static(outcome.verdict.as_str().as_bytes());
    let mut fields = Vec::with_capacity(6);
    let mut set = |name: &'static str, kind| {
        let key = Bytes::from_static(name.as_bytes());
        let value = Some(wire::Value { kind: Some(kind) });
        fields.push(wire::Field { key, value });
    };
    set("verdict", wire::Kind::Text(verdict));
    if let (Some((id, session)), Some(remaining)) = (&outcome.session, outcome.remaining) {
        set("session", wire::Kind::Text(id.to_string().into()));
        set("subject", text_value(session.subject.as_str()));
        set("policy", text_value(session.policy.as_str()));
        set("idle_remaining", seconds_value(remaining.idle));
        set("absolute_remaining", seconds_value(remaining.absolute));
    }
    wire::Struct { fields }
}

#[cfg(test)]
pub(super) mod tests;
