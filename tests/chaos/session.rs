//! A session, and what each kind of it is used for.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Exchange, below, either};
use crate::load::Load;
use crate::model::Model;

/// The longest pause between two looks at a session that is checked for the rest of the run, in
/// milliseconds.
const LONGEST_PAUSE: u32 = 2000;

/// A session that a task of its own uses.
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
    pub async fn steadily(mut self) {
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
    pub async fn left_alone(mut self) {
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
    pub async fn revoked(mut self) {
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
    pub async fn used_now_and_then(mut self) {
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
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
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
