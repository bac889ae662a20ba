//! Makes due times in the deadline queue earlier when a policy has become stricter, because idle sessions are then due
//! sooner.

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::policy::Policies;
use crate::redis::scan::{self, Walk};
use crate::redis::{RedisStore, StoredRecord};
use crate::session::{SessionId, State};

impl RedisStore {
    /// Computes the due time of each session again, and changes the time in the queue if the new time is earlier. Does
    /// nothing if a replica has already done this for the same policies.
    pub(in crate::redis) async fn tighten_all_deadlines(
        &self,
        policies: &Policies,
    ) -> Result<(), StoreError> {
        let this = self.with_background_timeout();
        let (done_key, lease_key) = (
            this.keys.progress("policies"),
            this.keys.progress("tightening"),
        );
        let previous: Option<Vec<u8>> = this
            .send_with_retry(redis::cmd("GET").arg(&done_key))
            .await?;
        let current = fingerprint(policies);
        if previous.as_deref() == Some(&current) {
            return Ok(());
        }
        if !this.take_lease(&lease_key).await? {
            let message = "another replica is changing the deadlines".to_owned();
            return Err(StoreError::Unavailable(message));
        }
        let mut connection = this.managed_connection.acquire(this.budget).await?;
        for server in scan::read_servers(&mut connection).await? {
            let mut walk = Walk::new(connection.clone(), &this.keys, &server, None);
            while let Some(batch) = walk.next().await? {
                let sessions = batch.sessions.into_iter();
                let updates = sessions.map(|id| this.tighten_deadline(id, policies));
                for outcome in join_all(updates).await {
                    match outcome {
                        // An unreadable record does not stop the walk.
                        Ok(()) | Err(StoreError::Unreadable(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        this.send_with_retry::<()>(redis::cmd("SET").arg(&done_key).arg(&current))
            .await?;
        this.send_with_retry::<()>(redis::cmd("DEL").arg(&lease_key))
            .await?;
        tracing::info!("deadline queue adjusted to the current policies");
        Ok(())
    }

    async fn tighten_deadline(&self, id: SessionId, policies: &Policies) -> Result<(), StoreError> {
        let Some(StoredRecord { session, .. }) = self.read_record(id).await? else {
            return Ok(());
        };
        if session.state != State::Live {
            return Ok(());
        }
        let mut tighten = redis::cmd("ZADD");
        tighten.arg(self.keys.queue()).arg("XX").arg("LT");
        tighten.arg(policies.deadline(&session).as_millis());
        tighten.arg(id.as_bytes());
        self.send_with_retry(&tighten).await
    }
}

/// Returns a hash of all policy settings that affect a due time.
fn fingerprint(policies: &Policies) -> Vec<u8> {
    let mut hash = Sha256::new();
    for (name, policy) in policies.iter() {
        let limits = (&policy.limits, &policy.remember, &policy.variants);
        hash.update(format!("{name} {limits:?};"));
    }
    hash.update(format!("{:?}", policies.console().limits));
    hash.finalize().to_vec()
}
