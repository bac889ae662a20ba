//! The headers of a delegated service and of the identity, in the replies of every contract.

use std::sync::Arc;

use axum::response::Response;
use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use spop::TypedData;

mod cookies;

use super::fixture::{Fixture, body, denial};
use super::{Contracts, ext_authz_grpc, spoe};
use crate::delegate::Delegate;
use crate::identity::{AssertionKey, AssertionSigner, IdentityHeaders};
use crate::testing::delegate::{Answer, Service};
use crate::testing::{HOUR, MINUTE};

const COOKIE: (&str, &str) = ("cookie", "_oauth2_proxy=t|1|s");

/// Starts a Curfew that asks a delegated service, and returns both.
async fn behind_delegate() -> (Fixture, Service) {
    let service = Service::start().await;
    let settings = service.settings(|_| {});
    let fixture = Fixture::with(|contracts: &mut Contracts| {
        contracts
            .identity
            .relayed
            .clone_from(&settings.delegated.pass);
        let metrics = Arc::clone(&contracts.checker.metrics);
        let delegate = Delegate::new(settings, metrics).unwrap();
        contracts.checker.sources.delegates.push(delegate);
    });
    (fixture.await, service)
}

async fn auth_request(fixture: &Fixture, lines: &[(&str, &str)]) -> Response {
    let url = ("x-original-url", "https://app.example.com/");
    let lines = [&[url, ("x-original-method", "GET")], lines].concat();
    fixture.send("GET", "/auth-request", &lines).await
}

async fn forward_auth(fixture: &Fixture, lines: &[(&str, &str)]) -> Response {
    let own = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-uri", "/"),
        ("x-forwarded-method", "GET"),
    ];
    let lines = [&own, lines].concat();
    fixture.send("GET", "/forward-auth", &lines).await
}

async fn grpc(fixture: &Fixture, lines: &[(&str, &str)]) -> CheckResponse {
    let http = ext_authz_grpc::tests::http("GET", lines);
    ext_authz_grpc::tests::ask(fixture, http, None).await
}

async fn haproxy(fixture: &Fixture, lines: &[(&str, &str)]) -> Vec<(String, TypedData)> {
    spoe::tests::ask(fixture, &spoe::tests::message(lines, &[])).await
}

/// Returns for each header its name, its value, and whether it is appended.
fn header_options(options: &[HeaderValueOption]) -> Vec<(&str, &str, bool)> {
    let mut all: Vec<_> = options
        .iter()
        .map(|option| {
            let header = option.header.as_ref().unwrap();
            let added = option.append_action() == HeaderAppendAction::AppendIfExistsOrAdd;
            (header.key.as_str(), header.value.as_str(), added)
        })
        .collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn headers_of_the_service_go_to_the_application_and_its_cookie_to_the_client() {
    let (fixture, service) = behind_delegate().await;
    service.set_answer(Answer::allow(&[
        ("x-auth-request-access-token", "secret"),
        ("set-cookie", "_oauth2_proxy=refreshed; Path=/"),
        ("set-cookie", "other=1"),
    ]));
    for response in [
        auth_request(&fixture, &[COOKIE]).await,
        forward_auth(&fixture, &[COOKIE]).await,
    ] {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["x-session-user"], "alice");
        assert_eq!(headers["x-auth-request-access-token"], "secret");
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert!(!headers.contains_key("content-type"));
    }
    let response = grpc(&fixture, &[COOKIE]).await;
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else {
        panic!("not allowed: {response:?}");
    };
    let upstream = header_options(&ok.headers);
    assert!(upstream.contains(&("x-auth-request-access-token", "secret", false)));
    assert!(!upstream.iter().any(|(name, ..)| *name == "set-cookie"));
    assert_eq!(
        header_options(&ok.response_headers_to_add),
        [
            ("set-cookie", "_oauth2_proxy=refreshed; Path=/", true),
            ("set-cookie", "other=1", true),
        ]
    );
    let variables = haproxy(&fixture, &[COOKIE]).await;
    for (name, value) in [
        ("user", "alice"),
        ("x_auth_request_access_token", "secret"),
        ("set_cookie", "_oauth2_proxy=refreshed; Path=/"),
        ("set_cookie_2", "other=1"),
    ] {
        let expected = TypedData::String(value.to_owned());
        assert_eq!(spoe::tests::variable(&variables, name), Some(&expected));
    }
}

/// A client cannot set the service's headers in a request that the service has not allowed.
#[tokio::test]
async fn headers_of_the_service_are_empty_without_an_answer() {
    let (fixture, service) = behind_delegate().await;
    let own = fixture.cookie();
    for lines in [&[COOKIE][..], &[("cookie", &*own)]] {
        let response = forward_auth(&fixture, lines).await;
        assert_eq!(response.headers()["x-auth-request-access-token"], "");
        let variables = haproxy(&fixture, lines).await;
        let value = spoe::tests::variable(&variables, "x_auth_request_access_token");
        assert_eq!(value, Some(&TypedData::String(String::new())));
    }
    assert_eq!(service.take_requests().len(), 2);
}

#[tokio::test]
async fn every_contract_relays_the_denial_of_the_service() {
    let (fixture, service) = behind_delegate().await;
    let location = ("location", "https://id.example.com/authorize?x=y");
    let cookie = ("set-cookie", "_oauth2_proxy_csrf=1");
    service.set_answer(Answer::deny(302, &[location, cookie]));
    let html = ("accept", "text/html");
    for (response, status) in [
        (auth_request(&fixture, &[html]).await, 401),
        (forward_auth(&fixture, &[html]).await, 302),
    ] {
        let (found, reason, _, set) = denial(&response);
        assert_eq!(
            (found, reason, set),
            (status, "no_credential", Some(cookie.1))
        );
        assert_eq!(response.headers()["location"], location.1);
        assert_eq!(response.headers().get_all("location").iter().count(), 1);
        assert_eq!(body(response).await, b"");
    }
    let kind = ("content-type", "text/plain");
    let challenge = ("www-authenticate", "Basic realm=\"x\"");
    service.set_answer(Answer::deny(401, &[kind, challenge]));
    let plain = forward_auth(&fixture, &[]).await;
    assert_eq!(denial(&plain).2, Some(challenge.1));
    assert_eq!(plain.headers()["content-type"], kind.1);
    assert_eq!(body(plain).await, b"denied by the service");
    // After a 401 without a redirect of the service, Curfew redirects to its own sign-in page.
    let browser = forward_auth(&fixture, &[html]).await;
    assert_eq!(browser.status(), 302);
    assert!(
        browser.headers()["location"]
            .to_str()
            .unwrap()
            .starts_with("https://login.")
    );
    service.set_answer(Answer::deny(403, &[kind]));
    let response = grpc(&fixture, &[COOKIE]).await;
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("allowed: {response:?}");
    };
    assert_eq!(denied.status.as_ref().unwrap().code, 403);
    assert_eq!(denied.body, "denied by the service");
    service.set_answer(Answer::deny(500, &[kind]));
    let problem = forward_auth(&fixture, &[COOKIE]).await;
    assert_eq!(denial(&problem), (503, "source_unavailable", None, None));
    assert!(!body(problem).await.starts_with(b"denied by"));
}

#[tokio::test]
async fn a_session_end_clears_only_the_cookie_of_the_service() {
    let (fixture, service) = behind_delegate().await;
    service.set_answer(Answer::allow(&[("set-cookie", "_oauth2_proxy=refreshed")]));
    assert_eq!(auth_request(&fixture, &[COOKIE]).await.status(), 200);
    fixture.bench.at(HOUR);
    let page = ("sec-fetch-mode", "navigate");
    for (lines, dropped) in [
        (&[COOKIE, page][..], Some("_oauth2_proxy=; Max-Age=0")),
        (&[COOKIE, page], Some("_oauth2_proxy=; Max-Age=0")),
        // A late answer to a script would clear the cookie of a newer sign-in.
        (&[COOKIE], None),
        (&[COOKIE, ("sec-fetch-mode", "cors")], None),
        (&[COOKIE, page, ("sec-fetch-dest", "iframe")], None),
    ] {
        let response = auth_request(&fixture, lines).await;
        let (status, reason, _, cookie) = denial(&response);
        assert_eq!((status, reason), (401, "idle_timeout"));
        assert_eq!(cookie, dropped, "{lines:?}");
    }
}

#[tokio::test]
async fn every_contract_sheds_a_request_without_a_permit() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let own = ("cookie", &*cookie);
    let permits = [fixture.limit.take().unwrap(), fixture.limit.take().unwrap()];
    for response in [
        auth_request(&fixture, &[own]).await,
        forward_auth(&fixture, &[own]).await,
    ] {
        assert_eq!(denial(&response), (503, "overloaded", None, None));
        assert_eq!(response.headers()["retry-after"], "1");
    }
    let response = grpc(&fixture, &[own]).await;
    assert_eq!(
        response.status.as_ref().unwrap().code,
        tonic::Code::Unavailable as i32
    );
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("allowed: {response:?}");
    };
    assert_eq!(denied.status.as_ref().unwrap().code, 503);
    let variables = haproxy(&fixture, &[own]).await;
    let is = |name: &str, text: &str| {
        let value = spop::TypedData::String(text.to_owned());
        variables.contains(&(name.to_owned(), value))
    };
    assert!(is("verdict", "deny") && is("reason", "overloaded"));
    let metrics = fixture.bench.parts.metrics.render().unwrap();
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("curfew_checks_total") && line.contains("\"overloaded\""));
    assert_eq!(counted.count(), 4);
    drop(permits);
    assert_eq!(auth_request(&fixture, &[own]).await.status(), 200);
}

const KEY: &str = include_str!("../../crates/core/src/identity/assertion/ed25519-for-tests.pem");

#[tokio::test]
async fn every_contract_adds_a_signed_assertion() {
    let fixture = Fixture::with(|contracts| {
        contracts.assertion = Some(Arc::new(AssertionSigner {
            issuer: "curfew".to_owned(),
            lifetime: MINUTE,
            key: AssertionKey::from_pem(KEY.as_bytes()).unwrap(),
            others: Vec::new(),
        }));
    });
    let fixture = fixture.await;
    let cookie = fixture.cookie();
    let lines = [("cookie", &*cookie), ("x-curfew-assertion", "forged")];
    let allowed = auth_request(&fixture, &lines).await;
    let assertion = allowed.headers()["x-curfew-assertion"].to_str().unwrap();
    assert_eq!(assertion.split('.').count(), 3);
    let variables = haproxy(&fixture, &lines).await;
    let variable = spoe::tests::variable(&variables, "assertion").unwrap();
    assert!(matches!(variable, TypedData::String(text) if text.split('.').count() == 3));
    let denied = auth_request(&fixture, &[]).await;
    assert!(!denied.headers().contains_key("x-curfew-assertion"));
    let served = async |fixture: &Fixture| {
        let contracts = crate::current::Current(fixture.contracts.current());
        super::keys(contracts).await
    };
    let keys = served(&fixture).await;
    assert_eq!(keys.headers()["cache-control"], "public, max-age=300");
    let keys: serde_json::Value = serde_json::from_slice(&body(keys).await).unwrap();
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert!(keys["keys"][0].get("d").is_none());
    let without = Fixture::new().await;
    assert_eq!(served(&without).await.status(), 404);
}

/// With `group_lines`, the reply has a separate header line for each group.
#[tokio::test]
async fn each_group_has_its_own_header() {
    let fixture = Fixture::with(|contracts| {
        contracts.identity = IdentityHeaders {
            user: vec!["impersonate-user".parse().unwrap()],
            group_lines: vec!["impersonate-group".parse().unwrap()],
            ..IdentityHeaders::default()
        };
    });
    let fixture = fixture.await;
    let cookie = fixture.cookie();
    let response = forward_auth(&fixture, &[("cookie", &cookie)]).await;
    let groups: Vec<_> = response
        .headers()
        .get_all("impersonate-group")
        .iter()
        .collect();
    assert_eq!(groups, ["staff", "admin"]);
    assert!(!response.headers().contains_key("x-session-user"));
    let response = grpc(&fixture, &[("cookie", &cookie)]).await;
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else {
        panic!("not allowed: {response:?}");
    };
    assert_eq!(
        header_options(&ok.headers),
        [
            ("impersonate-group", "admin", true),
            ("impersonate-group", "staff", false),
            ("impersonate-user", "alice", false),
        ]
    );
}
