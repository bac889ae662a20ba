//! Runs sessions of several kinds at the same time. Each session has its own model.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, random_replica};
use crate::model::{DEFAULT, MEDIUM, Model, Policy, SHORT, STREAM, TYPING};
use crate::record::Record;
use crate::session::Session;

/// The number of sessions that are used for the whole run.
const STEADY_SESSIONS: usize = 20;

/// The number of sessions with a stream for the whole run, for each policy.
const SESSIONS_WITH_STREAM: usize = 6;

pub struct Load {
    pub client: Client,
    pub record: Arc<Record>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

impl Load {
    /// Starts sessions of all kinds.
    pub async fn start(client: Client, record: Arc<Record>) -> Arc<Self> {
        let load = Arc::new(Self {
            client,
            record,
            stop: CancellationToken::new(),
            tasks: Mutex::default(),
        });
        for _ in 0..STEADY_SESSIONS {
            let session = load
                .sign_in_until_accepted("steady", DEFAULT, random_replica())
                .await;
            load.spawn(session.use_steadily());
        }
        for policy in [DEFAULT, MEDIUM] {
            for _ in 0..SESSIONS_WITH_STREAM {
                let session = load
                    .sign_in_until_accepted("with a stream", policy, random_replica())
                    .await;
                load.spawn(session.hold_stream());
            }
        }
        for _ in 0..SESSIONS_WITH_STREAM {
            let session = load
                .sign_in_until_accepted("typing", TYPING, random_replica())
                .await;
            load.spawn(session.type_in_stream());
        }
        load.spawn(Arc::clone(&load).sign_in_repeatedly(
            "idle with a stream",
            SHORT,
            350,
            Session::open_stream_then_leave_idle,
        ));
        load.spawn(Arc::clone(&load).sign_in_repeatedly(
            "revoked with a stream",
            STREAM,
            250,
            Session::open_stream_then_revoke,
        ));
        load.spawn(Arc::clone(&load).sign_in_repeatedly(
            "short",
            SHORT,
            300,
            Session::use_then_leave_idle,
        ));
        load.spawn(Arc::clone(&load).sign_in_repeatedly(
            "revoked",
            DEFAULT,
            350,
            Session::use_then_revoke,
        ));
        load.spawn(Arc::clone(&load).sign_in_repeatedly(
            "churn",
            DEFAULT,
            450,
            Session::use_irregularly,
        ));
        load
    }

    /// Stops the load, and waits for the last check of each session. Panics if a task panicked.
    pub async fn stop(&self) {
        self.stop.cancel();
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
            if tasks.is_empty() {
                return;
            }
            while let Some(ended) = tasks.join_next().await {
                ended.unwrap();
            }
        }
    }

    /// Starts a task. [`stop`](Self::stop) waits for its end.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.tasks.lock();
        tasks.unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    /// Signs in, and retries until it succeeds.
    pub async fn sign_in_until_accepted(
        self: &Arc<Self>,
        kind: &'static str,
        policy: Policy,
        replica: usize,
    ) -> Session {
        loop {
            if let Some(session) = self.sign_in(kind, policy, replica).await {
                return session;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Signs in, if the replica is available.
    async fn sign_in(
        self: &Arc<Self>,
        kind: &'static str,
        policy: Policy,
        replica: usize,
    ) -> Option<Session> {
        let sign_in = self.client.sign_in(replica, kind, policy.name).await;
        if sign_in.is_unavailable() {
            return None;
        }
        assert_eq!(sign_in.status, Some(201), "{}", sign_in.body);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Some(Session {
            kind,
            id: text(&sign_in.body["session"]["id"]),
            cookie: format!("__Host-session={}", text(&sign_in.body["token"])),
            model: Model::new(policy, &sign_in),
            load: Arc::clone(self),
        })
    }

    /// Signs in every `interval_millis` milliseconds, and passes each session to the function `use_session`.
    async fn sign_in_repeatedly<F>(
        self: Arc<Self>,
        kind: &'static str,
        policy: Policy,
        interval_millis: u64,
        use_session: fn(Session) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.pause(Duration::from_millis(interval_millis)).await {
            let load = Arc::clone(&self);
            self.spawn(async move {
                if let Some(session) = load.sign_in(kind, policy, random_replica()).await {
                    use_session(session).await;
                }
            });
        }
    }

    /// Waits, and then returns whether the run continues.
    pub async fn pause(&self, time: Duration) -> bool {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(time));
        slept.await.is_some()
    }
}
