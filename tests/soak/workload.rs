//! The sessions, and the workers that use them. Each session has a planned end, such as a sign-out or the idle
//! limit. A worker takes a random session, and uses it so that it ends as planned. The worker records when the session started and when it was last used, and judges each answer with these
//! times.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::run_settings::{RunSettings, WORKERS};
use crate::support::curfew::Curfew;

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlannedEnd {
    /// Workers leave the session unused until it times out.
    IdleTimeout,
    /// Workers use the session until its absolute limit.
    AbsoluteTimeout,
    /// A worker revokes the session.
    Revoked,
}

struct Session {
    planned_end: PlannedEnd,
    id: String,
    cookie: String,
    started: Instant,
    /// The earliest and the latest possible time of the last activity.
    last_activity: (Instant, Instant),
    /// The times of the recent activities. During a fault, an activity reaches the other replica late.
    recent_activities: VecDeque<Instant>,
    revoked_at: Option<Instant>,
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
    run_settings: RunSettings,
    slots: Vec<tokio::sync::Mutex<Option<Session>>>,
    pub counts: Mutex<Counts>,
    wrong_answers: Mutex<Vec<String>>,
    is_closing: AtomicBool,
}

impl Workload {
    pub fn new(replicas: Arc<[Curfew; 2]>, run_settings: RunSettings) -> Arc<Self> {
        Arc::new(Self {
            replicas,
            run_settings,
            slots: (0..run_settings.sessions)
                .map(|_| tokio::sync::Mutex::new(None))
                .collect(),
            counts: Mutex::default(),
            wrong_answers: Mutex::default(),
            is_closing: AtomicBool::new(false),
        })
    }

    /// Starts the workers. First they sign in for all sessions, as fast as possible.
    pub fn start_workers(self: &Arc<Self>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let workload = Arc::clone(self);
            workers.spawn(async move {
                for slot in workload.slots.iter().skip(worker).step_by(WORKERS) {
                    let mut slot = slot.lock().await;
                    *slot = workload.sign_in().await;
                }
                while !workload.is_closing.load(Ordering::Relaxed) {
                    if workload.send_random_request().await {
                        tokio::time::sleep(workload.run_settings.pause).await;
                    }
                }
            });
        }
        workers
    }

    /// Tells the workers to stop, and waits for them. Panics if a worker has panicked.
    pub async fn stop_workers(&self, mut workers: JoinSet<()>) {
        self.is_closing.store(true, Ordering::Relaxed);
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
    }

    pub fn wrong_answers(&self) -> Vec<String> {
        self.wrong_answers.lock().unwrap().clone()
    }

    pub fn summary(&self) -> String {
        let counts = self.counts.lock().unwrap();
        format!(
            "{} sessions started, {} revoked; answers: {:?}",
            counts.created, counts.revoked, counts.answers
        )
    }

    fn random_replica(&self) -> &Curfew {
        &self.replicas[random(2)]
    }

    /// Sends a request for a random session, or, in one of 50 calls, a forged token. Returns whether it sent a request.
    async fn send_random_request(&self) -> bool {
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
        match session.planned_end {
            PlannedEnd::IdleTimeout
                if session.last_activity.1.elapsed()
                    < self.run_settings.idle + self.run_settings.end_tolerance =>
            {
                false
            }
            PlannedEnd::Revoked if session.revoked_at.is_none() => {
                if random(20) == 0 {
                    self.revoke(session).await;
                } else {
                    self.check_session(session).await;
                }
                true
            }
            // A revocation reaches all replicas within two seconds.
            PlannedEnd::Revoked
                if session
                    .revoked_at
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
            .random_replica()
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
            planned_end: [
                PlannedEnd::IdleTimeout,
                PlannedEnd::AbsoluteTimeout,
                PlannedEnd::AbsoluteTimeout,
                PlannedEnd::Revoked,
            ][random(4)],
            id: text(&answer["session"]["id"]),
            cookie: format!("__Host-session={}", text(&answer["token"])),
            started,
            last_activity: (started, Instant::now()),
            recent_activities: VecDeque::from([started]),
            revoked_at: None,
        })
    }

    async fn revoke(&self, session: &mut Session) {
        let path = format!("/api/v1/sessions/{}", session.id);
        let (status, answer) = self.random_replica().call("DELETE", &path, None).await;
        if status == 200 {
            session.revoked_at = Some(Instant::now());
            if answer["end_reason"] == "revoked" {
                self.counts.lock().unwrap().revoked += 1;
            }
        } else {
            // The session may have ended in spite of the error.
            session.planned_end = PlannedEnd::Revoked;
        }
    }

    /// Checks a session. Returns whether it has ended.
    async fn check_session(&self, session: &mut Session) -> bool {
        let sent_at = Instant::now();
        let RunSettings {
            idle,
            absolute,
            end_tolerance,
            ..
        } = self.run_settings;
        let reason = self.check(&session.cookie).await;
        let answered_at = Instant::now();
        let age = (sent_at - session.started, answered_at - session.started);
        // The shortest and the longest possible idle time of the session.
        let idle_time = (
            sent_at - session.last_activity.1,
            answered_at - session.last_activity.0,
        );
        let lag = self.run_settings.max_activity_lag();
        while session.recent_activities.len() > 1 && sent_at - session.recent_activities[1] > lag {
            session.recent_activities.pop_front();
        }
        let may_be_idle = answered_at - session.recent_activities[0] + end_tolerance >= idle;
        let must_be_idle = idle_time.0 >= idle + end_tolerance;
        let may_be_old = age.1 + end_tolerance >= absolute;
        let must_be_old = age.0 >= absolute + end_tolerance;
        let is_correct = match &*reason {
            "allow" => !must_be_idle && !must_be_old && session.revoked_at.is_none(),
            "idle_timeout" => may_be_idle,
            "absolute_timeout" => may_be_old,
            "revoked" => session.planned_end == PlannedEnd::Revoked,
            // After a minute, Redis deletes the record of an ended session.
            "unknown_session" => {
                idle_time.1 > Duration::from_secs(50)
                    && (may_be_idle || may_be_old || session.revoked_at.is_some())
            }
            "store_unavailable" | "overloaded" => true,
            _ => false,
        };
        self.judge(is_correct, || {
            format!(
                "{:?}: {reason}, {:.1} s old, idle for {:.1} to {:.1} s, revoked: {}",
                session.planned_end,
                age.0.as_secs_f32(),
                idle_time.0.as_secs_f32(),
                idle_time.1.as_secs_f32(),
                session.revoked_at.is_some()
            )
        });
        match &*reason {
            "allow" => {
                session.last_activity = (sent_at, answered_at);
                session.recent_activities.push_back(sent_at);
            }
            "store_unavailable" => session.last_activity.1 = answered_at,
            _ => {}
        }
        !matches!(&*reason, "allow" | "store_unavailable" | "overloaded")
    }

    async fn check(&self, cookie: &str) -> String {
        let (status, reason) = self.random_replica().check_with_cookie(cookie).await;
        let reason = if status == 200 {
            "allow".to_owned()
        } else {
            reason
        };
        let mut counts = self.counts.lock().unwrap();
        *counts.answers.entry(reason.clone()).or_default() += 1;
        reason
    }

    fn judge(&self, is_correct: bool, describe: impl FnOnce() -> String) {
        let mut wrong = self.wrong_answers.lock().unwrap();
        if !is_correct && wrong.len() < 20 {
            wrong.push(describe());
        }
    }
}

fn random(below: usize) -> usize {
    usize::try_from(getrandom::u64().unwrap() % below as u64).unwrap()
}
