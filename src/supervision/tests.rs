mod client_data;
mod history;
mod outage;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::*;
use crate::actor::Actor;
use crate::policy::{Conditions, Policy, Rule, Rules, StreamActivity, StreamSettings, Terms};
use crate::session::{DenyReason, EndReason, SessionId, State};
use crate::store::{EndRequest, InvalidationListener, SessionStore, Touch};
use crate::streams::testing::target;
use crate::streams::{StreamGuard, StreamLimits};
use crate::testing::{MINUTE, SECOND, START, TestService, policy_name};

const GRACE: Duration = StreamSettings::DEFAULT_GRACE;

/// A supervisor, and an open stream of `alice`.
struct Fixture {
    bench: TestService,
    supervisor: Arc<Supervisor>,
    rounds: Rounds,
    id: SessionId,
    guard: StreamGuard,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_rules(Rules::default(), "default").await
    }

    async fn with_rules(rules: Rules, policy: &str) -> Self {
        let mut bench = TestService::new();
        let mut policies: BTreeMap<_, _> = bench
            .parts
            .policies
            .iter()
            .map(|(name, policy)| (name.clone(), policy.clone()))
            .collect();
        let default = policies[&policy_name("default")].clone();
        let settings = StreamSettings {
            activity: StreamActivity::ClientData,
            ..StreamSettings::default()
        };
        let interactive = Policy {
            streams: settings,
            ..default
        };
        policies.insert(policy_name("interactive"), interactive);
        bench.set_policies(policies);
        let id = bench.sign_in(policy).await.id;
        let supervisor = supervisor(&bench, rules);
        let guard = open(&bench, &supervisor, id).await;
        Self {
            bench,
            supervisor: Arc::new(supervisor),
            rounds: Rounds::default(),
            id,
            guard,
        }
    }

    /// Runs the rounds of the supervisor until the time `after` since the start.
    async fn run_until(&mut self, after: Duration) {
        let target = START.plus(after);
        loop {
            self.run_round().await;
            let now = self.bench.clock.now();
            if now >= target {
                return;
            }
            let step = TICK.max(target.since(now) / 200);
            self.bench.clock.set(now.plus(step).min(target));
        }
    }

    async fn run_round(&mut self) {
        self.rounds.run_due(&self.supervisor);
        // Wait until all decisions are finished.
        let all = self.rounds.reads.acquire_many(MAX_CONCURRENT_READS as u32);
        drop(all.await.unwrap());
        self.rounds.run_due(&self.supervisor);
        let all = self.rounds.reads.acquire_many(MAX_CONCURRENT_READS as u32);
        drop(all.await.unwrap());
    }

    fn cut_reason(&self) -> Option<DenyReason> {
        self.guard.stream().cut_reason()
    }

    /// Records activity as another replica does.
    async fn touch_elsewhere(&self) {
        let session = self.bench.load_record(self.id).await;
        let touch = Touch {
            at: self.bench.clock.now(),
            last_seen: session.last_seen,
            retention: session.retention,
            interval: SECOND,
            deadline: START.plus(15 * MINUTE),
        };
        self.bench.store.memory.touch(self.id, touch).await.unwrap();
    }

    /// Ends the session as another replica does.
    async fn end_elsewhere(&self, reason: EndReason) {
        let ending = EndRequest {
            reason,
            at: self.bench.clock.now(),
            unless_touched_since: None,
        };
        self.bench.store.memory.end(self.id, ending).await.unwrap();
    }

    async fn is_live(&self) -> bool {
        self.bench.load_record(self.id).await.state == State::Live
    }

    fn set_outage(&self, is_away: bool) {
        let store = &self.bench.store;
        store.all_fail.store(is_away, Ordering::SeqCst);
    }
}

fn supervisor(bench: &TestService, rules: Rules) -> Supervisor {
    Supervisor {
        lifecycle: bench.lifecycle.clone(),
        stores: bench.parts.stores.clone(),
        clock: Arc::clone(&bench.parts.clock),
        rulebook: Arc::new(bench.rulebook(rules)),
        streams: Arc::clone(&bench.parts.streams),
        store_timeout: SECOND,
        metrics: Arc::clone(&bench.parts.metrics),
    }
}

async fn open(bench: &TestService, supervisor: &Supervisor, id: SessionId) -> StreamGuard {
    let session = bench.load_record(id).await;
    let home = supervisor.rulebook.policies.home(&session);
    let target = target();
    let rule_match = crate::check::match_stream(&supervisor.rulebook, &target);
    let terms = rule_match.unwrap().stream_terms(&home, &session);
    supervisor
        .streams
        .open((id, session), target, terms, StreamLimits::default())
        .unwrap()
}

fn rule(terms: Terms) -> Rules {
    let rule = Rule {
        index: 0,
        conditions: Conditions::default(),
        terms,
    };
    Rules::new(vec![rule], Terms::default()).unwrap()
}

#[tokio::test]
async fn an_end_on_this_replica_cuts_the_stream_at_once() {
    let fixture = Fixture::new().await;
    let revoked = fixture.bench.lifecycle.revoke(fixture.id, &Actor::CURFEW);
    revoked.await.unwrap();
    assert_eq!(fixture.cut_reason(), Some(DenyReason::Revoked));
}

#[tokio::test]
async fn an_end_on_another_replica_cuts_the_stream_with_its_reason() {
    for reason in EndReason::ALL {
        let mut fixture = Fixture::new().await;
        fixture.run_until(SECOND).await;
        fixture.end_elsewhere(reason).await;
        fixture.run_until(2 * SECOND).await;
        assert_eq!(fixture.cut_reason(), None, "no message has arrived");
        let at = fixture.bench.clock.now();
        fixture.supervisor.streams.invalidate(fixture.id, at);
        fixture.run_round().await;
        assert_eq!(fixture.cut_reason(), Some(reason.denial()));
    }
}

/// The session can end between the check and the registration of the stream. No message about this end arrives later.
#[tokio::test]
async fn an_end_before_the_registration_cuts_the_stream() {
    let mut fixture = Fixture::new().await;
    fixture.end_elsewhere(EndReason::SignedOut).await;
    fixture.run_until(SECOND).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::SignedOut));
}

#[tokio::test]
async fn limits_cut_the_stream_and_end_the_session() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(15 * MINUTE - SECOND).await;
    assert_eq!(fixture.cut_reason(), None);
    fixture.run_until(15 * MINUTE).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::IdleTimeout));
    assert!(!fixture.is_live().await);

    let mut fixture = Fixture::new().await;
    for minutes in (10..480).step_by(10) {
        fixture.run_until(minutes * MINUTE).await;
        fixture.touch_elsewhere().await;
        assert_eq!(
            fixture.cut_reason(),
            None,
            "activity elsewhere must keep the stream"
        );
    }
    fixture.run_until(480 * MINUTE).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::AbsoluteTimeout));
    assert!(!fixture.is_live().await);
}

#[tokio::test]
async fn a_stricter_rule_cuts_the_stream_and_leaves_the_session() {
    let strict = rule(Terms {
        policy: Some(policy_name("strict")),
        ..Terms::default()
    });
    let mut fixture = Fixture::with_rules(strict, "default").await;
    fixture.run_until(5 * MINUTE - SECOND).await;
    assert_eq!(fixture.cut_reason(), None);
    fixture.run_until(5 * MINUTE).await;
    assert_eq!(
        fixture.cut_reason(),
        Some(DenyReason::ReauthenticationRequired)
    );
    assert!(fixture.is_live().await);
}

#[tokio::test]
async fn a_new_configuration_applies_to_open_streams() {
    for (terms, expected) in [
        (
            Terms {
                policy: Some(policy_name("strict")),
                ..Terms::default()
            },
            DenyReason::ReauthenticationRequired,
        ),
        (
            Terms {
                groups: vec!["auditors".to_owned()],
                ..Terms::default()
            },
            DenyReason::Forbidden,
        ),
        (
            Terms {
                policy: Some(policy_name("missing")),
                ..Terms::default()
            },
            DenyReason::MalformedRequest,
        ),
    ] {
        let mut fixture = Fixture::new().await;
        fixture.run_until(6 * MINUTE).await;
        assert_eq!(fixture.cut_reason(), None);
        fixture.supervisor = Arc::new(supervisor(&fixture.bench, rule(terms)));
        fixture.run_round().await;
        assert_eq!(fixture.cut_reason(), Some(expected));
    }
    let mut fixture = Fixture::new().await;
    fixture.run_until(6 * MINUTE).await;
    let policies = fixture.bench.parts.policies.iter();
    let mut policies: BTreeMap<_, _> = policies
        .map(|(name, it)| (name.clone(), it.clone()))
        .collect();
    let default = policies.get_mut(&policy_name("default")).unwrap();
    default.limits.idle = Some(5 * MINUTE);
    fixture.bench.set_policies(policies);
    fixture.supervisor = Arc::new(supervisor(&fixture.bench, Rules::default()));
    fixture.run_round().await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::IdleTimeout));
}

#[tokio::test]
async fn a_cut_off_of_the_subject_cuts_the_stream() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(2 * SECOND).await;
    let subject = fixture.bench.load_record(fixture.id).await.subject;
    let cut_offs = &fixture.bench.parts.stores.cut_offs;
    let now = fixture.bench.clock.now();
    cut_offs.set_cut_off(&subject, now, START).await.unwrap();
    fixture.run_until(3 * SECOND).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::Revoked));
}

#[tokio::test]
async fn a_deleted_record_cuts_the_stream() {
    let mut fixture = Fixture::new().await;
    let session = fixture.bench.load_record(fixture.id).await;
    fixture
        .bench
        .store
        .memory
        .withdraw(fixture.id, &session)
        .await
        .unwrap();
    fixture.run_until(SECOND).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::UnknownSession));
}

#[tokio::test]
async fn many_sessions_are_decided_independently() {
    let bench = TestService::new();
    let supervisor = Arc::new(supervisor(&bench, Rules::default()));
    let mut guards = Vec::new();
    for _ in 0..200 {
        let id = bench.sign_in("default").await.id;
        guards.push(open(&bench, &supervisor, id).await);
    }
    for guard in guards.iter().step_by(2) {
        let ending = EndRequest::signed_out(bench.clock.now());
        let id = guard.stream().session;
        bench.store.memory.end(id, ending).await.unwrap();
    }
    bench.clock.advance(SECOND);
    let mut rounds = Rounds::default();
    for _ in 0..4 {
        rounds.run_due(&supervisor);
        let all = rounds.reads.acquire_many(MAX_CONCURRENT_READS as u32);
        drop(all.await.unwrap());
    }
    for (number, guard) in guards.iter().enumerate() {
        let is_cut = guard.stream().cut_reason().is_some();
        assert_eq!(is_cut, number % 2 == 0, "stream {number}");
    }
}
