mod front_channel;

use std::sync::atomic::Ordering;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::check::{CheckRequest, Checker, ClientAddress, Original, OriginalUrl};
use crate::credential::JwtLocations;
use crate::credential::jwt::LogoutScope;
use crate::policy::{Contract, Rules};
use crate::session::{DenyReason, State, Verdict};
use crate::store::SessionStore;
use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, jwt_source, keys_that_cannot_be_fetched};
use crate::testing::{HOUR, MINUTE, SECOND, START, TestService};

const REVOKED: Verdict = Verdict::Deny(DenyReason::Revoked);

/// A service with one identity provider.
struct Fixture {
    bench: TestService,
    checker: Checker,
    key: SigningKey,
    router: Router,
}

impl Fixture {
    fn new() -> Self {
        Self::with_endpoints(|_| {})
    }

    fn with_endpoints(change: impl FnOnce(&mut LogoutEndpoints)) -> Self {
        let (bench, key) = (TestService::new(), SigningKey::ed25519("a"));
        let mut checker = bench.checker(Rules::default(), "session");
        checker.sources.extractor.jwt = Some(JwtLocations {
            cookie: None,
            bearer: true,
        });
        checker.sources.jwt.push(jwt_source(&[&key], None));
        let mut logouts = LogoutEndpoints {
            lifecycle: bench.lifecycle.clone(),
            clock: Arc::clone(&bench.parts.clock),
            metrics: Arc::clone(&bench.parts.metrics),
            issuers: checker.sources.jwt.clone(),
            front_channel: true,
            address: checker.address.clone(),
            replay_cache: Arc::default(),
        };
        change(&mut logouts);
        Self {
            bench,
            checker,
            key,
            router: router(Live::new(logouts)),
        }
    }

    /// Checks a request with a token of `sub` and the provider's session `sid`. The token is issued at the start time
    /// plus `signed_in`.
    async fn use_session(&self, sub: &str, sid: &str, signed_in: Duration) -> Verdict {
        let token = self.key.token(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": sub, "sid": sid,
            "auth_time": seconds(signed_in), "iat": seconds(signed_in), "exp": seconds(24 * HOUR),
        }));
        let bearer = format!("Bearer {token}");
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", bearer.parse().unwrap());
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy: None,
            original: Ok(Original::new(
                &http::Method::GET,
                OriginalUrl::parse(b"https://app.example.com/").unwrap(),
            )),
            headers: &headers,
            address: ClientAddress::InHeader,
            peer: None,
        };
        self.checker.check(&request).await.verdict
    }

    /// Returns a logout token with these claims and the usual claims. It is issued at the start time plus `issued`.
    fn logout_token(&self, id: &str, issued: Duration, subject_claims: &Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "jti": id, "iat": seconds(issued),
            "exp": seconds(issued + 2 * MINUTE),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        for (name, value) in subject_claims.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = json!({ "alg": "EdDSA", "kid": self.key.id, "typ": "logout+jwt" });
        self.key.sign(&header, &claims)
    }

    /// Returns a security event token for this subject.
    fn event_token(&self, id: &str, subject: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.key.id, "typ": "secevent+jwt" });
        let kind = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
        self.key.sign(
            &header,
            &json!({
                "iss": ISSUER, "aud": AUDIENCE, "jti": id, "iat": seconds(Duration::ZERO),
                "sub_id": subject, "events": { kind: {} },
            }),
        )
    }

    async fn send_request(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn back_channel(&self, token: &str) -> StatusCode {
        self.send_request(form_request(&format!("logout_token={token}")))
            .await
            .0
    }

    async fn push_event(&self, token: &str) -> (StatusCode, String) {
        let request =
            Request::post("/ssf/events").header("content-type", "application/secevent+jwt");
        self.send_request(request.body(Body::from(token.to_owned())).unwrap())
            .await
    }

    async fn front_channel(&self, query: &str) -> StatusCode {
        let request = Request::get(format!("/oidc/frontchannel-logout{query}"));
        self.send_request(request.body(Body::empty()).unwrap())
            .await
            .0
    }
}

/// Returns the start time plus `after`, as Unix time in seconds.
fn seconds(after: Duration) -> u64 {
    START.plus(after).as_millis() / 1000
}

fn form_request(body: &str) -> Request<Body> {
    Request::post("/oidc/backchannel-logout")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn a_logout_token_ends_only_the_session_that_it_names() {
    let service = Fixture::new();
    for sid in ["s-1", "s-2"] {
        let verdict = service.use_session("alice", sid, Duration::ZERO).await;
        assert_eq!(verdict, Verdict::Allow);
    }
    let token = service.logout_token("l-1", SECOND, &json!({ "sub": "alice", "sid": "s-1" }));
    service.bench.set_time_after_start(SECOND);
    assert_eq!(service.back_channel(&token).await, StatusCode::OK);
    let verdict = service.use_session("alice", "s-1", Duration::ZERO).await;
    assert_eq!(verdict, REVOKED);
    let other = service.use_session("alice", "s-2", Duration::ZERO).await;
    assert_eq!(other, Verdict::Allow);
    // The session end is recorded like any other session end.
    let alice = crate::session::Subject::new("alice").unwrap();
    let page = service.bench.store.list(&alice, None, 10).await.unwrap();
    let is_live = |state| matches!(state, State::Live);
    let live_sessions = page
        .sessions
        .iter()
        .filter(|(_, session)| is_live(session.state));
    assert_eq!(live_sessions.count(), 1);
}

/// The notice has no subject, and Curfew has never seen the session.
#[tokio::test]
async fn a_logout_ends_a_session_that_curfew_has_not_seen() {
    let service = Fixture::new();
    let token = service.logout_token("l-1", SECOND, &json!({ "sid": "s-1" }));
    service.bench.set_time_after_start(SECOND);
    assert_eq!(service.back_channel(&token).await, StatusCode::OK);
    let verdict = service.use_session("alice", "s-1", Duration::ZERO).await;
    assert_eq!(verdict, REVOKED);
}

#[tokio::test]
async fn all_sessions_of_a_subject_end_and_a_later_session_stays_live() {
    let service = Fixture::new();
    for (sub, sid) in [("alice", "s-1"), ("alice", "s-2"), ("bob", "s-3")] {
        let verdict = service.use_session(sub, sid, Duration::ZERO).await;
        assert_eq!(verdict, Verdict::Allow);
    }
    service.bench.set_time_after_start(MINUTE);
    let token = service.logout_token("l-1", MINUTE, &json!({ "sub": "alice" }));
    assert_eq!(service.back_channel(&token).await, StatusCode::OK);
    for (sub, sid, verdict) in [
        ("alice", "s-1", REVOKED),
        ("alice", "s-2", REVOKED),
        ("bob", "s-3", Verdict::Allow),
    ] {
        let found = service.use_session(sub, sid, Duration::ZERO).await;
        assert_eq!(found, verdict, "{sub} {sid}");
    }
    service.bench.set_time_after_start(2 * MINUTE);
    let fresh = service.use_session("alice", "s-4", 2 * MINUTE).await;
    assert_eq!(fresh, Verdict::Allow);
    // Another process, which has not seen the notice yet, accepts it again, but ends no further session.
    let again = Request::post("/oidc/backchannel-logout");
    let again = again.body(Body::from(format!("logout_token={token}")));
    let other_process = LogoutEndpoints {
        lifecycle: service.bench.lifecycle.clone(),
        clock: Arc::clone(&service.bench.parts.clock),
        metrics: Arc::clone(&service.bench.parts.metrics),
        issuers: service.checker.sources.jwt.clone(),
        front_channel: false,
        address: service.checker.address.clone(),
        replay_cache: Arc::default(),
    };
    let router = router(Live::new(other_process));
    let response = router.oneshot(again.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let fresh = service.use_session("alice", "s-4", 2 * MINUTE).await;
    assert_eq!(fresh, Verdict::Allow);
}

/// With the scope `user`, a notice about one session also ends the sessions that the provider no longer has.
#[tokio::test]
async fn with_the_scope_user_a_notice_about_one_session_ends_all_sessions_of_the_subject() {
    for (scope, other_session) in [
        (LogoutScope::Session, Verdict::Allow),
        (LogoutScope::User, REVOKED),
    ] {
        let service = Fixture::with_endpoints(|logouts| {
            logouts.issuers[0].issuer.logout_scope = scope;
        });
        for (sub, sid) in [("alice", "s-1"), ("alice", "s-2"), ("bob", "s-3")] {
            let verdict = service.use_session(sub, sid, Duration::ZERO).await;
            assert_eq!(verdict, Verdict::Allow);
        }
        service.bench.set_time_after_start(MINUTE);
        let claims = json!({ "sub": "alice", "sid": "s-1" });
        let token = service.logout_token("l-1", MINUTE, &claims);
        assert_eq!(service.back_channel(&token).await, StatusCode::OK);
        for (sub, sid, verdict) in [
            ("alice", "s-1", REVOKED),
            ("alice", "s-2", other_session),
            ("bob", "s-3", Verdict::Allow),
        ] {
            let found = service.use_session(sub, sid, Duration::ZERO).await;
            assert_eq!(found, verdict, "{scope:?} {sub} {sid}");
        }
        service.bench.set_time_after_start(2 * MINUTE);
        let fresh = service.use_session("alice", "s-4", 2 * MINUTE).await;
        assert_eq!(fresh, Verdict::Allow, "{scope:?}");
    }
}

#[tokio::test]
async fn a_notice_is_accepted_once() {
    let service = Fixture::new();
    let subject_claims = json!({ "sub": "alice", "sid": "s-1" });
    let token = service.logout_token("l-1", Duration::ZERO, &subject_claims);
    let fails = |yes| service.bench.store.all_fail.store(yes, Ordering::SeqCst);
    fails(true);
    assert_eq!(
        service.back_channel(&token).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    fails(false);
    assert_eq!(service.back_channel(&token).await, StatusCode::OK);
    assert_eq!(service.back_channel(&token).await, StatusCode::BAD_REQUEST);
    // A repeated event gets the answer of an accepted event (RFC 8935, section 2).
    let event = service.event_token("e-1", &json!({ "format": "opaque", "id": "s-2" }));
    for _ in 0..2 {
        assert_eq!(service.push_event(&event).await.0, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn invalid_logout_tokens_end_nothing() {
    let service = Fixture::new();
    let stranger = SigningKey::ed25519("a");
    let valid = service.logout_token("l-1", Duration::ZERO, &json!({ "sid": "s-1" }));
    let forged = {
        let header = json!({ "alg": "EdDSA", "kid": "a", "typ": "logout+jwt" });
        stranger.sign(
            &header,
            &json!({ "iss": ISSUER, "aud": AUDIENCE, "sid": "s-1" }),
        )
    };
    let expired = service.logout_token("l-2", Duration::ZERO, &json!({ "sid": "s-1", "exp": 1 }));
    let other_issuer = json!({ "sid": "s-1", "iss": "https://evil.example" });
    let other_issuer = service.logout_token("l-3", Duration::ZERO, &other_issuer);
    for body in [
        String::new(),
        "logout_token=".to_owned(),
        "logout_token=x".to_owned(),
        valid.clone(),
        format!("token={valid}"),
        format!("logout_token={valid}&logout_token={valid}"),
        format!("logout_token={forged}"),
        format!("logout_token={expired}"),
        format!("logout_token={other_issuer}"),
    ] {
        let (status, answer) = service.send_request(form_request(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"], "invalid_request");
        assert!(!answer.to_string().contains("eyJ"), "{answer}");
    }
    let huge = format!("logout_token={}", "x".repeat(MAX_NOTICE_BYTES));
    let response = service
        .router
        .clone()
        .oneshot(form_request(&huge))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let verdict = service.use_session("alice", "s-1", Duration::ZERO).await;
    assert_eq!(verdict, Verdict::Allow);
}

/// RFC 8935, section 2.4, defines a code for each kind of error.
#[tokio::test]
async fn rejected_events_have_an_error_code() {
    let service = Fixture::new();
    let valid = service.event_token("e-1", &json!({ "format": "opaque", "id": "s-1" }));
    let logout = service.logout_token("l-1", Duration::ZERO, &json!({ "sid": "s-1" }));
    let stranger = SigningKey::ed25519("a");
    let header = json!({ "alg": "EdDSA", "kid": "a", "typ": "secevent+jwt" });
    let forged = stranger.sign(&header, &json!({ "iss": ISSUER }));
    let foreign = stranger.sign(&header, &json!({ "iss": "https://evil.example" }));
    let other_audience = service.key.sign(
        &header,
        &json!({ "iss": ISSUER, "aud": "others", "jti": "x", "iat": 1 }),
    );
    for (token, code) in [
        ("", "invalid_issuer"),
        (&*logout, "invalid_request"),
        (&*forged, "authentication_failed"),
        (&*foreign, "invalid_issuer"),
        (&*other_audience, "invalid_audience"),
    ] {
        let (status, answer) = service.push_event(token).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["err"], code, "{answer}");
    }
    let untyped = Request::post("/ssf/events").body(Body::from(valid.clone()));
    let (status, _) = service.send_request(untyped.unwrap()).await;
    assert_eq!(
        status,
        StatusCode::BAD_REQUEST,
        "a request without a content type must be rejected"
    );
    assert_eq!(service.push_event(&valid).await.0, StatusCode::ACCEPTED);
    let verdict = service.use_session("alice", "s-1", Duration::ZERO).await;
    assert_eq!(
        verdict,
        Verdict::Allow,
        "a session of the same instant must not end"
    );
    service.bench.set_time_after_start(SECOND);
    let event = service.event_token("e-2", &json!({ "format": "opaque", "id": "s-1" }));
    assert_eq!(service.push_event(&event).await.0, StatusCode::ACCEPTED);
    let verdict = service.use_session("alice", "s-1", Duration::ZERO).await;
    assert_eq!(verdict, REVOKED);
}

#[tokio::test]
async fn without_keys_notices_get_a_temporary_error() {
    let service = Fixture::with_endpoints(|logouts| {
        logouts.issuers[0].keys = keys_that_cannot_be_fetched(&logouts.clock, &logouts.metrics)
    });
    let token = service.logout_token("l-1", Duration::ZERO, &json!({ "sid": "s-1" }));
    for _ in 0..2 {
        let status = service.back_channel(&token).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let event = service.event_token("e-1", &json!({ "format": "opaque", "id": "s-1" }));
    let (status, _) = service.push_event(&event).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No random input is accepted as a notice.
    #[test]
    fn random_input_is_rejected(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (form, event) = runtime.block_on(async {
            let service = Fixture::new();
            let form = Request::post("/oidc/backchannel-logout").body(Body::from(body.clone()));
            let event = Request::post("/ssf/events")
                .header("content-type", "application/secevent+jwt")
                .body(Body::from(body.clone()));
            (service.send_request(form.unwrap()).await.0, service.send_request(event.unwrap()).await.0)
        });
        prop_assert_eq!(form, StatusCode::BAD_REQUEST);
        prop_assert_eq!(event, StatusCode::BAD_REQUEST);
    }
}
