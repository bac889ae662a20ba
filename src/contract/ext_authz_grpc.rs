//! Envoy `ext_authz` over gRPC (`envoy.service.auth.v3`).
//!
//! The proxy describes the original request in `CheckRequest.attributes`, and names a policy in
//! `context_extensions["policy"]`, which only its own configuration can set. It takes a missing
//! status for "OK", so every answer has one, and a denial is always a whole `denied_response`:
//! an error of the call itself would be the operator's `failure_mode_allow` to decide.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest as GrpcCheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use envoy_types::pb::google::rpc;
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderName, Method, Response};
use tonic::{Code, Request, Status};

use super::Contracts;
use super::reply::{Form, reply};
use crate::check::{
    CheckRequest, ClientAddress, MalformedOriginal, Original, OriginalUrl, Outcome,
};
use crate::live::Live;
use crate::policy::Contract;
use crate::session::{DenyReason, Verdict};

/// The key in `context_extensions` that names a policy.
const POLICY: &str = "policy";

/// The service.
pub struct ExtAuthz {
    contracts: Live<Contracts>,
}

/// The service, ready to be served.
#[must_use]
pub fn service(contracts: Live<Contracts>) -> AuthorizationServer<ExtAuthz> {
    AuthorizationServer::new(ExtAuthz { contracts })
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(
        &self,
        request: Request<GrpcCheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, Status> {
        let peer = request.remote_addr().map(|address| address.ip());
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let policy = attributes.context_extensions.get(POLICY);
        let http = attributes.request.and_then(|request| request.http);
        let http = http.unwrap_or_default();
        let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| MalformedOriginal);
        let url = original_url(&http);
        let (headers, headers_fit) = match client_headers(&http) {
            Ok(headers) => (headers, true),
            Err(MalformedOriginal) => (HeaderMap::new(), false),
        };
        let original = match (&method, url) {
            (Ok(method), Ok(url)) if headers_fit => Ok(Original { method, url }),
            _ => Err(MalformedOriginal),
        };
        let request = CheckRequest {
            contract: Contract::ExtAuthzGrpc,
            policy: policy.map(String::as_str),
            original,
            headers: &headers,
            address: ClientAddress::InHeader,
            peer,
        };
        let contracts = self.contracts.current();
        let outcome = contracts.checker.check(&request).await;
        let reply = reply(&contracts, &request, &outcome, Form::Whole);
        Ok(tonic::Response::new(answer(&outcome, reply)))
    }
}

fn original_url(http: &HttpRequest) -> Result<OriginalUrl<'_>, MalformedOriginal> {
    let secure = OriginalUrl::is_secure(http.scheme.as_bytes())?;
    OriginalUrl::from_parts(secure, http.host.as_bytes(), http.path.as_bytes())
}

/// The client's headers: line by line where the proxy sends them so (`encode_raw_headers`),
/// otherwise with the lines of one name joined by commas.
fn client_headers(http: &HttpRequest) -> Result<HeaderMap, MalformedOriginal> {
    let mut headers = HeaderMap::new();
    let mut append = |name: &str, value: &[u8]| {
        // What HTTP/2 calls pseudo-headers is in fields of its own.
        if name.starts_with(':') {
            return Ok(());
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MalformedOriginal)?;
        let value = http::HeaderValue::from_bytes(value).map_err(|_| MalformedOriginal)?;
        let appended = headers.try_append(name, value);
        appended.map(drop).map_err(|_| MalformedOriginal)
    };
    match &http.header_map {
        Some(map) => {
            for line in &map.headers {
                let raw = !line.raw_value.is_empty();
                let value = if raw {
                    &*line.raw_value
                } else {
                    line.value.as_bytes()
                };
                append(&line.key, value)?;
            }
        }
        None => {
            for (name, value) in &http.headers {
                append(name, value.as_bytes())?;
            }
        }
    }
    Ok(headers)
}

fn answer(outcome: &Outcome, reply: Response<String>) -> CheckResponse {
    let (head, body) = reply.into_parts();
    let allowed = head.status == http::StatusCode::OK;
    let code = match outcome.verdict {
        Verdict::Allow if allowed => Code::Ok,
        Verdict::Deny(DenyReason::Forbidden) => Code::PermissionDenied,
        Verdict::Allow => Code::Unavailable,
        Verdict::Deny(reason) if reason.is_unavailability() => Code::Unavailable,
        Verdict::Deny(_) => Code::Unauthenticated,
    };
    let http_response = if allowed {
        HttpResponse::OkResponse(OkHttpResponse {
            // What is about caching is between Curfew and the proxy; a cookie is for the client.
            headers: header_options(&head.headers, |name| {
                *name != CACHE_CONTROL && *name != SET_COOKIE
            }),
            response_headers_to_add: header_options(&head.headers, |name| *name == SET_COOKIE)
                .into_iter()
                .map(appended)
                .collect(),
            ..OkHttpResponse::default()
        })
    } else {
        HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: i32::from(head.status.as_u16()),
            }),
            headers: header_options(&head.headers, |_| true),
            body,
        })
    };
    CheckResponse {
        status: Some(rpc::Status {
            code: code as i32,
            message: outcome.verdict.as_str().to_owned(),
            details: Vec::new(),
        }),
        dynamic_metadata: Some(metadata(outcome)),
        http_response: Some(http_response),
    }
}

/// Headers that replace what is there under their names, empty ones too. Of several with one name the
/// first replaces, and the others are added to it.
fn header_options(headers: &HeaderMap, wanted: fn(&HeaderName) -> bool) -> Vec<HeaderValueOption> {
    let names = headers.keys().filter(|name| wanted(name));
    let lines = names.flat_map(|name| {
        headers
            .get_all(name)
            .iter()
            .enumerate()
            .map(move |it| (name, it))
    });
    lines
        .map(|(name, (place, value))| {
            let option = HeaderValueOption {
                header: Some(HeaderValue {
                    key: name.as_str().to_owned(),
                    value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    raw_value: Vec::new(),
                }),
                append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
                keep_empty_value: true,
                ..HeaderValueOption::default()
            };
            if place == 0 { option } else { appended(option) }
        })
        .collect()
}

/// One that is added to what is there.
fn appended(option: HeaderValueOption) -> HeaderValueOption {
    HeaderValueOption {
        append_action: HeaderAppendAction::AppendIfExistsOrAdd as i32,
        ..option
    }
}

/// What other filters and the access log may know: the verdict, and on an allowed request the
/// session, its subject and policy, and how many seconds it can still live.
fn metadata(outcome: &Outcome) -> Struct {
    let mut fields = HashMap::new();
    let mut set = |name: &str, kind: Kind| {
        fields.insert(name.to_owned(), Value { kind: Some(kind) });
    };
    set(
        "verdict",
        Kind::StringValue(outcome.verdict.as_str().to_owned()),
    );
    if let (Some((id, session)), Some(remaining)) = (&outcome.session, outcome.remaining) {
        set("session", Kind::StringValue(id.to_string()));
        set("subject", Kind::StringValue(session.subject.to_string()));
        set("policy", Kind::StringValue(session.policy.to_string()));
        set(
            "idle_remaining",
            Kind::NumberValue(remaining.idle.as_secs_f64()),
        );
        set(
            "absolute_remaining",
            Kind::NumberValue(remaining.absolute.as_secs_f64()),
        );
    }
    Struct { fields }
}

#[cfg(test)]
pub(super) mod tests;
