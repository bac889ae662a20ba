//! Runs the same random histories on a model of the session limits, on the embedded store and on Redis.
//!
//! The model does not call the code that it checks. It predicts which recorded activities (touches) a crash loses.
//! Every difference between a verdict of the model and a verdict of a store is an error.

use std::collections::BTreeMap;

use curfew::clock::{Clock, ManualClock};
use curfew::session::{EndReason, State, Verdict, decide};
use curfew::store::memory::MemoryStore;
use curfew::store::touch::CoalescingStore;
use curfew::store::{CreateOutcome, EndOutcome, EndRequest};
use curfew::telemetry::Metrics;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::support::redis::RedisServer;

const SECOND: Duration = Duration::from_secs(1);
/// The number of sessions. It is small, so histories often use a session that has ended or is unknown.
const SESSION_COUNT: u8 = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(u8),
    /// A check that counts as activity.
    Use(u8),
    /// A check that does not count as activity.
    CheckPassively(u8),
    Revoke(u8),
    /// Sets the idle limit, in seconds.
    SetIdleLimit(u64),
    Wait(u64),
    /// Writes the touches that are due.
    Flush,
    /// The process crashes, and another one replaces it.
    Crash,
}

fn any_history() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..SESSION_COUNT;
    let step = prop_oneof![
        2 => name.clone().prop_map(Step::Create),
        6 => name.clone().prop_map(Step::Use),
        3 => name.clone().prop_map(Step::CheckPassively),
        1 => name.prop_map(Step::Revoke),
        1 => (20_u64..60).prop_map(Step::SetIdleLimit),
        6 => (1_u64..30).prop_map(Step::Wait),
        3 => Just(Step::Flush),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The verdict of a check.
type Answer = &'static str;

/// A session in the model. Times are in seconds since the start of the history.
#[derive(Clone, Debug)]
struct ModelSession {
    started: u64,
    /// The last activity that is in the store.
    written: u64,
    /// The activity that is not written yet: the time when the store will write it, and the time when it happened.
    pending: Option<(u64, u64)>,
    /// The idle limit at the start of the session. The retention of the record depends on it.
    idle_at_start: u64,
    ended: Option<Answer>,
}

const ABSOLUTE_LIMIT_SECONDS: u64 = 200;
const TOUCH_INTERVAL_SECONDS: u64 = 5;

struct Model {
    sessions: BTreeMap<u8, ModelSession>,
    idle: u64,
    now: u64,
}

impl Model {
    fn check(&mut self, name: u8, counts_as_activity: bool) -> Answer {
        let (now, idle) = (self.now, self.idle);
        let Some(session) = self.sessions.get_mut(&name) else {
            return "unknown_session";
        };
        if let Some(reason) = session.ended {
            return reason;
        }
        let seen = session
            .pending
            .map_or(session.written, |(_, at)| at.max(session.written));
        // The record expires one hour after the first idle limit. So even with a longer idle limit, the session ends
        // one minute before this time.
        let idle = idle.min(session.idle_at_start + 3600 - 60);
        let end_reason = if now >= session.started + ABSOLUTE_LIMIT_SECONDS {
            Some("absolute_timeout")
        } else if now >= seen + idle {
            Some("idle_timeout")
        } else {
            None
        };
        if let Some(reason) = end_reason {
            session.end(reason);
            return reason;
        }
        if counts_as_activity {
            let latest_write = (seen + idle).saturating_sub(TOUCH_INTERVAL_SECONDS);
            let planned_write = (seen + TOUCH_INTERVAL_SECONDS).min(latest_write);
            session.pending = Some(match session.pending {
                Some((planned, at)) => (planned.min(planned_write), at.max(now)),
                None => (planned_write, now),
            });
        }
        "allow"
    }
}

impl ModelSession {
    fn write(&mut self) {
        if let Some((_, at)) = self.pending.take() {
            self.written = self.written.max(at);
        }
    }

    fn end(&mut self, reason: Answer) {
        self.write();
        self.ended = Some(reason);
    }
}

/// One process with its store.
struct Process {
    inner: Arc<dyn SessionStore>,
    store: CoalescingStore<Arc<dyn SessionStore>>,
    clock: ManualClock,
    start: Timestamp,
    /// The number of the history. It is part of the session IDs, which therefore differ between histories.
    history: u64,
}

impl Process {
    fn new(inner: Arc<dyn SessionStore>, start: Timestamp, history: u64) -> Self {
        let clock = ManualClock::new(start);
        Self {
            store: Self::wrap(&inner, &clock),
            inner,
            clock,
            start,
            history,
        }
    }

    fn wrap(
        inner: &Arc<dyn SessionStore>,
        clock: &ManualClock,
    ) -> CoalescingStore<Arc<dyn SessionStore>> {
        let metrics = Arc::new(Metrics::new().unwrap());
        CoalescingStore::new(Arc::clone(inner), Arc::new(clock.clone()), metrics)
    }

    fn id(&self, name: u8) -> SessionId {
        let mut bytes = [name; SessionId::LEN];
        bytes[..8].copy_from_slice(&self.history.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    fn limits(idle: u64) -> Limits {
        Limits {
            idle: Some(Duration::from_secs(idle)),
            absolute: Duration::from_secs(ABSOLUTE_LIMIT_SECONDS),
            max_auth_age: None,
        }
    }

    async fn create(&self, name: u8, idle: u64) -> bool {
        let new = NewSession {
            subject: Subject::new("alice").unwrap(),
            attributes: Attributes::default(),
            policy: PolicyName::new("default").unwrap(),
            remembered: false,
            binding: Binding::default(),
        };
        let limits = Self::limits(idle);
        let session = Session::start(new, &limits, 60 * MINUTE, self.clock.now());
        self.store.create(self.id(name), &session).await.unwrap() == CreateOutcome::Created
    }

    /// Checks a session with the store, and returns the verdict. `counts_as_activity` is false for a passive request.
    async fn check(&self, name: u8, idle: u64, counts_as_activity: bool) -> Answer {
        let (id, limits) = (self.id(name), Self::limits(idle));
        let Some(session) = self.store.load(id).await.unwrap() else {
            return "unknown_session";
        };
        let now = self.clock.now();
        let verdict = decide(Some(&session), &limits, &limits, now);
        let Verdict::Deny(denial) = verdict else {
            if counts_as_activity {
                let touch = Touch {
                    at: now,
                    last_seen: session.last_seen,
                    retention: session.retention,
                    interval: TOUCH_INTERVAL_SECONDS as u32 * SECOND,
                    deadline: session.idle_deadline(&limits),
                };
                self.store.touch(id, touch).await.unwrap();
            }
            return "allow";
        };
        if session.state == State::Live {
            let reason = EndReason::from_denial(denial).unwrap();
            let idle = reason == EndReason::IdleTimeout;
            let ending = EndRequest {
                reason,
                at: now,
                unless_touched_since: idle.then_some(session.last_seen),
            };
            let outcome = self.store.end(id, ending).await.unwrap();
            assert!(matches!(outcome, EndOutcome::Ended(_)), "{outcome:?}");
        }
        denial.as_str()
    }

    async fn revoke(&self, name: u8) -> bool {
        let ending = EndRequest::revoked(self.clock.now());
        let outcome = self.store.end(self.id(name), ending).await.unwrap();
        matches!(outcome, EndOutcome::Ended(_))
    }
}

/// Runs a history on the model and the stores, and compares all verdicts.
async fn compare_with_model(
    steps: &[Step],
    processes: &mut [Process],
) -> Result<(), TestCaseError> {
    let mut model = Model {
        sessions: BTreeMap::new(),
        idle: 30,
        now: 0,
    };
    for step in steps {
        match *step {
            Step::Create(name) => {
                let is_taken = model.sessions.contains_key(&name);
                if !is_taken {
                    let session = ModelSession {
                        started: model.now,
                        written: model.now,
                        pending: None,
                        idle_at_start: model.idle,
                        ended: None,
                    };
                    model.sessions.insert(name, session);
                }
                for process in &*processes {
                    prop_assert_eq!(process.create(name, model.idle).await, !is_taken);
                }
            }
            Step::Use(name) | Step::CheckPassively(name) => {
                let counts_as_activity = matches!(step, Step::Use(_));
                let expected = model.check(name, counts_as_activity);
                for process in &*processes {
                    let answer = process.check(name, model.idle, counts_as_activity).await;
                    prop_assert_eq!(answer, expected, "{:?} at {} s", step, model.now);
                }
            }
            Step::Revoke(name) => {
                let session = model.sessions.get_mut(&name);
                let live = session.filter(|session| session.ended.is_none());
                let expected = live.is_some();
                if let Some(session) = live {
                    session.end("revoked");
                }
                for process in &*processes {
                    prop_assert_eq!(process.revoke(name).await, expected);
                }
            }
            Step::SetIdleLimit(idle) => model.idle = idle,
            Step::Wait(seconds) => {
                model.now += seconds;
                for process in &*processes {
                    let now = process.start.plus(Duration::from_secs(model.now));
                    process.clock.set(now);
                }
            }
            Step::Flush => {
                for session in model.sessions.values_mut() {
                    if session
                        .pending
                        .is_some_and(|(planned_write, _)| planned_write <= model.now)
                    {
                        session.write();
                    }
                }
                for process in &*processes {
                    process.store.flush_due(process.clock.now()).await.unwrap();
                }
            }
            Step::Crash => {
                for session in model.sessions.values_mut() {
                    session.pending = None;
                }
                for process in &mut *processes {
                    process.store = Process::wrap(&process.inner, &process.clock);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn memory_and_redis_match_the_model_in_random_histories() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    let redis = runtime.block_on(ConnectedStore::connect(settings(&server.url())));
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let mut history = 0;
    let history = std::cell::RefCell::new(&mut history);
    let outcome = runner.run(&any_history(), |steps| {
        let number = {
            let mut history = history.borrow_mut();
            **history += 1;
            **history
        };
        let start = now();
        let memory = MemoryStore::new(1000, Arc::new(ManualClock::new(start)));
        let stores: [Arc<dyn SessionStore>; 2] = [
            Arc::new(memory),
            Arc::clone(&redis) as Arc<dyn SessionStore>,
        ];
        let mut processes = stores.map(|store| Process::new(store, start, number));
        runtime.block_on(compare_with_model(&steps, &mut processes))
    });
    outcome.unwrap();
}
