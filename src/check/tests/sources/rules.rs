//! The rules. Each function tests one rule with one source, and returns the text of the cell.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::party::{Kind, SignedIn, SourceFixture, Visit, denied};
use super::{FIRST, NO, NONE, Rule, YES};
use crate::actor::{Actor, ActorKind};
use crate::check::Detail;
use crate::lifecycle::StartError;
use crate::policy::{
    Bind, Conditions, MaxSessions, NetworkBits, OnSessionLimit, PathPattern, Rules, Terms, Variant,
};
use crate::revocation::RevocationConditions;
use crate::session::{DenyReason, Verdict};
use crate::testing::delegate::Answer;
use crate::testing::jwt::no_keys;
use crate::testing::{HOUR, MINUTE, SECOND, START};

const IDLE: Verdict = denied(DenyReason::IdleTimeout);
const ABSOLUTE: Verdict = denied(DenyReason::AbsoluteTimeout);
const REVOKED: Verdict = denied(DenyReason::Revoked);
const REAUTHENTICATE: Verdict = denied(DenyReason::ReauthenticationRequired);
const ALLOW: Verdict = Verdict::Allow;

macro_rules! rules {
    ($($text:literal => $observe:ident,)*) => {
        pub(super) const ALL: &[Rule] = &[$(($text, |kind| Box::pin($observe(kind)))),*];
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
    "[Binding](policies.md#binding)" => binding,
    "A variant for a group" => group_variant,
    "If the groups are unknown, every variant applies" => unknown_groups,
    "A stricter policy denies only its own requests, and requires a new sign-in" => stricter_policy,
    "`max_auth_age` counts from the sign-in" => max_auth_age,
    "A passive request does not count as activity" => passive_request,
    "A rule with `groups` applies" => rule_with_groups,
    "A shorter policy applies at once" => shorter_policy,
    "A longer policy does not move the deadline" => longer_policy,
    "A failure of the store gives 503, and ends no session" => store_unavailable,
    "A failure of the source gives 503, and ends no session" => source_unavailable,
    "After a session end, the challenge asks for a new sign-in (RFC 9470)" => challenge_after_end,
    "Curfew counts the start and the end, and shows both in the console" => metrics_and_recent_events,
}

/// Returns the cell text for a rule that holds or does not hold.
const fn cell_text(holds: bool) -> &'static str {
    if holds { YES } else { NO }
}

fn administrator() -> Actor {
    Actor::new(ActorKind::AdminToken, "ci", None)
}

/// Signs the person in, and sends the first request one minute later.
async fn session_in_use(party: &SourceFixture) -> SignedIn {
    let signed_in = party.sign_in(1, Duration::ZERO).await;
    assert_eq!(party.verdict(&signed_in, MINUTE).await, ALLOW);
    signed_in
}

async fn idle_limit(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let just = 16 * MINUTE - SECOND / 1000;
    assert_eq!(party.verdict(&signed_in, just).await, ALLOW);
    cell_text(party.verdict(&signed_in, just + 15 * MINUTE).await == IDLE)
}

async fn absolute_limit(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = party.sign_in(1, Duration::ZERO).await;
    for minutes in (10..480).step_by(10) {
        assert_eq!(party.verdict(&signed_in, minutes * MINUTE).await, ALLOW);
    }
    match party.verdict(&signed_in, 8 * HOUR).await {
        ABSOLUTE => YES,
        ALLOW => {
            assert_eq!(
                party.verdict(&signed_in, 8 * HOUR + 10 * MINUTE).await,
                ABSOLUTE
            );
            FIRST
        }
        _ => NO,
    }
}

/// The source refreshes the credential for each request.
async fn refreshed_credential(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = party.sign_in(1, Duration::ZERO).await;
    let visits = (0..=480).step_by(5);
    let mut last = ALLOW;
    for minutes in visits {
        last = party.verdict(&signed_in, minutes * MINUTE).await;
    }
    cell_text(last == ABSOLUTE)
}

async fn final_end(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    for hours in (1..300).step_by(5) {
        if party.verdict(&signed_in, hours * HOUR).await == ALLOW {
            return NO;
        }
        party.bench.run_background_tasks().await;
    }
    YES
}

async fn loss_of_data(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    assert_eq!(party.verdict(&signed_in, 20 * MINUTE).await, IDLE);
    let lost = 21 * MINUTE;
    party.bench.store.memory.lose_all(START.plus(lost));
    let found = party.visit(&signed_in, lost + MINUTE).await;
    if found.verdict == ALLOW {
        return NO;
    }
    if !kind.is_own() {
        assert_eq!(found.detail, Some(Detail::LostSince));
    }
    let fresh = party.sign_in(2, lost + 2 * MINUTE).await;
    cell_text(party.verdict(&fresh, lost + 2 * MINUTE).await == ALLOW)
}

async fn revoked_session(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let other = party.sign_in(2, 2 * MINUTE).await;
    assert_eq!(party.verdict(&other, 2 * MINUTE).await, ALLOW);
    let id = party.session(&signed_in, 3 * MINUTE).await;
    let lifecycle = &party.checker.lifecycle;
    lifecycle.revoke(id, &administrator()).await.unwrap();
    let after = 4 * MINUTE;
    assert_eq!(party.verdict(&signed_in, after).await, REVOKED);
    assert_eq!(
        party.verdict(&other, after).await,
        ALLOW,
        "the other session must be live"
    );
    let refused = match party.sign_in_late(3, 2 * MINUTE, after).await {
        Err(StartError::TooOld) => true,
        Ok(silent) => !kind.is_own() && party.verdict(&silent, after).await == REVOKED,
        Err(_) => false,
    };
    let fresh = party.sign_in(4, after).await;
    assert_eq!(party.verdict(&fresh, after).await, ALLOW);
    cell_text(refused)
}

async fn revoked_subject(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let [first, second] = [session_in_use(&party).await, party.sign_in(2, MINUTE).await];
    assert_eq!(party.verdict(&second, MINUTE).await, ALLOW);
    let alice = crate::session::Subject::new("alice").unwrap();
    party.bench.at(2 * MINUTE);
    let lifecycle = &party.checker.lifecycle;
    let done = lifecycle.revoke_all(&alice, None, &administrator()).await;
    assert_eq!(done.unwrap().revoked, 2);
    let mut ended = true;
    for signed_in in [&first, &second] {
        ended &= party.verdict(signed_in, 3 * MINUTE).await == REVOKED;
    }
    let fresh = party.sign_in(3, 4 * MINUTE).await;
    cell_text(ended && party.verdict(&fresh, 4 * MINUTE).await == ALLOW)
}

async fn emergency_revocation(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let conditions = RevocationConditions {
        source: Some(kind.source().to_owned()),
        ..RevocationConditions::default()
    };
    party.bench.at(2 * MINUTE);
    let lifecycle = &party.checker.lifecycle;
    let done = lifecycle
        .revoke_matching(conditions, None, &administrator())
        .await;
    assert!(done.unwrap().is_some());
    cell_text(party.verdict(&signed_in, 2 * MINUTE).await == REVOKED)
}

/// Signs the person in three times with a limit of two sessions. Returns the verdicts for the third and the first
/// session.
async fn sign_in_three_times(kind: Kind, on_limit: OnSessionLimit) -> (Verdict, Verdict) {
    let limit = MaxSessions { count: 2, on_limit };
    let party = SourceFixture::with(
        kind,
        |policy| policy.max_sessions = Some(limit),
        Rules::default(),
    )
    .await;
    let first = party.sign_in(1, Duration::ZERO).await;
    assert_eq!(party.verdict(&first, SECOND).await, ALLOW);
    let second = party.sign_in(2, 2 * SECOND).await;
    assert_eq!(party.verdict(&second, 3 * SECOND).await, ALLOW);
    let third = match party.sign_in_late(3, 4 * SECOND, 4 * SECOND).await {
        Ok(third) => party.verdict(&third, 5 * SECOND).await,
        Err(StartError::TooMany(2)) => denied(DenyReason::TooManySessions),
        Err(error) => unreachable!("{error}"),
    };
    assert_eq!(party.verdict(&second, 6 * SECOND).await, ALLOW);
    (third, party.verdict(&first, 6 * SECOND).await)
}

async fn session_limit_with_deny(kind: Kind) -> &'static str {
    let too_many = denied(DenyReason::TooManySessions);
    cell_text(sign_in_three_times(kind, OnSessionLimit::Deny).await == (too_many, ALLOW))
}

async fn session_limit_with_end_oldest(kind: Kind) -> &'static str {
    cell_text(sign_in_three_times(kind, OnSessionLimit::EndOldest).await == (ALLOW, REVOKED))
}

async fn binding(kind: Kind) -> &'static str {
    let bits = NetworkBits { ipv4: 24, ipv6: 64 };
    let bind = Bind {
        network: Some(bits),
        user_agent: false,
    };
    let party = SourceFixture::with(kind, |policy| policy.bind = bind, Rules::default()).await;
    let signed_in = session_in_use(&party).await;
    let mismatch = Visit {
        from: "198.51.100.7",
        ..Visit::default()
    };
    let found = party.request(&signed_in, 2 * MINUTE, &mismatch).await;
    cell_text(
        found.verdict == REAUTHENTICATE && party.verdict(&signed_in, 2 * MINUTE).await == ALLOW,
    )
}

/// Tests whether an idle limit of five minutes applies, if it is set for members of `staff`.
async fn with_variant(kind: Kind, groups: Option<Vec<&'static str>>) -> &'static str {
    let variant = |policy: &mut crate::policy::Policy| {
        let mut limits = policy.limits;
        limits.idle = Some(5 * MINUTE);
        policy.variants = vec![Variant {
            groups: vec!["staff".to_owned()],
            limits,
        }];
    };
    let mut party = SourceFixture::with(kind, variant, Rules::default()).await;
    party.groups = groups;
    let signed_in = session_in_use(&party).await;
    cell_text(party.verdict(&signed_in, 6 * MINUTE).await == IDLE)
}

async fn group_variant(kind: Kind) -> &'static str {
    assert_eq!(
        with_variant(kind, Some(Vec::new())).await,
        NO,
        "a person without groups must not get the variant"
    );
    with_variant(kind, Some(vec!["staff"])).await
}

async fn unknown_groups(kind: Kind) -> &'static str {
    match kind {
        // These sources cannot say that the groups are unknown.
        Kind::Token | Kind::DelegatedWithoutTime => NONE,
        _ => with_variant(kind, None).await,
    }
}

async fn stricter_policy(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let strict = Visit {
        policy: Some("strict"),
        ..Visit::default()
    };
    let found = party.request(&signed_in, 7 * MINUTE, &strict).await;
    cell_text(
        found.verdict == REAUTHENTICATE && party.verdict(&signed_in, 7 * MINUTE).await == ALLOW,
    )
}

/// The policy `strict` needs a sign-in in the last 30 minutes.
async fn max_auth_age(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = party.sign_in(1, Duration::ZERO).await;
    let strict = Visit {
        policy: Some("strict"),
        ..Visit::default()
    };
    for minutes in (3..30).step_by(3) {
        let found = party.request(&signed_in, minutes * MINUTE, &strict).await;
        assert_eq!(found.verdict, ALLOW, "{kind:?}");
    }
    match party
        .request(&signed_in, 30 * MINUTE, &strict)
        .await
        .verdict
    {
        REAUTHENTICATE => YES,
        ALLOW => {
            let later = party.request(&signed_in, 33 * MINUTE, &strict).await;
            assert_eq!(later.verdict, REAUTHENTICATE);
            FIRST
        }
        _ => NO,
    }
}

async fn passive_request(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let poll = Visit {
        passive: true,
        ..Visit::default()
    };
    let polled = party.request(&signed_in, 10 * MINUTE, &poll).await;
    assert_eq!(polled.verdict, ALLOW);
    cell_text(party.verdict(&signed_in, 16 * MINUTE).await == IDLE)
}

async fn rule_with_groups(kind: Kind) -> &'static str {
    let rule = crate::policy::Rule {
        index: 0,
        conditions: Conditions {
            paths: vec![PathPattern::prefix("/admin").unwrap()],
            ..Conditions::default()
        },
        terms: Terms {
            groups: vec!["staff".to_owned()],
            ..Terms::default()
        },
    };
    let mut found = Vec::new();
    for groups in [vec!["staff"], vec!["guests"]] {
        let rules = Rules::new(vec![rule.clone()], Terms::default()).unwrap();
        let mut party = SourceFixture::with(kind, |_| {}, rules).await;
        party.groups = Some(groups);
        let signed_in = session_in_use(&party).await;
        let visit = Visit {
            path: "/admin/x",
            ..Visit::default()
        };
        found.push(party.request(&signed_in, 2 * MINUTE, &visit).await.verdict);
    }
    cell_text(found == [ALLOW, denied(DenyReason::Forbidden)])
}

async fn shorter_policy(kind: Kind) -> &'static str {
    let mut party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    party.change_policy(|policy| policy.limits.idle = Some(5 * MINUTE));
    cell_text(party.verdict(&signed_in, 6 * MINUTE).await == IDLE)
}

async fn longer_policy(kind: Kind) -> &'static str {
    let mut party = SourceFixture::new(kind).await;
    let signed_in = party.sign_in(1, Duration::ZERO).await;
    let id = party.session(&signed_in, Duration::ZERO).await;
    party.change_policy(|policy| policy.limits.absolute = 100 * HOUR);
    for minutes in (10..480).step_by(10) {
        assert_eq!(party.session(&signed_in, minutes * MINUTE).await, id);
    }
    cell_text(party.verdict(&signed_in, 8 * HOUR).await == ABSOLUTE)
}

async fn store_unavailable(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let fails = &party.bench.store.all_fail;
    fails.store(true, Ordering::SeqCst);
    let away = party.verdict(&signed_in, 2 * MINUTE).await;
    fails.store(false, Ordering::SeqCst);
    let back = party.verdict(&signed_in, 3 * MINUTE).await;
    cell_text((away, back) == (denied(DenyReason::StoreUnavailable), ALLOW))
}

async fn source_unavailable(kind: Kind) -> &'static str {
    let mut party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let away = match kind {
        Kind::Token | Kind::Login => return NONE,
        Kind::Jwt | Kind::JwtByIat => {
            let keys = no_keys(&party.checker.clock, &party.checker.metrics);
            let known = std::mem::replace(&mut party.checker.sources.jwt[0].keys, keys);
            let away = party.verdict(&signed_in, 2 * MINUTE).await;
            party.checker.sources.jwt[0].keys = known;
            away
        }
        Kind::DelegatedWithTime | Kind::DelegatedWithoutTime => {
            let answer = Answer::Now(500, Vec::new(), "");
            party
                .verdict_with_answer(&signed_in, 2 * MINUTE, answer)
                .await
        }
    };
    let back = party.verdict(&signed_in, 3 * MINUTE).await;
    cell_text((away, back) == (denied(DenyReason::SourceUnavailable), ALLOW))
}

/// The rule does not apply to Curfew's tokens: they are never refreshed, so a client does not try again with the same
/// sign-in.
async fn challenge_after_end(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    let ended = party.visit(&signed_in, HOUR).await;
    assert_eq!(ended.verdict, IDLE);
    match ended.max_auth_age {
        None if kind.is_own() => NONE,
        age => cell_text(age == Some(0)),
    }
}

async fn metrics_and_recent_events(kind: Kind) -> &'static str {
    let party = SourceFixture::new(kind).await;
    let signed_in = session_in_use(&party).await;
    assert_eq!(party.verdict(&signed_in, HOUR).await, IDLE);
    party.bench.run_background_tasks().await;
    let text = party.bench.parts.metrics.render().unwrap();
    let counted = [
        r#"curfew_sessions_created_total{policy="default"} 1"#,
        r#"curfew_sessions_ended_total{policy="default",reason="idle_timeout",redelivered="false"} 1"#,
    ];
    let recent = party.bench.parts.recent.events();
    cell_text(counted.iter().all(|line| text.contains(line)) && recent.len() == 2)
}
