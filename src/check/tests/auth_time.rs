//! Tests the time of the authentication, as a delegated service sends it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::delegated::{DelegatedFixture, IDLE_TIMEOUT, SOURCE_UNAVAILABLE, cookie, subject};
use super::*;
use crate::policy::MaxAge;
use crate::testing::delegate::Answer;

/// Returns two answers with the time of `alice`'s authentication. One has the time in a header, the other in a token.
fn answers_with_auth_time(ago: Duration, after: Duration) -> [Answer; 2] {
    let at = START.plus(after).minus(ago).as_millis() / 1000;
    let claims = serde_json::json!({ "auth_time": at }).to_string();
    let token = format!("Bearer x.{}.x", URL_SAFE_NO_PAD.encode(claims));
    [
        Answer::allow(&[("x-auth-time", &at.to_string())]),
        Answer::allow(&[("x-token", &token)]),
    ]
}

/// Returns two services that send the time of the authentication. One sends the time in a header, the other in a
/// token.
async fn services_with_auth_time(max_age: MaxAge) -> [DelegatedFixture; 2] {
    let header = http::HeaderName::from_static("x-auth-time");
    [
        DelegatedFixture::with(|it| (it.auth_time, it.max_age) = (Some(header), max_age)).await,
        DelegatedFixture::with(|it| it.max_age = max_age).await,
    ]
}

#[tokio::test]
async fn after_a_timeout_the_old_authentication_starts_no_session() {
    for (index, fixture) in services_with_auth_time(MaxAge::Idle)
        .await
        .iter()
        .enumerate()
    {
        let set_auth_time = |ago, after| {
            fixture
                .service
                .set_answer(answers_with_auth_time(ago, after)[index].clone())
        };
        set_auth_time(MINUTE, MINUTE);
        let outcome = fixture.check(&[("cookie", &cookie("t", 1))], MINUTE).await;
        assert_eq!(outcome.verdict, Verdict::Allow);
        // The limits of the session count from the authentication.
        assert_eq!(outcome.session.unwrap().1.started, START);
        // For a live session, the authentication may be older than the maximum age, and the answer may even lack the
        // time.
        for minutes in [10, 20, 30] {
            let after = minutes * MINUTE;
            set_auth_time(after, after);
            assert_eq!(
                fixture.verdict(&cookie("t", 1), after).await,
                Verdict::Allow
            );
        }
        fixture.service.set_answer(Answer::allow(&[]));
        assert_eq!(
            fixture.verdict(&cookie("t", 1), 31 * MINUTE).await,
            Verdict::Allow
        );
        // After an idle timeout the provider still has its own session, and signs the person in without asking for a
        // password.
        let after = 46 * MINUTE;
        set_auth_time(after, after);
        assert_eq!(fixture.verdict(&cookie("t", 1), after).await, IDLE_TIMEOUT);
        let outcome = fixture.check(&[("cookie", &cookie("u", 1))], after).await;
        assert_eq!(outcome.verdict, deny(DenyReason::ReauthenticationRequired));
        assert_eq!(outcome.max_auth_age, Some(15 * 60));
        assert_eq!(outcome.detail, Some(Detail::OldAuthentication));
        assert!(outcome.relayed.is_none() && outcome.removal_cookie.is_some());
        // A new authentication starts a session, even with the same cookie of the service.
        set_auth_time(Duration::ZERO, after);
        assert_eq!(
            fixture.verdict(&cookie("u", 2), after).await,
            Verdict::Allow
        );
        assert_eq!(fixture.verdict(&cookie("t", 2), after).await, IDLE_TIMEOUT);
    }
}

#[tokio::test]
async fn the_maximum_age_of_an_authentication_is_configured() {
    for (max_age, ago, verdict) in [
        (MaxAge::Idle, 14 * MINUTE, Verdict::Allow),
        (
            MaxAge::Idle,
            15 * MINUTE,
            deny(DenyReason::ReauthenticationRequired),
        ),
        (MaxAge::Of(HOUR), 59 * MINUTE, Verdict::Allow),
        (
            MaxAge::Of(HOUR),
            HOUR,
            deny(DenyReason::ReauthenticationRequired),
        ),
        (MaxAge::Any, HOUR, Verdict::Allow),
        (MaxAge::Any, 24 * HOUR, deny(DenyReason::AbsoluteTimeout)),
    ] {
        let answers = answers_with_auth_time(ago, 48 * HOUR);
        for (fixture, answer) in services_with_auth_time(max_age).await.iter().zip(answers) {
            fixture.service.set_answer(answer);
            let found = fixture.verdict(&cookie("t", 1), 48 * HOUR).await;
            assert_eq!(found, verdict, "{max_age:?} {ago:?}");
        }
    }
}

/// A client that removes `max_age` or `prompt` from the redirect to the provider may get a token without the time.
#[tokio::test]
async fn without_the_time_of_authentication_no_session_starts() {
    for fixture in services_with_auth_time(MaxAge::Idle).await {
        fixture.service.set_answer(Answer::allow(&[]));
        let outcome = fixture.check(&[("cookie", &cookie("t", 1))], MINUTE).await;
        assert_eq!(outcome.verdict, SOURCE_UNAVAILABLE);
        assert_eq!(outcome.detail, Some(Detail::UnknownAuthTime));
        let count = fixture.bench.lifecycle.count(&subject("alice")).await;
        assert_eq!(count.unwrap().live, 0);
    }
}

#[tokio::test]
async fn the_time_of_authentication_has_two_formats() {
    let [fixture, token] = services_with_auth_time(MaxAge::Idle).await;
    let after = 10 * MINUTE;
    let seconds = START.as_millis() as f64 / 1000.0;
    let utc = START.to_string();
    let with_offset = START.plus(2 * HOUR).to_string().replace('Z', "+02:00");
    let plain = format!("{seconds}");
    let exponent = format!("{seconds:e}");
    for (number, text) in [&plain, &exponent, &utc, &with_offset]
        .into_iter()
        .enumerate()
    {
        fixture
            .service
            .set_answer(Answer::allow(&[("x-auth-time", text)]));
        let cookie = cookie(&format!("good{number}"), 1);
        let outcome = fixture.check(&[("cookie", &cookie)], after).await;
        assert_eq!(outcome.session.unwrap().1.started, START, "{text}");
    }
    let repeated = Answer::allow(&[("x-auth-time", &plain), ("x-auth-time", &plain)]);
    let invalid = [
        "",
        "yesterday",
        "-1",
        "1e12",
        "NaN",
        "2026-11-23",
        "2026-11-23T09:30:00",
    ];
    let invalid = invalid.map(|text| Answer::allow(&[("x-auth-time", text)]));
    for answer in invalid.into_iter().chain([repeated]) {
        let text = format!("{answer:?}");
        fixture.service.set_answer(answer);
        assert_eq!(
            fixture.verdict(&cookie("t", 1), after).await,
            SOURCE_UNAVAILABLE,
            "{text}"
        );
        // A request with a live session is denied, too, because an invalid answer does not prove who sent the
        // request.
        assert_eq!(
            fixture.verdict(&cookie("good0", 1), after).await,
            SOURCE_UNAVAILABLE,
            "{text}"
        );
    }
    for value in [
        serde_json::json!("soon"),
        serde_json::json!(-1),
        serde_json::json!(1e12),
    ] {
        let claims = serde_json::json!({ "auth_time": value }).to_string();
        let claims = format!("x.{}.x", URL_SAFE_NO_PAD.encode(claims));
        token
            .service
            .set_answer(Answer::allow(&[("x-token", &claims)]));
        assert_eq!(
            token.verdict(&cookie("t", 1), after).await,
            SOURCE_UNAVAILABLE,
            "{value}"
        );
    }
}
