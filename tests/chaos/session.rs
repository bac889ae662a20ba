//! A session, and the ways in which the load uses sessions.

mod streams;

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Exchange, random_below, random_replica};
use crate::load::Load;
use crate::model::{Mistake, Model, Severity};

/// The longest pause between two checks of a session in [`Session::check_until_the_end`], in milliseconds.
const MAX_PAUSE_MILLIS: u32 = 2000;

/// A session. A separate task uses each session.
pub struct Session {
    pub kind: &'static str,
    pub id: String,
    pub cookie: String,
    pub model: Model,
    pub load: Arc<Load>,
}

impl Session {
    pub async fn check(&mut self, replica: usize) -> Exchange {
        let check = self.load.client.check(replica, &self.cookie).await;
        if let Some(mistake) = self.model.judge_check(&check) {
            self.record_mistake(mistake, &check);
        }
        check
    }

    pub async fn revoke(&mut self, replica: usize) -> Exchange {
        let revocation = self.load.client.revoke(replica, &self.id).await;
        if let Some(mistake) = self.model.judge_revocation(&revocation) {
            self.record_mistake(mistake, &revocation);
        }
        revocation
    }

    /// Checks the session several times a second, each time on a random replica.
    pub async fn use_steadily(mut self) {
        while self.pause(100, 150).await {
            let check = self.check(random_replica()).await;
            self.load.record.add_steady_check(&self.id, &check);
        }
        self.check_on_both_replicas().await;
    }

    /// Checks the session several times a second, each time on the replica that `choose` returns.
    pub async fn use_steadily_on(mut self, choose: impl Fn() -> usize + Send) {
        while self.pause(100, 150).await {
            self.check(choose()).await;
        }
        self.check_on_both_replicas().await;
    }

    /// Uses the session for a moment, then sends no check for longer than its idle limit.
    pub async fn use_then_leave_idle(mut self) {
        for _ in 0..3 {
            self.check(random_replica()).await;
            self.pause(50, 100).await;
        }
        while !self.model.has_ended() {
            if !self.pause(50, 100).await {
                return;
            }
        }
        self.check_until_the_end().await;
    }

    /// Uses the session for a moment, then revokes it. Repeats the revocation if its result is unknown.
    pub async fn use_then_revoke(mut self) {
        self.check(random_replica()).await;
        self.check(random_replica()).await;
        while self.revoke(random_replica()).await.status != Some(200) {
            self.check(random_replica()).await;
            if !self.pause(1000, 500).await {
                break;
            }
        }
        self.check_until_the_end().await;
    }

    /// Uses the session as most people do: at ever longer intervals, until the end of the run.
    pub async fn use_irregularly(mut self) {
        self.check(random_replica()).await;
        self.check_until_the_end().await;
    }

    fn record_mistake(&self, mistake: (Mistake, Severity), exchange: &Exchange) {
        let record = &self.load.record;
        record.add_wrong_answer(mistake, self.kind, &self.id, exchange);
    }

    /// Checks the session at growing intervals, and once more on each replica at the end of the run.
    async fn check_until_the_end(&mut self) {
        let mut pause = 300;
        loop {
            self.check(random_replica()).await;
            if !self.pause(pause, pause).await {
                break;
            }
            pause = (pause * 3 / 2).min(MAX_PAUSE_MILLIS);
        }
        self.check_on_both_replicas().await;
    }

    async fn check_on_both_replicas(&mut self) {
        // Distributes the last checks of all sessions over half a second.
        tokio::time::sleep(Duration::from_millis(random_below(500).into())).await;
        self.check(0).await;
        self.check(1).await;
    }

    /// Waits for `min_millis` milliseconds plus a random number of milliseconds below `jitter_millis`. Returns whether
    /// the run continues.
    async fn pause(&self, min_millis: u32, jitter_millis: u32) -> bool {
        let time = Duration::from_millis((min_millis + random_below(jitter_millis)).into());
        self.load.pause(time).await
    }
}
