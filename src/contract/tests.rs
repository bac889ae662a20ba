//! The headers of a delegated service and of the identity, in the replies of every contract.

use std::sync::Arc;

use axum::response::Response;
use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use spop::TypedData;

mod cookies;

use super::fixture::{Fixture, denial, read_body};
use super::{Contracts, ext_authz_grpc, spoe};
use crate::delegate::Delegate;
use crate::identity::{AssertionKey, AssertionSigner, IdentityHeaders};
use crate::retry_after::is_retry_after;
use crate::testing::delegate::{Answer, FakeService};
use crate::testing::{HOUR, MINUTE};

const DELEGATE_COOKIE: (&str, &str) = ("cookie", "_oauth2_proxy=t|1|s");

/// Starts a check service that asks a delegated service, and returns both services.
async fn start_with_delegate() -> (Fixture, FakeService) {
    let service = FakeService::start().await;
    let settings = service.settings(|_| {});
    let fixture = Fixture::with(|contracts: &mut Contracts| {
        contracts
            .identity
            .relayed
            .clone_from(&settings.service.passed_headers);
        let metrics = Arc::clone(&contracts.checker.metrics);
        let delegate = Delegate::new(settings, metrics).unwrap();
        contracts.checker.sources.delegates.push(delegate);
    });
    (fixture.await, service)
}

async fn send_auth_request(fixture: &Fixture, header_lines: &[(&str, &str)]) -> Response {
    let url = ("x-original-url", "https://app.example.com/");
    let header_lines = [&[url, ("x-original-method", "GET")], header_lines].concat();
    fixture
        .send_request("GET", "/auth-request", &header_lines)
        .await
}

async fn send_forward_auth(fixture: &Fixture, header_lines: &[(&str, &str)]) -> Response {
    let inputs = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-uri", "/"),
        ("x-forwarded-method", "GET"),
    ];
    let header_lines = [&inputs, header_lines].concat();
    fixture
        .send_request("GET", "/forward-auth", &header_lines)
        .await
}

async fn send_grpc(fixture: &Fixture, header_lines: &[(&str, &str)]) -> CheckResponse {
    let http = ext_authz_grpc::tests::http_request("GET", header_lines);
    ext_authz_grpc::tests::send_check(fixture, http, None).await
}

async fn send_spoe(fixture: &Fixture, header_lines: &[(&str, &str)]) -> Vec<(String, TypedData)> {
    spoe::tests::send_check(fixture, &spoe::tests::check_message(header_lines, &[])).await
}

/// Returns for each header its name, its value, and whether it is appended.
fn header_options(options: &[HeaderValueOption]) -> Vec<(&str, &str, bool)> {
    let mut all: Vec<_> = options
        .iter()
        .map(|option| {
            let header = option.header.as_ref().unwrap();
            let is_appended = option.append_action() == HeaderAppendAction::AppendIfExistsOrAdd;
            (header.key.as_str(), header.value.as_str(), is_appended)
        })
        .collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn headers_of_the_service_go_to_the_application_and_its_cookie_to_the_client() {
    let (fixture, service) = start_with_delegate().await;
    service.set_answer(Answer::allow(&[
        ("x-auth-request-access-token", "secret"),
        ("set-cookie", "_oauth2_proxy=refreshed; Path=/"),
        ("set-cookie", "other=1"),
    ]));
    for response in [
        send_auth_request(&fixture, &[DELEGATE_COOKIE]).await,
        send_forward_auth(&fixture, &[DELEGATE_COOKIE]).await,
    ] {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["x-session-user"], "alice");
        assert_eq!(headers["x-auth-request-access-token"], "secret");
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert!(!headers.contains_key("content-type"));
    }
    let response = send_grpc(&fixture, &[DELEGATE_COOKIE]).await;
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
    let variables = send_spoe(&fixture, &[DELEGATE_COOKIE]).await;
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

/// If the delegated service has not allowed a request, a client cannot set the headers that come from this service.
#[tokio::test]
async fn headers_of_the_service_are_empty_without_an_answer() {
    let (fixture, service) = start_with_delegate().await;
    let own = fixture.cookie();
    for header_lines in [&[DELEGATE_COOKIE][..], &[("cookie", &*own)]] {
        let response = send_forward_auth(&fixture, header_lines).await;
        assert_eq!(response.headers()["x-auth-request-access-token"], "");
        let variables = send_spoe(&fixture, header_lines).await;
        let value = spoe::tests::variable(&variables, "x_auth_request_access_token");
        assert_eq!(value, Some(&TypedData::String(String::new())));
    }
    assert_eq!(service.take_requests().len(), 2);
}

#[tokio::test]
async fn every_contract_relays_the_denial_of_the_service() {
    let (fixture, service) = start_with_delegate().await;
    let location = ("location", "https://id.example.com/authorize?x=y");
    let cookie = ("set-cookie", "_oauth2_proxy_csrf=1");
    service.set_answer(Answer::deny(302, &[location, cookie]));
    let html = ("accept", "text/html");
    for (response, status) in [
        (send_auth_request(&fixture, &[html]).await, 401),
        (send_forward_auth(&fixture, &[html]).await, 302),
    ] {
        let (found, reason, _, set) = denial(&response);
        assert_eq!(
            (found, reason, set),
            (status, "no_credential", Some(cookie.1))
        );
        assert_eq!(response.headers()["location"], location.1);
        assert_eq!(response.headers().get_all("location").iter().count(), 1);
        assert_eq!(read_body(response).await, b"");
    }
    let kind = ("content-type", "text/plain");
    let challenge = ("www-authenticate", "Basic realm=\"x\"");
    service.set_answer(Answer::deny(401, &[kind, challenge]));
    let plain = send_forward_auth(&fixture, &[]).await;
    assert_eq!(denial(&plain).2, Some(challenge.1));
    assert_eq!(plain.headers()["content-type"], kind.1);
    assert_eq!(read_body(plain).await, b"denied by the service");
    // After a 401 without a redirect of the service, Curfew redirects to its own sign-in page.
    let browser = send_forward_auth(&fixture, &[html]).await;
    assert_eq!(browser.status(), 302);
    assert!(
        browser.headers()["location"]
            .to_str()
            .unwrap()
            .starts_with("https://login.")
    );
    service.set_answer(Answer::deny(403, &[kind]));
    let response = send_grpc(&fixture, &[DELEGATE_COOKIE]).await;
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("allowed: {response:?}");
    };
    assert_eq!(denied.status.as_ref().unwrap().code, 403);
    assert_eq!(denied.body, "denied by the service");
    service.set_answer(Answer::deny(500, &[kind]));
    let problem = send_forward_auth(&fixture, &[DELEGATE_COOKIE]).await;
    assert_eq!(denial(&problem), (503, "source_unavailable", None, None));
    assert!(!read_body(problem).await.starts_with(b"denied by"));
}

#[tokio::test]
async fn a_session_end_clears_only_the_cookie_of_the_service() {
    let (fixture, service) = start_with_delegate().await;
    service.set_answer(Answer::allow(&[("set-cookie", "_oauth2_proxy=refreshed")]));
    assert_eq!(
        send_auth_request(&fixture, &[DELEGATE_COOKIE])
            .await
            .status(),
        200
    );
    fixture.bench.set_time_after_start(HOUR);
    let page = ("sec-fetch-mode", "navigate");
    for (header_lines, removal_cookie) in [
        (
            &[DELEGATE_COOKIE, page][..],
            Some("_oauth2_proxy=; Max-Age=0"),
        ),
        (&[DELEGATE_COOKIE, page], Some("_oauth2_proxy=; Max-Age=0")),
        // These requests are not navigations: a late answer to a script would clear the cookie of a newer sign-in.
        (&[DELEGATE_COOKIE], None),
        (&[DELEGATE_COOKIE, ("sec-fetch-mode", "cors")], None),
        (&[DELEGATE_COOKIE, page, ("sec-fetch-dest", "iframe")], None),
    ] {
        let response = send_auth_request(&fixture, header_lines).await;
        let (status, reason, _, cookie) = denial(&response);
        assert_eq!((status, reason), (401, "idle_timeout"));
        assert_eq!(cookie, removal_cookie, "{header_lines:?}");
    }
}

#[tokio::test]
async fn every_contract_sheds_a_request_without_a_permit() {
    let fixture = Fixture::new().await;
    let cookie = fixture.cookie();
    let own = ("cookie", &*cookie);
    let permits = [fixture.limit.take().unwrap(), fixture.limit.take().unwrap()];
    for response in [
        send_auth_request(&fixture, &[own]).await,
        send_forward_auth(&fixture, &[own]).await,
    ] {
        assert_eq!(denial(&response), (503, "overloaded", None, None));
        assert!(is_retry_after(&response.headers()["retry-after"]));
    }
    let response = send_grpc(&fixture, &[own]).await;
    assert_eq!(
        response.status.as_ref().unwrap().code,
        tonic::Code::Unavailable as i32
    );
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("allowed: {response:?}");
    };
    assert_eq!(denied.status.as_ref().unwrap().code, 503);
    let variables = send_spoe(&fixture, &[own]).await;
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
    assert_eq!(send_auth_request(&fixture, &[own]).await.status(), 200);
}

const ASSERTION_KEY_PEM: &str =
    include_str!("../../crates/core/src/identity/assertion/ed25519-for-tests.pem");

#[tokio::test]
async fn every_contract_adds_a_signed_assertion() {
    let fixture = Fixture::with(|contracts| {
        contracts.assertion_signer = Some(Arc::new(AssertionSigner {
            issuer: "curfew".to_owned(),
            lifetime: MINUTE,
            key: AssertionKey::from_pem(ASSERTION_KEY_PEM.as_bytes()).unwrap(),
            other_keys: Vec::new(),
        }));
    });
    let fixture = fixture.await;
    let cookie = fixture.cookie();
    let header_lines = [("cookie", &*cookie), ("x-curfew-assertion", "forged")];
    let allowed = send_auth_request(&fixture, &header_lines).await;
    let assertion = allowed.headers()["x-curfew-assertion"].to_str().unwrap();
    assert_eq!(assertion.split('.').count(), 3);
    let variables = send_spoe(&fixture, &header_lines).await;
    let variable = spoe::tests::variable(&variables, "assertion").unwrap();
    assert!(matches!(variable, TypedData::String(text) if text.split('.').count() == 3));
    let denied = send_auth_request(&fixture, &[]).await;
    assert!(!denied.headers().contains_key("x-curfew-assertion"));
    let fetch_keys = async |fixture: &Fixture| {
        let contracts = crate::current::Current(fixture.contracts.current());
        super::serve_assertion_keys(contracts).await
    };
    let keys = fetch_keys(&fixture).await;
    assert_eq!(keys.headers()["cache-control"], "public, max-age=300");
    let keys: serde_json::Value = serde_json::from_slice(&read_body(keys).await).unwrap();
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert!(keys["keys"][0].get("d").is_none());
    let without_assertions = Fixture::new().await;
    assert_eq!(fetch_keys(&without_assertions).await.status(), 404);
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
    let response = send_forward_auth(&fixture, &[("cookie", &cookie)]).await;
    let groups: Vec<_> = response
        .headers()
        .get_all("impersonate-group")
        .iter()
        .collect();
    assert_eq!(groups, ["staff", "admin"]);
    assert!(!response.headers().contains_key("x-session-user"));
    let response = send_grpc(&fixture, &[("cookie", &cookie)]).await;
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
