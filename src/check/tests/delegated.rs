//! Tests sessions of a delegated service.

use proptest::prelude::*;

use super::*;
use crate::credential::delegated::SessionKey;
use crate::delegate::Delegate;
use crate::testing::delegate::{Answer, FakeService};
use crate::testing::jwt::ISSUER;

pub(super) const IDLE_TIMEOUT: Verdict = deny(DenyReason::IdleTimeout);
pub(super) const SOURCE_UNAVAILABLE: Verdict = deny(DenyReason::SourceUnavailable);

pub(super) struct DelegatedFixture {
    pub(super) bench: TestService,
    checker: Checker,
    pub(super) service: FakeService,
}

/// Returns a cookie with this ticket. Each refresh changes the rest of the cookie.
pub(super) fn cookie(ticket: &str, refresh_count: u32) -> String {
    format!("_oauth2_proxy={ticket}|{refresh_count}|signature{refresh_count}=")
}

impl DelegatedFixture {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(
        change: impl FnOnce(&mut crate::credential::delegated::DelegatedService),
    ) -> Self {
        let (bench, service) = (TestService::new(), FakeService::start().await);
        let mut checker = bench.checker(Rules::default(), "session");
        let metrics = Arc::clone(&bench.parts.metrics);
        let delegate = Delegate::new(service.settings(change), metrics).unwrap();
        checker.sources.delegates.push(delegate);
        Self {
            bench,
            checker,
            service,
        }
    }

    pub(super) async fn check(&self, header_lines: &[(&str, &str)], after: Duration) -> Outcome {
        self.bench.set_time_after_start(after);
        let headers = headers(header_lines);
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy: None,
            original: Ok(Original::new(
                &Method::POST,
                OriginalUrl::parse(b"https://App.example.com:8443/a%20b?c=d").unwrap(),
            )),
            headers: &headers,
            address: ClientAddress::InField(Some("192.0.2.7".parse().unwrap())),
            peer: None,
        };
        self.checker.check(&request).await
    }

    pub(super) async fn verdict(&self, cookie: &str, after: Duration) -> Verdict {
        self.check(&[("cookie", cookie)], after).await.verdict
    }
}

#[tokio::test]
async fn the_service_authenticates_and_curfew_limits_the_session() {
    let fixture = DelegatedFixture::new().await;
    fixture.service.set_answer(Answer::allow(&[
        ("x-auth-request-groups", "staff, admin"),
        ("x-auth-request-email", "alice@example.com"),
        ("x-auth-request-access-token", "secret"),
        ("x-other", "unused"),
        ("set-cookie", "_oauth2_proxy=refreshed"),
    ]));
    let outcome = fixture.check(&[("cookie", &cookie("t", 1))], MINUTE).await;
    assert_eq!(outcome.verdict, Verdict::Allow);
    let (id, session) = outcome.session.unwrap();
    assert_eq!(session.subject.as_str(), "alice");
    assert_eq!(session.attributes.get("groups"), ["staff", "admin"]);
    assert_eq!(session.attributes.get("email"), ["alice@example.com"]);
    assert_eq!(session.started, START.plus(MINUTE));
    let relayed = outcome.relayed.unwrap();
    assert_eq!(relayed.headers.len(), 2);
    assert_eq!(relayed.headers["x-auth-request-access-token"], "secret");
    assert_eq!(relayed.headers["set-cookie"], "_oauth2_proxy=refreshed");
    assert!(!format!("{relayed:?}").contains("secret"), "{relayed:?}");
    // A refreshed cookie has the same ticket, so it belongs to the same session.
    let again = fixture
        .check(&[("cookie", &cookie("t", 2))], 2 * MINUTE)
        .await;
    assert_eq!(again.session.unwrap().0, id);
    let other = fixture
        .check(&[("cookie", &cookie("u", 2))], 2 * MINUTE)
        .await;
    assert_ne!(other.session.unwrap().0, id);
}

#[tokio::test]
async fn after_a_timeout_the_service_is_not_asked_and_its_cookie_is_dropped() {
    let fixture = DelegatedFixture::new().await;
    fixture
        .service
        .set_answer(Answer::allow(&[("set-cookie", "_oauth2_proxy=refreshed")]));
    assert_eq!(
        fixture.verdict(&cookie("t", 1), MINUTE).await,
        Verdict::Allow
    );
    let outcome = fixture
        .check(&[("cookie", &cookie("t", 2))], 17 * MINUTE)
        .await;
    assert_eq!(outcome.verdict, IDLE_TIMEOUT);
    assert!(
        outcome.relayed.is_none(),
        "the reply must not contain headers that extend the service's session"
    );
    assert_eq!(outcome.removal_cookie.unwrap(), "_oauth2_proxy=; Max-Age=0");
    fixture.service.take_requests();
    // The session cannot start again for as long as the service's session can live.
    for hours in [1, 24, 6 * 24] {
        fixture.bench.store.memory.reclaim();
        let outcome = fixture
            .check(&[("cookie", &cookie("t", 3))], hours * HOUR)
            .await;
        assert_eq!(outcome.verdict, IDLE_TIMEOUT, "{hours}");
        assert_eq!(outcome.removal_cookie.unwrap(), "_oauth2_proxy=; Max-Age=0");
    }
    assert!(fixture.service.take_requests().is_empty());
    // A new sign-in has another ticket.
    let fresh = fixture.verdict(&cookie("u", 1), 6 * 24 * HOUR).await;
    assert_eq!(fresh, Verdict::Allow);
}

#[tokio::test]
async fn the_denial_of_the_service_is_relayed() {
    let fixture = DelegatedFixture::new().await;
    let deny_with =
        |status, header_lines: &[(&'static str, &str)]| Answer::deny(status, header_lines);
    let location = ("location", "https://login.example.com/?rd=x");
    for (answer, cookie, verdict, status) in [
        (deny_with(401, &[]), "a=b", DenyReason::NoCredential, 401),
        (
            deny_with(401, &[]),
            "_oauth2_proxy=x",
            DenyReason::InvalidCredential,
            401,
        ),
        (
            deny_with(403, &[]),
            "_oauth2_proxy=x",
            DenyReason::Forbidden,
            403,
        ),
        (
            deny_with(302, &[location]),
            "a=b",
            DenyReason::NoCredential,
            302,
        ),
        (
            deny_with(303, &[location]),
            "a=b",
            DenyReason::NoCredential,
            302,
        ),
    ] {
        let text = format!("{answer:?}");
        fixture.service.set_answer(answer);
        let outcome = fixture.check(&[("cookie", cookie)], MINUTE).await;
        assert_eq!(outcome.verdict, Verdict::Deny(verdict), "{text}");
        let relayed = outcome.relayed.unwrap();
        assert_eq!(relayed.status.unwrap().as_u16(), status, "{text}");
        assert_eq!(relayed.headers.contains_key("location"), status == 302);
        assert_eq!(relayed.body.is_some(), status != 302, "{text}");
    }
    // The service allows an anonymous request, but Curfew denies it.
    fixture.service.set_answer(Answer::Respond(200, vec![], ""));
    let outcome = fixture.check(&[], MINUTE).await;
    assert_eq!(outcome.verdict, deny(DenyReason::NoCredential));
}

#[tokio::test]
async fn service_errors_end_no_session() {
    let fixture = DelegatedFixture::new().await;
    assert_eq!(
        fixture.verdict(&cookie("t", 1), MINUTE).await,
        Verdict::Allow
    );
    let user = |text: &str| vec![("x-auth-request-user", text.to_owned())];
    for (number, answer) in [
        Answer::Never,
        Answer::deny(500, &[]),
        Answer::deny(502, &[]),
        Answer::deny(503, &[]),
        Answer::deny(404, &[]),
        Answer::deny(400, &[]),
        Answer::deny(302, &[]),
        Answer::Respond(200, vec![], "<html>garbage</html>"),
        Answer::Respond(200, user(""), ""),
        Answer::Respond(200, user(&"x".repeat(300)), ""),
        Answer::Respond(200, [user("alice"), user("mallory")].concat(), ""),
        Answer::Respond(
            200,
            [
                user("alice"),
                vec![("x-auth-request-email", "x".repeat(2000))],
            ]
            .concat(),
            "",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("{number}: {answer:?}");
        fixture.service.set_answer(answer);
        let outcome = fixture
            .check(&[("cookie", &cookie("t", 1))], 2 * MINUTE)
            .await;
        assert_eq!(outcome.verdict, SOURCE_UNAVAILABLE, "{text}");
        assert!(
            outcome.relayed.is_none() && outcome.removal_cookie.is_none(),
            "{text}"
        );
        let stranger_verdict = fixture.verdict(&cookie("forged", 1), 2 * MINUTE).await;
        assert_eq!(stranger_verdict, SOURCE_UNAVAILABLE, "{text}");
    }
    fixture.service.set_answer(Answer::allow(&[]));
    assert_eq!(
        fixture.verdict(&cookie("t", 1), 3 * MINUTE).await,
        Verdict::Allow
    );
    let count = fixture
        .bench
        .lifecycle
        .count(&subject("alice"))
        .await
        .unwrap();
    assert_eq!(count.live, 1);
}

#[tokio::test]
async fn a_check_is_denied_while_the_service_is_down() {
    let mut fixture = DelegatedFixture::new().await;
    let mut settings = fixture.service.settings(|_| {});
    settings.url = "http://127.0.0.1:1/".parse().unwrap();
    let metrics = Arc::clone(&fixture.bench.parts.metrics);
    fixture.checker.sources.delegates = vec![Delegate::new(settings, metrics).unwrap()];
    assert_eq!(
        fixture.verdict(&cookie("t", 1), MINUTE).await,
        SOURCE_UNAVAILABLE
    );
}

#[tokio::test]
async fn the_request_to_the_service_has_these_headers() {
    let fixture = DelegatedFixture::new().await;
    let header_lines = [
        ("cookie", "a=b; _oauth2_proxy=t|1|s; c=d"),
        ("authorization", "Bearer of-the-application"),
        ("user-agent", "browser"),
        ("x-requested-with", "XMLHttpRequest"),
        ("x-auth-request-user", "mallory"),
        ("x_forwarded_user", "mallory"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-original-url", "https://evil.example/"),
        ("connection", "x-forwarded-for"),
        ("content-length", "5"),
    ];
    assert_eq!(
        fixture.check(&header_lines, MINUTE).await.verdict,
        Verdict::Allow
    );
    let mut request = fixture.service.take_requests().remove(0);
    for name in ["host", "accept"] {
        request.remove(name);
    }
    let mut sent: Vec<_> = request
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    sent.sort_unstable();
    assert_eq!(
        sent,
        [
            ("cookie", "_oauth2_proxy=t|1|s"),
            ("user-agent", "browser"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "App.example.com:8443"),
            ("x-forwarded-method", "POST"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-uri", "/a%20b?c=d"),
            ("x-original-method", "POST"),
            ("x-original-url", "https://App.example.com:8443/a%20b?c=d"),
            ("x-requested-with", "XMLHttpRequest"),
        ]
    );
}

/// If the service could read a different text as the same cookie, Curfew finds the same session for this text, or
/// denies the request.
#[tokio::test]
async fn cookies_that_the_service_reads_alike_give_one_session() {
    let fixture = DelegatedFixture::new().await;
    let first = fixture
        .check(&[("cookie", "_oauth2_proxy=ab|1|s")], MINUTE)
        .await;
    let id = first.session.unwrap().0;
    for equivalent in [
        "_oauth2_proxy=%61b|1|s",
        "_oauth2_proxy=ab%7C1%7Cs",
        "_oauth2_proxy=ab",
    ] {
        let outcome = fixture.check(&[("cookie", equivalent)], MINUTE).await;
        assert_eq!(outcome.session.unwrap().0, id, "{equivalent}");
    }
    for ambiguous in [
        "_oauth2_proxy=\"ab|1|s\"",
        "_oauth2_proxy=ab|1|s; _oauth2_proxy=cd|1|s",
        "_oauth2_proxy=a b",
        "_oauth2_proxy=a,b",
        "_oauth2_proxy=a\\b",
        "_oauth2_proxy=",
        "_oauth2_proxy=ä",
    ] {
        let found = fixture.verdict(ambiguous, MINUTE).await;
        assert_eq!(found, deny(DenyReason::MalformedRequest), "{ambiguous}");
    }
}

#[tokio::test]
async fn the_answer_can_name_the_session() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = |claims: serde_json::Value| {
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("Bearer eyJh.{claims}.signature")
    };
    let by_claim = DelegatedFixture::with(|it| it.key = SessionKey::Claim("sid".to_owned())).await;
    let claims = serde_json::json!({
        "iss": ISSUER, "sid": "s-1", "sub": "a-1", "auth_time": START.as_millis() / 1000,
    });
    let header_lines = [("cookie", "a=b"), ("authorization", "Basic eDp5")];
    by_claim
        .service
        .set_answer(Answer::allow(&[("x-token", &token(claims))]));
    let outcome = by_claim.check(&header_lines, 5 * MINUTE).await;
    let session = outcome.session.unwrap().1;
    assert_eq!(
        session.started, START,
        "the session must start at the time in the token"
    );
    assert_eq!(session.provider_names().count(), 2);
    let request = by_claim.service.take_requests().remove(0);
    assert_eq!(
        (&request["cookie"], &request["authorization"]),
        (&"a=b".parse().unwrap(), &"Basic eDp5".parse().unwrap())
    );
    let by_header =
        DelegatedFixture::with(|it| it.key = SessionKey::Header("x-session".parse().unwrap()))
            .await;
    for (name, verdict) in [("s-1", Verdict::Allow), ("", SOURCE_UNAVAILABLE)] {
        by_header
            .service
            .set_answer(Answer::allow(&[("x-session", name)]));
        let outcome = by_header.check(&header_lines, 5 * MINUTE).await;
        assert_eq!(outcome.verdict, verdict, "{name:?}");
    }
}

/// Before Curfew asks the service, it looks for its own token and for a token of an identity provider. It ignores
/// other tokens in `Authorization`.
#[tokio::test]
async fn the_service_is_asked_last() {
    let fixture = DelegatedFixture::new().await;
    let started = fixture.bench.sign_in("default").await;
    let own_cookie = format!("session={}", started.token.expose());
    assert_eq!(fixture.verdict(&own_cookie, MINUTE).await, Verdict::Allow);
    let forged = fixture.verdict("session=cfw1_x", MINUTE).await;
    assert_eq!(forged, deny(DenyReason::InvalidCredential));
    assert!(fixture.service.take_requests().is_empty());
    let header_lines = [
        ("authorization", "Bearer abc"),
        ("cookie", "_oauth2_proxy=t|1|s"),
    ];
    assert_eq!(
        fixture.check(&header_lines, MINUTE).await.verdict,
        Verdict::Allow
    );
    assert_eq!(fixture.service.take_requests().len(), 1);
}

pub(super) fn subject(text: &str) -> crate::session::Subject {
    crate::session::Subject::new(text).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Refreshed cookies do not move the absolute limit.
    #[test]
    fn a_refreshed_cookie_never_extends_the_absolute_limit(
        gaps in proptest::collection::vec((1_u32..14, any::<u32>()), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = DelegatedFixture::new().await;
            let mut now = Duration::ZERO;
            prop_assert_eq!(fixture.verdict(&cookie("t", 0), now).await, Verdict::Allow);
            for (minutes, refresh_count) in gaps {
                now += minutes * MINUTE;
                let timeout = deny(DenyReason::AbsoluteTimeout);
                let expected = if now >= 8 * HOUR { timeout } else { Verdict::Allow };
                let found = fixture.verdict(&cookie("t", refresh_count), now).await;
                prop_assert_eq!(found, expected, "after {:?}", now);
            }
            Ok(())
        })?;
    }
}
