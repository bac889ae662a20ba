//! Tests the effect of each kind of answer.

use super::*;

/// The state of a session after a revalidation.
#[derive(Debug, PartialEq, Eq)]
struct ExpectedOutcome {
    result: &'static str,
    is_live: bool,
    /// The refresh token after the revalidation.
    token: Option<&'static str>,
    /// Whether the provider confirmed the session, so that its next revalidation is due after an interval.
    confirmed: bool,
    groups: &'static [&'static str],
}

const STAFF: &[&str] = &["staff"];
const ADMINS: &[&str] = &["admins"];

/// Returns the outcome if the provider confirms the session.
const fn confirmed(
    result: &'static str,
    token: &'static str,
    groups: &'static [&'static str],
) -> ExpectedOutcome {
    ExpectedOutcome {
        result,
        is_live: true,
        token: Some(token),
        confirmed: true,
        groups,
    }
}

/// Returns the outcome if the answer neither confirms nor refuses the subject. Only the refresh token may change.
const fn unconfirmed(result: &'static str, token: &'static str) -> ExpectedOutcome {
    ExpectedOutcome {
        result,
        is_live: true,
        token: Some(token),
        confirmed: false,
        groups: STAFF,
    }
}

const fn ended(result: &'static str) -> ExpectedOutcome {
    ExpectedOutcome {
        result,
        is_live: false,
        token: None,
        confirmed: false,
        groups: STAFF,
    }
}

/// Revalidates a new session once, and compares the outcome.
async fn assert_outcome(
    fixture: &Fixture,
    in_id_token: ClaimsInToken,
    expected: ExpectedOutcome,
    case: &str,
) {
    let id = fixture.sign_in(in_id_token).await;
    fixture.use_session_at(id, INTERVAL).await;
    let case = format!("{case}: {:?}", diagnostics_of(&fixture.revalidation));
    let session = fixture.bench.load_record(id).await;
    let token = fixture.refresh_token(id).await;
    let due = session.details.as_ref().and_then(|it| it.revalidation);
    let groups = fixture.groups(id).await;
    assert_eq!(session.state == State::Live, expected.is_live, "{case}");
    assert_eq!(token.as_deref(), expected.token, "{case}");
    let confirmed = due.is_some_and(|it| it.confirmed == START.plus(INTERVAL));
    assert_eq!(confirmed, expected.confirmed, "{case}");
    assert_eq!(groups, expected.groups, "{case}");
    assert!(
        fixture.is_counted(expected.result),
        "{}: {case}",
        expected.result
    );
    let has_no_stale_details = session.state == State::Live || session.details.is_none();
    assert!(
        has_no_stale_details,
        "a tombstone must not contain a refresh token: {case}"
    );
}

#[tokio::test]
async fn tokens_confirm_a_session() {
    let provider = FakeProvider::start().await;
    let token = |changes| provider.id_token(&changes);
    let other_key = crate::testing::jwt::SigningKey::p256("two");
    let by_another_key = other_key.token(&json!({
        "iss": provider.issuer().issuer, "aud": "curfew", "sub": "alice", "iat": 1_800_000_000, "exp": 2_000_000_000,
    }));
    let admins = json!({ "groups": ["admins"] });
    for (fields, expected) in [
        (json!({}), confirmed("ok", "first", STAFF)),
        (
            json!({ "refresh_token": "second" }),
            confirmed("ok", "second", STAFF),
        ),
        (
            json!({ "id_token": token(json!({})) }),
            confirmed("ok", "first", STAFF),
        ),
        (
            json!({ "id_token": token(admins), "refresh_token": "second" }),
            confirmed("changed", "second", ADMINS),
        ),
        (
            json!({ "id_token": token(json!({ "groups": [] })) }),
            confirmed("changed", "first", &[]),
        ),
        (
            json!({ "id_token": token(json!({ "sub": "bob" })), "refresh_token": "second" }),
            ended("other_subject"),
        ),
        // The new refresh token is stored even if the rest of the answer is invalid, because the previous token is
        // revoked.
        (
            json!({ "id_token": token(json!({ "aud": "other" })), "refresh_token": "second" }),
            unconfirmed("invalid", "second"),
        ),
        (
            json!({ "id_token": token(json!({ "iss": "https://id.example.org" })), "refresh_token": "second" }),
            unconfirmed("invalid", "second"),
        ),
        (
            json!({ "id_token": token(json!({ "exp": 1_000_000_000 })), "refresh_token": "second" }),
            unconfirmed("invalid", "second"),
        ),
        (
            json!({ "id_token": "none", "refresh_token": "second" }),
            unconfirmed("invalid", "second"),
        ),
        (
            json!({ "id_token": by_another_key, "refresh_token": "second" }),
            unconfirmed("invalid", "second"),
        ),
    ] {
        let fixture = Fixture::with_provider(TestService::new(), provider.clone());
        let case = fields.to_string();
        provider.grant(fields);
        assert_outcome(&fixture, all_claims(), expected, &case).await;
    }
}

/// The ID token of the sign-in had no groups.
#[tokio::test]
async fn user_info_is_requested_if_it_has_the_attributes() {
    let provider = FakeProvider::start().await;
    let subject_alone = ClaimsInToken {
        subject: true,
        ..ClaimsInToken::default()
    };
    let id_token_with_null_claims = provider.id_token(&json!({ "groups": null, "email": null }));
    let user = |changes: serde_json::Value| {
        let mut claims =
            json!({ "sub": "alice", "email": "alice@example.com", "groups": ["admins"] });
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        Reply::Json(200, claims)
    };
    for (user_info, expected) in [
        (user(json!({})), confirmed("changed", "second", ADMINS)),
        (
            user(json!({ "groups": ["staff"] })),
            confirmed("ok", "second", STAFF),
        ),
        (user(json!({ "sub": "bob" })), ended("other_subject")),
        (Reply::Page(503), unconfirmed("unavailable", "second")),
        (Reply::Never, unconfirmed("unavailable", "second")),
    ] {
        let fixture = Fixture::with_provider(TestService::new(), provider.clone());
        let case = format!("{user_info:?}");
        provider.grant(json!({ "refresh_token": "second" }));
        *provider.user_info.lock() = user_info;
        assert_outcome(&fixture, subject_alone, expected, &case).await;
    }
    // If the refreshed ID token lacks the groups and the email address, Curfew also asks the UserInfo endpoint. A claim
    // with the value `null` counts as present.
    let fixture = Fixture::with_provider(TestService::new(), provider.clone());
    let id_token_without_claims = provider.key.token(&json!({
        "iss": provider.issuer().issuer, "aud": "curfew", "sub": "alice",
        "iat": START.as_millis() / 1000, "exp": START.as_millis() / 1000 + 36_000,
    }));
    assert_ne!(id_token_without_claims, id_token_with_null_claims);
    *provider.user_info.lock() = user(json!({}));
    provider.grant(json!({ "id_token": id_token_without_claims }));
    let expected = confirmed("changed", "first", ADMINS);
    assert_outcome(
        &fixture,
        subject_alone,
        expected,
        "an ID token without groups",
    )
    .await;
    // The ID token identifies another subject, and the UserInfo request fails.
    let fixture = Fixture::with_provider(TestService::new(), provider.clone());
    let id_token_of_bob = provider.key.token(&json!({
        "iss": provider.issuer().issuer, "aud": "curfew", "sub": "bob",
        "iat": START.as_millis() / 1000, "exp": START.as_millis() / 1000 + 36_000,
    }));
    *provider.user_info.lock() = Reply::Page(503);
    provider.grant(json!({ "id_token": id_token_of_bob }));
    let case = "an ID token of another subject, without UserInfo";
    assert_outcome(&fixture, subject_alone, ended("other_subject"), case).await;
    provider.grant(json!({ "id_token": id_token_without_claims }));
    // A UserInfo response about another subject says nothing about this subject, so the session stays live.
    let fixture = Fixture::with_provider(TestService::new(), provider.clone());
    *provider.user_info.lock() = user(json!({ "sub": "bob" }));
    let expected = unconfirmed("invalid", "first");
    let case = "an ID token and UserInfo of two people";
    assert_outcome(&fixture, subject_alone, expected, case).await;
}

#[tokio::test]
async fn only_a_refusal_of_the_person_ends_a_session() {
    let provider = FakeProvider::start().await;
    let error = |status, error: &str| Reply::Json(status, json!({ "error": error }));
    for (reply, expected) in [
        (error(400, "invalid_grant"), ended("refused")),
        (error(401, "invalid_grant"), ended("refused")),
        (error(400, "access_denied"), ended("refused")),
        (error(400, "login_required"), ended("refused")),
        (error(400, "interaction_required"), ended("refused")),
        (error(400, "consent_required"), ended("refused")),
        (error(400, "account_selection_required"), ended("refused")),
        (
            error(401, "invalid_client"),
            unconfirmed("client_refused", "first"),
        ),
        (
            error(400, "unauthorized_client"),
            unconfirmed("client_refused", "first"),
        ),
        (
            error(400, "unsupported_grant_type"),
            unconfirmed("client_refused", "first"),
        ),
        (
            error(400, "invalid_request"),
            unconfirmed("client_refused", "first"),
        ),
        (
            error(400, "INVALID_GRANT"),
            unconfirmed("client_refused", "first"),
        ),
        (
            error(400, "temporarily_unavailable"),
            unconfirmed("client_refused", "first"),
        ),
        (
            error(500, "invalid_grant"),
            unconfirmed("unavailable", "first"),
        ),
        (
            error(503, "invalid_grant"),
            unconfirmed("unavailable", "first"),
        ),
        (
            error(429, "invalid_grant"),
            unconfirmed("unavailable", "first"),
        ),
        (Reply::Page(200), unconfirmed("unavailable", "first")),
        (Reply::Page(302), unconfirmed("unavailable", "first")),
        (Reply::Page(400), unconfirmed("unavailable", "first")),
        (Reply::Page(403), unconfirmed("unavailable", "first")),
        (Reply::Page(502), unconfirmed("unavailable", "first")),
        (Reply::Never, unconfirmed("unavailable", "first")),
    ] {
        let fixture = Fixture::with_provider(TestService::new(), provider.clone());
        let case = format!("{reply:?}");
        provider.set_token_reply(reply);
        assert_outcome(&fixture, all_claims(), expected, &case).await;
    }
}

#[tokio::test]
async fn an_unreachable_provider_ends_no_session() {
    let fixture = Fixture::new().await;
    let id = fixture.sign_in(all_claims()).await;
    // Nobody listens at this address after the listener is dropped.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut settings = fixture.login.providers["main"].settings.clone();
    settings.issuer.issuer.issuer = url;
    let base = "https://app.example.com/".parse().unwrap();
    let client = Provider::new(settings, &base, "/.curfew/callback").unwrap();
    let session = fixture.bench.load_record(id).await;
    let due = session.details.as_ref().unwrap().revalidation.unwrap();
    let token = Secret::new("first".to_owned());
    let answer = client.refresh(&token, &session, due, fixture.now()).await;
    assert!(
        matches!(
            answer,
            crate::login::RefreshAnswer::Failed(crate::login::LoginError::Unavailable(_))
        ),
        "{answer:?}"
    );
}
