use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

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
async fn a_stream_survives_an_outage_shorter_than_its_grace() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(SECOND).await;
    fixture.set_outage(true);
    fixture.supervisor.streams.recheck_all();
    fixture.run_until(10 * SECOND).await;
    fixture.set_outage(false);
    fixture.run_until(10 * MINUTE).await;
    assert_eq!(fixture.cut_reason(), None);
}

#[tokio::test]
async fn an_outage_cuts_the_stream_after_its_grace() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(SECOND).await;
    fixture.set_outage(true);
    fixture.supervisor.streams.recheck_all();
    fixture.run_until(GRACE).await;
    assert_eq!(fixture.cut_reason(), None);
    fixture.run_until(GRACE + 2 * SECOND).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::StoreUnavailable));
    fixture.set_outage(false);
    assert!(fixture.is_live().await, "an outage must not end a session");
}

#[tokio::test]
async fn no_stream_outlives_its_last_known_deadline_in_an_outage() {
    let mut fixture = Fixture::new().await;
    fixture.run_until(15 * MINUTE - 10 * SECOND).await;
    fixture.set_outage(true);
    fixture.run_until(15 * MINUTE - SECOND).await;
    assert_eq!(fixture.cut_reason(), None);
    fixture.run_until(15 * MINUTE + SECOND).await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::StoreUnavailable));
}

#[tokio::test]
async fn data_of_the_client_counts_only_where_all_policies_and_the_rule_agree() {
    let by_rule = |activity| {
        rule(Terms {
            stream_activity: Some(activity),
            ..Terms::default()
        })
    };
    let by_policy = rule(Terms {
        policy: Some(policy_name("default")),
        ..Terms::default()
    });
    for (policy, rules, counts) in [
        ("interactive", Rules::default(), true),
        ("interactive", by_rule(StreamActivity::ClientData), true),
        ("interactive", by_rule(StreamActivity::Off), false),
        ("interactive", by_policy, false),
        ("default", Rules::default(), false),
        ("default", by_rule(StreamActivity::ClientData), false),
    ] {
        let mut fixture = Fixture::with_rules(rules, policy).await;
        for minutes in 1..30 {
            fixture.run_until(minutes * MINUTE).await;
            fixture.guard.record_client_data();
        }
        fixture.run_until(30 * MINUTE).await;
        let expected = (!counts).then_some(DenyReason::IdleTimeout);
        assert_eq!(fixture.cut_reason(), expected, "{policy}");
        let touches = fixture.bench.parts.metrics.streams.touches.get();
        assert_eq!(touches > 0, counts);
    }
}

#[tokio::test]
async fn data_of_the_client_is_written_once_per_touch_interval() {
    let mut fixture = Fixture::with_rules(Rules::default(), "interactive").await;
    for tenths in 0..600 {
        fixture.run_until(tenths * SECOND / 10).await;
        fixture.guard.record_client_data();
    }
    // The touch interval of a 15-minute limit is 15 seconds.
    let touches = fixture.bench.parts.metrics.streams.touches.get();
    assert!((3..=6).contains(&touches), "{touches}");
}

#[tokio::test]
async fn data_after_the_limit_does_not_prolong_the_session() {
    let mut fixture = Fixture::with_rules(Rules::default(), "interactive").await;
    fixture.run_until(MINUTE).await;
    fixture.bench.clock.set(START.plus(15 * MINUTE));
    fixture.guard.record_client_data();
    fixture.run_round().await;
    assert_eq!(fixture.cut_reason(), Some(DenyReason::IdleTimeout));
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

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u32),
    TouchElsewhere,
    ClientData,
    EndElsewhere { announced: bool },
    Outage(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u32..400).prop_map(Step::Wait),
        3 => Just(Step::TouchElsewhere),
        3 => Just(Step::ClientData),
        1 => any::<bool>().prop_map(|announced| Step::EndElsewhere { announced }),
        2 => any::<bool>().prop_map(Step::Outage),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In a random history, a stream is cut if and only if a model of the session says so.
    #[test]
    fn a_stream_ends_with_its_session(steps in proptest::collection::vec(any_step(), 1..25), interactive in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run_history(steps, interactive))?;
    }
}

async fn run_history(steps: Vec<Step>, interactive: bool) -> Result<(), TestCaseError> {
    let policy = if interactive {
        "interactive"
    } else {
        "default"
    };
    let mut fixture = Fixture::with_rules(Rules::default(), policy).await;
    fixture.run_until(SECOND).await;
    let mut outage_since = None;
    let mut is_ended = false;
    let mut longest_outage = Duration::ZERO;
    for step in steps {
        let now = fixture.bench.clock.now();
        match step {
            Step::Wait(seconds) => {
                let until = now.plus(seconds * SECOND);
                fixture.run_until(until.since(START)).await;
            }
            Step::TouchElsewhere => fixture.touch_elsewhere().await,
            Step::ClientData => fixture.guard.record_client_data(),
            Step::EndElsewhere { announced } => {
                fixture.end_elsewhere(EndReason::SignedOut).await;
                is_ended = true;
                if announced {
                    fixture.supervisor.streams.invalidate(fixture.id, now);
                }
            }
            Step::Outage(true) => {
                outage_since.get_or_insert(now);
                fixture.set_outage(true);
            }
            Step::Outage(false) => {
                outage_since = None;
                fixture.set_outage(false);
            }
        }
        fixture.run_round().await;
        let now = fixture.bench.clock.now();
        let outage = outage_since.map_or(Duration::ZERO, |since| now.since(since));
        longest_outage = longest_outage.max(outage);
        let record = fixture.bench.load_record(fixture.id).await;
        let is_live = record.state == State::Live
            && now < fixture.supervisor.rulebook.policies.deadline(&record);
        match fixture.cut_reason() {
            None => {
                let deadline = fixture.guard.stream().terms().deadline;
                prop_assert!(
                    now < deadline.plus(SECOND),
                    "no stream may outlive its last known deadline"
                );
                prop_assert!(
                    outage_since.is_some() || is_ended || is_live,
                    "a stream of an expired session must be cut"
                );
            }
            Some(DenyReason::StoreUnavailable) => {
                prop_assert!(
                    longest_outage > Duration::ZERO,
                    "the store has always answered"
                );
                return Ok(());
            }
            Some(reason) => {
                prop_assert!(!is_live, "the stream of a live session was cut: {reason}");
                return Ok(());
            }
        }
    }
    Ok(())
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
