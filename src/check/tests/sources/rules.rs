//! The statements of the table. Each function tests one statement with one source, and returns the text of the cell.

mod policies;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::source_fixture::{SignedIn, SourceFixture, SourceKind, denied};
use super::{FROM_FIRST_REQUEST, NO, NOT_APPLICABLE, TestedStatement, YES};
use crate::actor::{Actor, ActorKind};
use crate::check::Detail;
use crate::lifecycle::StartError;
use crate::policy::{MaxSessions, OnSessionLimit, Rules};
use crate::revocation::RevocationConditions;
use crate::session::{DenyReason, Verdict};
use crate::testing::delegate::Answer;
use crate::testing::jwt::keys_that_cannot_be_fetched;
use crate::testing::{HOUR, MINUTE, SECOND, START};

const IDLE_TIMEOUT: Verdict = denied(DenyReason::IdleTimeout);
const ABSOLUTE_TIMEOUT: Verdict = denied(DenyReason::AbsoluteTimeout);
const REVOKED: Verdict = denied(DenyReason::Revoked);
const ALLOW: Verdict = Verdict::Allow;

macro_rules! rules {
    ($($text:literal => $observe:path,)*) => {
        pub(super) const ALL: &[TestedStatement] = &[$(($text, |kind| Box::pin($observe(kind)))),*];
    };
}

rules! {
    "The idle limit ends the session" => idle_limit,
    "The absolute limit counts from the sign-in" => absolute_limit,
    "A refreshed credential does not move the absolute limit" => refreshed_credential,
    "An ended session stays ended while its credential is presented" => final_end,
    "An ended session stays ended after the store [lost data](redis.md#loss-of-data)" => loss_of_data,
    "After an administrator ended one session, no earlier authentication starts another" => revoked_session,
    "All sessions of a subject end at once" => revoked_subject,
    "An [emergency revocation](emergency.md) ends the session" => emergency_revocation,
    "`max_sessions` with `deny`" => session_limit_with_deny,
    "`max_sessions` with `end_oldest`" => session_limit_with_end_oldest,
    "[Binding](policies.md#binding)" => policies::binding,
    "A variant for a group" => policies::group_variant,
    "If the groups are unknown, every variant applies" => policies::unknown_groups,
    "A stricter policy denies only its own requests, and requires a new sign-in" => policies::stricter_policy,
    "`max_auth_age` counts from the sign-in" => policies::max_auth_age,
    "A passive request does not count as activity" => policies::passive_request,
    "A rule with `groups` applies" => policies::rule_with_groups,
    "A shorter policy applies at once" => policies::shorter_policy,
    "A longer policy does not move the deadline" => policies::longer_policy,
    "A failure of the store gives 503, and ends no session" => store_unavailable,
    "A failure of the source gives 503, and ends no session" => source_unavailable,
    "After a session end, the challenge asks for a new sign-in (RFC 9470)" => challenge_after_end,
    "Curfew counts the start and the end, and shows both in the console" => metrics_and_recent_events,
}

/// Returns the cell text for a statement that is true or false.
const fn cell_text(holds: bool) -> &'static str {
    if holds { YES } else { NO }
}

fn administrator() -> Actor {
    Actor::new(ActorKind::AdminToken, "ci", None)
}

/// Signs the person in, and sends the first request one minute later.
async fn session_in_use(fixture: &SourceFixture) -> SignedIn {
    let signed_in = fixture.sign_in(1, Duration::ZERO).await;
    assert_eq!(fixture.verdict(&signed_in, MINUTE).await, ALLOW);
    signed_in
}

async fn idle_limit(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let before_timeout = 16 * MINUTE - SECOND / 1000;
    assert_eq!(fixture.verdict(&signed_in, before_timeout).await, ALLOW);
    cell_text(
        fixture
            .verdict(&signed_in, before_timeout + 15 * MINUTE)
            .await
            == IDLE_TIMEOUT,
    )
}

async fn absolute_limit(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = fixture.sign_in(1, Duration::ZERO).await;
    for minutes in (10..480).step_by(10) {
        assert_eq!(fixture.verdict(&signed_in, minutes * MINUTE).await, ALLOW);
    }
    match fixture.verdict(&signed_in, 8 * HOUR).await {
        ABSOLUTE_TIMEOUT => YES,
        ALLOW => {
            assert_eq!(
                fixture.verdict(&signed_in, 8 * HOUR + 10 * MINUTE).await,
                ABSOLUTE_TIMEOUT
            );
            FROM_FIRST_REQUEST
        }
        _ => NO,
    }
}

/// The source refreshes the credential for each request.
async fn refreshed_credential(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = fixture.sign_in(1, Duration::ZERO).await;
    let times = (0..=480).step_by(5);
    let mut last = ALLOW;
    for minutes in times {
        last = fixture.verdict(&signed_in, minutes * MINUTE).await;
    }
    cell_text(last == ABSOLUTE_TIMEOUT)
}

async fn final_end(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    for hours in (1..300).step_by(5) {
        if fixture.verdict(&signed_in, hours * HOUR).await == ALLOW {
            return NO;
        }
        fixture.bench.run_background_tasks().await;
    }
    YES
}

async fn loss_of_data(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    assert_eq!(fixture.verdict(&signed_in, 20 * MINUTE).await, IDLE_TIMEOUT);
    let lost_at = 21 * MINUTE;
    fixture.bench.store.memory.lose_all(START.plus(lost_at));
    let found = fixture.check(&signed_in, lost_at + MINUTE).await;
    if found.verdict == ALLOW {
        return NO;
    }
    if !kind.is_issued_by_curfew() {
        assert_eq!(found.detail, Some(Detail::DataLoss));
    }
    let fresh = fixture.sign_in(2, lost_at + 2 * MINUTE).await;
    cell_text(fixture.verdict(&fresh, lost_at + 2 * MINUTE).await == ALLOW)
}

async fn revoked_session(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let other = fixture.sign_in(2, 2 * MINUTE).await;
    assert_eq!(fixture.verdict(&other, 2 * MINUTE).await, ALLOW);
    let id = fixture.live_session_id(&signed_in, 3 * MINUTE).await;
    let lifecycle = &fixture.checker.lifecycle;
    lifecycle.revoke(id, &administrator()).await.unwrap();
    let after = 4 * MINUTE;
    assert_eq!(fixture.verdict(&signed_in, after).await, REVOKED);
    assert_eq!(
        fixture.verdict(&other, after).await,
        ALLOW,
        "the other session must be live"
    );
    let refused = match fixture.sign_in_late(3, 2 * MINUTE, after).await {
        Err(StartError::TooOld) => true,
        Ok(silent) => {
            !kind.is_issued_by_curfew() && fixture.verdict(&silent, after).await == REVOKED
        }
        Err(_) => false,
    };
    let fresh = fixture.sign_in(4, after).await;
    assert_eq!(fixture.verdict(&fresh, after).await, ALLOW);
    cell_text(refused)
}

async fn revoked_subject(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let [first, second] = [
        session_in_use(&fixture).await,
        fixture.sign_in(2, MINUTE).await,
    ];
    assert_eq!(fixture.verdict(&second, MINUTE).await, ALLOW);
    let alice = crate::session::Subject::new("alice").unwrap();
    fixture.bench.set_time_after_start(2 * MINUTE);
    let lifecycle = &fixture.checker.lifecycle;
    let done = lifecycle.revoke_all(&alice, None, &administrator()).await;
    assert_eq!(done.unwrap().revoked, 2);
    let mut ended = true;
    for signed_in in [&first, &second] {
        ended &= fixture.verdict(signed_in, 3 * MINUTE).await == REVOKED;
    }
    let fresh = fixture.sign_in(3, 4 * MINUTE).await;
    cell_text(ended && fixture.verdict(&fresh, 4 * MINUTE).await == ALLOW)
}

async fn emergency_revocation(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let conditions = RevocationConditions {
        source: Some(kind.source().to_owned()),
        ..RevocationConditions::default()
    };
    fixture.bench.set_time_after_start(2 * MINUTE);
    let lifecycle = &fixture.checker.lifecycle;
    let done = lifecycle
        .revoke_matching(conditions, None, &administrator())
        .await;
    assert!(done.unwrap().is_some());
    cell_text(fixture.verdict(&signed_in, 2 * MINUTE).await == REVOKED)
}

/// Signs the person in three times with a limit of two sessions. Returns the verdicts for the third and the first
/// session.
async fn sign_in_three_times(kind: SourceKind, on_limit: OnSessionLimit) -> (Verdict, Verdict) {
    let limit = MaxSessions { count: 2, on_limit };
    let fixture = SourceFixture::with(
        kind,
        |policy| policy.max_sessions = Some(limit),
        Rules::default(),
    )
    .await;
    let first = fixture.sign_in(1, Duration::ZERO).await;
    assert_eq!(fixture.verdict(&first, SECOND).await, ALLOW);
    let second = fixture.sign_in(2, 2 * SECOND).await;
    assert_eq!(fixture.verdict(&second, 3 * SECOND).await, ALLOW);
    let third = match fixture.sign_in_late(3, 4 * SECOND, 4 * SECOND).await {
        Ok(third) => fixture.verdict(&third, 5 * SECOND).await,
        Err(StartError::SessionLimitReached(2)) => denied(DenyReason::TooManySessions),
        Err(error) => unreachable!("{error}"),
    };
    assert_eq!(fixture.verdict(&second, 6 * SECOND).await, ALLOW);
    (third, fixture.verdict(&first, 6 * SECOND).await)
}

async fn session_limit_with_deny(kind: SourceKind) -> &'static str {
    let too_many = denied(DenyReason::TooManySessions);
    cell_text(sign_in_three_times(kind, OnSessionLimit::Deny).await == (too_many, ALLOW))
}

async fn session_limit_with_end_oldest(kind: SourceKind) -> &'static str {
    cell_text(sign_in_three_times(kind, OnSessionLimit::EndOldest).await == (ALLOW, REVOKED))
}

async fn store_unavailable(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let fails = &fixture.bench.store.all_fail;
    fails.store(true, Ordering::SeqCst);
    let during_failure = fixture.verdict(&signed_in, 2 * MINUTE).await;
    fails.store(false, Ordering::SeqCst);
    let after_failure = fixture.verdict(&signed_in, 3 * MINUTE).await;
    cell_text((during_failure, after_failure) == (denied(DenyReason::StoreUnavailable), ALLOW))
}

async fn source_unavailable(kind: SourceKind) -> &'static str {
    let mut fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let during_failure = match kind {
        SourceKind::Token | SourceKind::Login => return NOT_APPLICABLE,
        SourceKind::Jwt | SourceKind::JwtByIat => {
            let keys =
                keys_that_cannot_be_fetched(&fixture.checker.clock, &fixture.checker.metrics);
            let known = std::mem::replace(&mut fixture.checker.sources.jwt[0].keys, keys);
            let during_failure = fixture.verdict(&signed_in, 2 * MINUTE).await;
            fixture.checker.sources.jwt[0].keys = known;
            during_failure
        }
        SourceKind::DelegatedWithTime | SourceKind::DelegatedWithoutTime => {
            let answer = Answer::Respond(500, Vec::new(), "");
            fixture
                .verdict_with_answer(&signed_in, 2 * MINUTE, answer)
                .await
        }
    };
    let after_failure = fixture.verdict(&signed_in, 3 * MINUTE).await;
    cell_text((during_failure, after_failure) == (denied(DenyReason::SourceUnavailable), ALLOW))
}

/// The challenge prevents that a client refreshes its token and tries again with the same sign-in. Clients cannot
/// refresh Curfew's tokens, so the statement does not apply to them.
async fn challenge_after_end(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    let ended = fixture.check(&signed_in, HOUR).await;
    assert_eq!(ended.verdict, IDLE_TIMEOUT);
    match ended.max_auth_age {
        None if kind.is_issued_by_curfew() => NOT_APPLICABLE,
        age => cell_text(age == Some(0)),
    }
}

async fn metrics_and_recent_events(kind: SourceKind) -> &'static str {
    let fixture = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&fixture).await;
    assert_eq!(fixture.verdict(&signed_in, HOUR).await, IDLE_TIMEOUT);
    fixture.bench.run_background_tasks().await;
    let text = fixture.bench.parts.metrics.render().unwrap();
    let counted = [
        r#"curfew_sessions_created_total{policy="default"} 1"#,
        r#"curfew_sessions_ended_total{policy="default",reason="idle_timeout",redelivered="false"} 1"#,
    ];
    let recent = fixture.bench.parts.recent_events.events();
    cell_text(counted.iter().all(|line| text.contains(line)) && recent.len() == 2)
}
