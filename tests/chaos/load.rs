//! The load: sessions of several kinds, each with a model of its own, all at the same time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Exchange, below, either};
use crate::model::{DEFAULT, Model, Policy, SHORT};
use crate::record::Record;

/// How many sessions are used all the time.
const STEADY: usize = 20;
/// The longest pause between two looks at a session that is checked for the rest of the run.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub struct Load {
    pub client: Client,
    record: Arc<Record>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

/// A session that a task of its own uses.
pub struct Session {
    kind: &'static str,
    id: String,
    cookie: String,
    model: Model,
    load: Arc<Load>,
}

impl Load {
    /// Starts all kinds.
    pub async fn start(client: Client, record: Arc<Record>) -> Arc<Self> {
        let load = Arc::new(Self {
            client,
            record,
            stop: CancellationToken::new(),
            tasks: Mutex::default(),
        });
        for _ in 0..STEADY {
            let session = load.expect_sign_in("steady", DEFAULT, either()).await;
            load.spawn(session.steadily());
        }
        load.spawn(Arc::clone(&load).again("short", SHORT, 300, Session::left_alone));
        load.spawn(Arc::clone(&load).again("revoked", DEFAULT, 350, Session::revoked));
        load.spawn(Arc::clone(&load).again("churn", DEFAULT, 450, Session::used_now_and_then));
        load
    }

    /// Stops it, and waits for the last check of each session. Panics where a task has.
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

    /// Runs a task until the load is stopped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.tasks.lock();
        tasks.unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    /// Signs in, and tries for as long as it takes.
    pub async fn expect_sign_in(
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

    /// Signs in, if the replica can.
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

    /// Signs in again and again, every so many milliseconds, and gives each session to `use_it`.
    async fn again<F>(
        self: Arc<Self>,
        kind: &'static str,
        policy: Policy,
        every: u64,
        use_it: fn(Session) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.pause(Duration::from_millis(every)).await {
            let load = Arc::clone(&self);
            self.spawn(async move {
                if let Some(session) = load.sign_in(kind, policy, either()).await {
                    use_it(session).await;
                }
            });
        }
    }

    /// Waits; says whether the run goes on.
    async fn pause(&self, time: Duration) -> bool {
        let slept = self.stop.run_until_cancelled(tokio::time::sleep(time));
        slept.await.is_some()
    }
}

impl Session {
    pub async fn check(&mut self, replica: usize) -> Exchange {
        let check = self.load.client.check(replica, &self.cookie).await;
        if let Some(mistake) = self.model.checked(&check) {
            let record = &self.load.record;
            record.wrong(mistake, self.kind, &self.id, &check);
        }
        check
    }

    pub async fn revoke(&mut self, replica: usize) -> Exchange {
        let revocation = self.load.client.revoke(replica, &self.id).await;
        if let Some(mistake) = self.model.revoked(&revocation) {
            let record = &self.load.record;
            record.wrong(mistake, self.kind, &self.id, &revocation);
        }
        revocation
    }

    /// Used several times a second, on either replica.
    async fn steadily(mut self) {
        while self.pause(100, 150).await {
            let check = self.check(either()).await;
            self.load.record.steady(&self.id, &check);
        }
        self.check_on_both().await;
    }

    /// The same, on the replica that `choose` names.
    pub async fn steadily_on(mut self, choose: impl Fn() -> usize + Send) {
        while self.pause(100, 150).await {
            self.check(choose()).await;
        }
        self.check_on_both().await;
    }

    /// Used for a moment, then left alone for longer than it may be.
    async fn left_alone(mut self) {
        for _ in 0..3 {
            self.check(either()).await;
            self.pause(50, 100).await;
        }
        while !self.model.is_over() {
            if !self.pause(50, 100).await {
                return;
            }
        }
        self.check_until_the_end().await;
    }

    /// Used for a moment, then revoked; again, where it is not certain that it was.
    async fn revoked(mut self) {
        self.check(either()).await;
        self.check(either()).await;
        while self.revoke(either()).await.status != Some(200) {
            self.check(either()).await;
            if !self.pause(1000, 500).await {
                break;
            }
        }
        self.check_until_the_end().await;
    }

    /// As most people's sessions are.
    async fn used_now_and_then(mut self) {
        self.check(either()).await;
        self.check_until_the_end().await;
    }

    /// Checked less and less often, and once more on each replica when the run ends.
    async fn check_until_the_end(&mut self) {
        let mut pause = 300;
        loop {
            self.check(either()).await;
            if !self.pause(pause, pause).await {
                break;
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE.as_millis().try_into().unwrap());
        }
        self.check_on_both().await;
    }

    async fn check_on_both(&mut self) {
        // Not all of them at once.
        tokio::time::sleep(Duration::from_millis(below(500).into())).await;
        self.check(0).await;
        self.check(1).await;
    }

    /// Waits so many milliseconds, and some more by chance; says whether the run goes on.
    async fn pause(&self, least: u32, more: u32) -> bool {
        let time = Duration::from_millis((least + below(more)).into());
        self.load.pause(time).await
    }
}
