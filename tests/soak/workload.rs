//! The sessions, and the workers that use them. A worker takes a random session and acts according to its fate. Then
//! the worker judges the answer, because it knows when the session started, and when it was last used.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pace::{Pace, WORKERS};
use crate::support::curfew::Curfew;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Workers leave the session unused until it times out.
    LeftAlone,
    /// Workers use the session until its absolute limit.
    Used,
    /// A worker revokes the session.
    Revoked,
}

struct Session {
    fate: Fate,
    id: String,
    cookie: String,
    started: Instant,
    /// The earliest and the latest possible time of the last activity.
    seen: (Instant, Instant),
    /// The times of the recent activities. During a fault, the other replica learns about an activity late.
    uses: VecDeque<Instant>,
    revoked: Option<Instant>,
}

/// The workers' own counts of requests and answers, to compare with the metrics.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The number of answers for each verdict.
    pub answers: BTreeMap<String, u64>,
    pub created: u64,
    /// The number of sign-ins that failed with an error, but may have started a session.
    pub possibly_created: u64,
    pub revoked: u64,
}

pub struct Workload {
    replicas: Arc<[Curfew; 2]>,
    pace: Pace,
    slots: Vec<tokio::sync::Mutex<Option<Session>>>,
    pub counts: Mutex<Counts>,
    wrong: Mutex<Vec<String>>,
    closing: AtomicBool,
}

impl Workload {
    pub fn new(replicas: Arc<[Curfew; 2]>, pace: Pace) -> Arc<Self> {
        Arc::new(Self {
            replicas,
            pace,
            slots: (0..pace.sessions)
                .map(|_| tokio::sync::Mutex::new(None))
                .collect(),
            counts: Mutex::default(),
            wrong: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Starts the workers. First they sign in for all sessions, as fast as possible.
    pub fn work(self: &Arc<Self>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let workload = Arc::clone(self);
            workers.spawn(async move {
                for slot in workload.slots.iter().skip(worker).step_by(WORKERS) {
                    let mut slot = slot.lock().await;
                    *slot = workload.sign_in().await;
                }
                while !workload.closing.load(Ordering::Relaxed) {
                    if workload.step().await {
                        tokio::time::sleep(workload.pace.pause).await;
                    }
                }
            });
        }
        workers
    }

    /// Stops the workers.
    pub async fn close(&self, mut workers: JoinSet<()>) {
        self.closing.store(true, Ordering::Relaxed);
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
    }

    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    pub fn summary(&self) -> String {
        let counts = self.counts.lock().unwrap();
        format!(
            "{} sessions started, {} revoked; answers: {:?}",
            counts.created, counts.revoked, counts.answers
        )
    }

    /// Returns a random replica.
    fn replica(&self) -> &Curfew {
        &self.replicas[random(2)]
    }

    /// Takes a random session and sends a request for it. Returns whether it sent a request.
    async fn step(&self) -> bool {
        if random(50) == 0 {
            let forged = format!("__Host-session=cfw1_{}", "A".repeat(72));
            let reason = self.check(&forged).await;
            self.judge(
                matches!(&*reason, "invalid_credential" | "overloaded"),
                || format!("a forged token: {reason}"),
            );
            return true;
        }
        let Ok(mut slot) = self.slots[random(self.slots.len())].try_lock() else {
            return false;
        };
        let Some(session) = slot.as_mut() else {
            *slot = self.sign_in().await;
            return true;
        };
        match session.fate {
            Fate::LeftAlone if session.seen.1.elapsed() < self.pace.idle + self.pace.margin => {
                false
            }
            Fate::Revoked if session.revoked.is_none() => {
                if random(20) == 0 {
                    self.revoke(session).await;
                } else {
                    self.check_session(session).await;
                }
                true
            }
            // Replicas learn about a revocation within two seconds.
            Fate::Revoked
                if session
                    .revoked
                    .is_some_and(|at| at.elapsed() < Duration::from_secs(3)) =>
            {
                false
            }
            _ => {
                if self.check_session(session).await {
                    *slot = None;
                }
                true
            }
        }
    }

    async fn sign_in(&self) -> Option<Session> {
        let body = json!({ "subject": format!("user-{}", random(1_000_000)) });
        let started = Instant::now();
        let (status, answer) = self
            .replica()
            .call("POST", "/api/v1/sessions", Some(body))
            .await;
        let mut counts = self.counts.lock().unwrap();
        if status != 201 {
            counts.possibly_created += 1;
            return None;
        }
        counts.created += 1;
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Some(Session {
            fate: [Fate::LeftAlone, Fate::Used, Fate::Used, Fate::Revoked][random(4)],
            id: text(&answer["session"]["id"]),
            cookie: format!("__Host-session={}", text(&answer["token"])),
            started,
            seen: (started, Instant::now()),
            uses: VecDeque::from([started]),
            revoked: None,
        })
    }

    async fn revoke(&self, session: &mut Session) {
        let path = format!("/api/v1/sessions/{}", session.id);
        let (status, answer) = self.replica().call("DELETE", &path, None).await;
        if status == 200 {
            session.revoked = Some(Instant::now());
            if answer["end_reason"] == "revoked" {
                self.counts.lock().unwrap().revoked += 1;
            }
        } else {
            // The session may have ended in spite of the error.
            session.fate = Fate::Revoked;
        }
    }

    /// Checks a session. Returns whether it has ended.
    async fn check_session(&self, session: &mut Session) -> bool {
        let asked = Instant::now();
        let Pace {
            idle,
            absolute,
            margin,
            ..
        } = self.pace;
        let reason = self.check(&session.cookie).await;
        let answered = Instant::now();
        let age = (asked - session.started, answered - session.started);
        // The shortest and the longest possible idle time of the session.
        let unused = (asked - session.seen.1, answered - session.seen.0);
        let lag = self.pace.lag();
        while session.uses.len() > 1 && asked - session.uses[1] > lag {
            session.uses.pop_front();
        }
        let may_be_idle = answered - session.uses[0] + margin >= idle;
        let must_be_idle = unused.0 >= idle + margin;
        let may_be_old = age.1 + margin >= absolute;
        let must_be_old = age.0 >= absolute + margin;
        let right = match &*reason {
            "allow" => !must_be_idle && !must_be_old && session.revoked.is_none(),
            "idle_timeout" => may_be_idle,
            "absolute_timeout" => may_be_old,
            "revoked" => session.fate == Fate::Revoked,
            // A tombstone is deleted after a minute.
            "unknown_session" => {
                unused.1 > Duration::from_secs(50)
                    && (may_be_idle || may_be_old || session.revoked.is_some())
            }
            "store_unavailable" | "overloaded" => true,
            _ => false,
        };
        self.judge(right, || {
            format!(
                "{:?}: {reason}, {:.1} s old, idle for {:.1} to {:.1} s, revoked: {}",
                session.fate,
                age.0.as_secs_f32(),
                unused.0.as_secs_f32(),
                unused.1.as_secs_f32(),
                session.revoked.is_some()
            )
        });
        match &*reason {
            "allow" => {
                session.seen = (asked, answered);
                session.uses.push_back(asked);
            }
            "store_unavailable" => session.seen.1 = answered,
            _ => {}
        }
        !matches!(&*reason, "allow" | "store_unavailable" | "overloaded")
    }

    async fn check(&self, cookie: &str) -> String {
        let (status, reason) = self.replica().check_with_cookie(cookie).await;
        let reason = if status == 200 {
            "allow".to_owned()
        } else {
            reason
        };
        let mut counts = self.counts.lock().unwrap();
        *counts.answers.entry(reason.clone()).or_default() += 1;
        reason
    }

    fn judge(&self, right: bool, what: impl FnOnce() -> String) {
        let mut wrong = self.wrong.lock().unwrap();
        if !right && wrong.len() < 20 {
            wrong.push(what());
        }
    }
}

fn random(below: usize) -> usize {
    usize::try_from(getrandom::u64().unwrap() % below as u64).unwrap()
}
