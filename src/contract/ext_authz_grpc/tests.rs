use std::collections::HashMap;
use std::sync::atomic::Ordering;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{
    HeaderMap as GrpcHeaderMap, HeaderValue, HeaderValueOption,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Request as RequestDescription,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest as GrpcCheckRequest, CheckResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use prost::Message;

use super::*;
use crate::contract::fixture::Fixture;
use crate::policy::{Access, Rules, Terms};
use crate::testing::MINUTE;

/// Returns a request with these headers, as Envoy describes it.
pub(in crate::contract) fn http_request(method: &str, headers: &[(&str, &str)]) -> HttpRequest {
    HttpRequest {
        method: method.to_owned(),
        scheme: "https".to_owned(),
        host: "app.example.com".to_owned(),
        path: "/a%2Fb?c=d".to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..HttpRequest::default()
    }
}

pub(in crate::contract) async fn send_check(
    fixture: &Fixture,
    http: HttpRequest,
    policy: Option<&str>,
) -> CheckResponse {
    let extensions = policy.map(|policy| ("policy".to_owned(), policy.to_owned()));
    let request = GrpcCheckRequest {
        attributes: Some(AttributeContext {
            request: Some(RequestDescription {
                http: Some(http),
                ..RequestDescription::default()
            }),
            context_extensions: extensions.into_iter().collect(),
            ..AttributeContext::default()
        }),
    };
    send(fixture, request).await
}

async fn send(fixture: &Fixture, request: GrpcCheckRequest) -> CheckResponse {
    let service = ExtAuthz::new(fixture.contracts.clone(), fixture.limit.clone());
    let request = wire::CheckRequest::decode(&*request.encode_to_vec()).unwrap();
    let permit = fixture.limit.take();
    let answer = service.check(Ok(request), None, permit).await;
    CheckResponse::decode(&*answer.encode_to_vec()).unwrap()
}

fn header_values(options: &[HeaderValueOption]) -> HashMap<&str, &str> {
    let headers = options.iter().map(|option| {
        assert!(option.keep_empty_value);
        assert_eq!(
            option.append_action(),
            HeaderAppendAction::OverwriteIfExistsOrAdd
        );
        option.header.as_ref().unwrap()
    });
    headers
        .map(|header| (header.key.as_str(), header.value.as_str()))
        .collect()
}

/// Returns the status of the call, and the status, headers and body for the client.
fn denial_fields(response: &CheckResponse) -> (Code, i32, HashMap<&str, &str>, &str) {
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("not denied: {response:?}");
    };
    (
        Code::from(response.status.as_ref().unwrap().code),
        denied.status.as_ref().unwrap().code,
        header_values(&denied.headers),
        &denied.body,
    )
}

#[tokio::test]
async fn allow_replaces_identity_headers_and_sets_metadata() {
    let fixture = Fixture::new().await;
    fixture.bench.set_time_after_start(MINUTE);
    let cookie = fixture.cookie();
    let response = send_check(&fixture, http_request("GET", &[("cookie", &cookie)]), None).await;
    assert_eq!(response.status.as_ref().unwrap().code, 0);
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else {
        panic!("not allowed: {response:?}");
    };
    let headers = header_values(&ok.headers);
    assert_eq!(headers.len(), 5);
    assert_eq!(headers["x-session-user"], "alice");
    assert!(ok.response_headers_to_add.is_empty());
    let metadata = &response.dynamic_metadata.unwrap().fields;
    let kind = |name: &str| metadata[name].kind.clone().unwrap();
    assert_eq!(kind("subject"), Kind::StringValue("alice".to_owned()));
    assert_eq!(
        kind("session"),
        Kind::StringValue(headers["x-session-id"].to_owned())
    );
    assert_eq!(kind("idle_remaining"), Kind::NumberValue(900.0));
    assert_eq!(kind("absolute_remaining"), Kind::NumberValue(28_740.0));
}

/// An application could take these headers for the identity.
#[tokio::test]
async fn other_spellings_of_the_identity_are_removed() {
    let public = Terms {
        access: Access::Public,
        ..Terms::default()
    };
    let everything_is_public = Rules::new(Vec::new(), public).unwrap();
    for (fixture, user) in [
        (Fixture::new().await, "alice"),
        (Fixture::with_rules(everything_is_public).await, ""),
    ] {
        let cookie = fixture.cookie();
        let headers = [
            ("cookie", &*cookie),
            ("x-session-user", "root"),
            ("x_session_user", "root"),
            ("x.session.groups", "root"),
            ("x-session~id", "root"),
            ("x-session-users", "a"),
        ];
        let response = send_check(&fixture, http_request("GET", &headers), None).await;
        let Some(HttpResponse::OkResponse(ok)) = &response.http_response else {
            panic!("not allowed: {response:?}");
        };
        assert_eq!(header_values(&ok.headers)["x-session-user"], user);
        let mut removed = ok.headers_to_remove.clone();
        removed.sort_unstable();
        assert_eq!(
            removed,
            ["x-session~id", "x.session.groups", "x_session_user"]
        );
    }
}

#[tokio::test]
async fn a_denial_is_complete_and_never_ok() {
    let fixture = Fixture::new().await;
    fixture.bench.set_time_after_start(15 * MINUTE);
    let cookie = fixture.cookie();
    let navigate = ("sec-fetch-mode", "navigate");
    let response = send_check(
        &fixture,
        http_request("GET", &[("cookie", &cookie), navigate]),
        None,
    )
    .await;
    let (code, status, headers, body) = denial_fields(&response);
    assert_eq!((code, status, body), (Code::Unauthenticated, 302, ""));
    assert!(!headers.contains_key("set-cookie"));
    assert_eq!(
        headers["location"],
        "https://login.example.com/?rd=https%3A%2F%2Fapp.example.com%2Fa%252Fb%3Fc%3Dd&reason=idle_timeout"
    );

    let response = send_check(&fixture, http_request("POST", &[navigate]), None).await;
    let (code, status, headers, body) = denial_fields(&response);
    assert_eq!((code, status), (Code::Unauthenticated, 401));
    assert_eq!(headers["www-authenticate"], "Bearer");
    assert_eq!(headers["content-type"], "application/json");
    assert!(body.contains("no_credential"), "{body}");

    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let response = send_check(&fixture, http_request("GET", &[("cookie", &cookie)]), None).await;
    let (code, status, ..) = denial_fields(&response);
    assert_eq!((code, status), (Code::Unavailable, 503));
}

#[tokio::test]
async fn only_the_proxy_configuration_names_the_policy() {
    let fixture = Fixture::new().await;
    fixture.bench.set_time_after_start(6 * MINUTE);
    let cookie = fixture.cookie();
    for (policy, reason) in [
        (None, "allow"),
        (Some("default"), "allow"),
        (Some("strict"), "reauthentication_required"),
        (Some("nonesuch"), "malformed_request"),
        (Some(""), "malformed_request"),
    ] {
        // The request is passive, so that the cases do not affect each other.
        let response = send_check(
            &fixture,
            http_request("HEAD", &[("cookie", &cookie)]),
            policy,
        )
        .await;
        assert_eq!(response.status.unwrap().message, reason, "{policy:?}");
    }
}

#[tokio::test]
async fn raw_headers_stay_separate() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let raw = |values: &[&str]| {
        let header = |value: &&str| HeaderValue {
            key: "cookie".to_owned(),
            value: String::new(),
            raw_value: value.as_bytes().to_vec(),
        };
        let mut headers: Vec<_> = values.iter().map(header).collect();
        headers.push(HeaderValue {
            key: ":path".to_owned(),
            value: "/other".to_owned(),
            raw_value: Vec::new(),
        });
        HttpRequest {
            header_map: Some(GrpcHeaderMap { headers }),
            ..http_request("GET", &[("cookie", "a=1")])
        }
    };
    for (values, verdict) in [
        (&["a=1", &*cookie][..], "allow"),
        (&[&cookie, "__Host-session=x"], "malformed_request"),
        (&["a=1"], "no_credential"),
    ] {
        let response = send_check(&fixture, raw(values), None).await;
        assert_eq!(response.status.unwrap().message, verdict, "{values:?}");
    }
}

#[tokio::test]
async fn a_missing_input_is_not_guessed() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let valid = http_request("GET", &[("cookie", &cookie)]);
    let invalid_requests = [
        HttpRequest::default(),
        HttpRequest {
            method: String::new(),
            ..valid.clone()
        },
        HttpRequest {
            scheme: "gopher".to_owned(),
            ..valid.clone()
        },
        HttpRequest {
            host: String::new(),
            ..valid.clone()
        },
        HttpRequest {
            host: "a/b".to_owned(),
            ..valid.clone()
        },
        HttpRequest {
            path: String::new(),
            ..valid.clone()
        },
        HttpRequest {
            path: "*".to_owned(),
            ..valid.clone()
        },
        http_request("GET", &[("cookie", &cookie), ("a b", "c")]),
        http_request("GET", &[("cookie", &cookie), ("a", "b\nc")]),
    ];
    for http in invalid_requests {
        let response = send_check(&fixture, http.clone(), None).await;
        let (code, status, headers, _) = denial_fields(&response);
        assert_eq!((code, status), (Code::Unauthenticated, 401), "{http:?}");
        assert_eq!(headers["x-session-reason"], "malformed_request");
        let detail = headers["x-session-detail"];
        assert!(detail.starts_with("attributes.request.http."), "{detail}");
    }
    // Only return addresses use the scheme, so a check without a scheme is valid.
    let without_scheme = HttpRequest {
        scheme: String::new(),
        ..valid.clone()
    };
    let response = send_check(&fixture, without_scheme, None).await;
    assert_eq!(response.status.unwrap().code, 0);
    let response = send(&fixture, GrpcCheckRequest::default()).await;
    assert_eq!(denial_fields(&response).1, 401);
}

/// Sends these bytes as a call, and returns its answer.
async fn call(fixture: &Fixture, body: axum::body::Body) -> wire::CheckResponse {
    let request = http::Request::post("/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    let mut service = ExtAuthz::new(fixture.contracts.clone(), fixture.limit.clone());
    let response = service.call(request).await.unwrap();
    let body = axum::body::Body::new(response.into_body());
    let body = axum::body::to_bytes(body, 4096).await.unwrap();
    prost::Message::decode(&body[5..]).unwrap()
}

/// A call without a permit gets its answer before its message arrives.
#[tokio::test]
async fn a_call_without_a_permit_does_not_wait_for_its_message() {
    let fixture = Fixture::new().await;
    let _permits = [fixture.limit.take(), fixture.limit.take()];
    let endless_body = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let answer = call(&fixture, axum::body::Body::from_stream(endless_body)).await;
    let status = answer.status.unwrap();
    assert_eq!(
        (status.code, &*status.message),
        (Code::Unavailable as i32, &b"overloaded"[..])
    );
}

/// After an error of the call, Envoy would follow `failure_mode_allow`. So a client must not be able to cause such an
/// error.
#[tokio::test]
async fn a_missing_or_oversized_message_gets_a_complete_denial() {
    let fixture = Fixture::new().await;
    let oversized = vec![0; MAX_MESSAGE_BYTES + 1];
    for message in [&oversized[..], b"\xff\xff\xff", b"\x0a\x05"] {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let frame = [&[0][..], &length, message].concat();
        let answer = call(&fixture, frame.into()).await;
        let status = answer.status.unwrap();
        assert_eq!(
            (status.code, &*status.message),
            (Code::Unauthenticated as i32, &b"malformed_request"[..])
        );
        assert!(matches!(
            answer.http_response,
            Some(wire::HttpResponse::Denied(_))
        ));
    }
}
