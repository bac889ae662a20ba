//! Moves due times in the deadline queue forward after a policy became stricter, because idle sessions are now due
//! sooner.

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::policy::Policies;
use crate::redis::scan::{self, Walk};
use crate::redis::{RedisStore, Stored};
use crate::session::{SessionId, State};

impl RedisStore {
    /// Moves the due times of all sessions forward. Does nothing if a replica has already done this for the same
    /// policies.
    pub(in crate::redis) async fn tighten_all_deadlines(
        &self,
        policies: &Policies,
    ) -> Result<(), StoreError> {
        let this = self.background();
        let (done_key, lease_key) = (
            this.keys.progress("policies"),
            this.keys.progress("tightening"),
        );
        let last: Option<Vec<u8>> = this.repeat(redis::cmd("GET").arg(&done_key)).await?;
        let current = fingerprint(policies);
        if last.as_deref() == Some(&current) {
            return Ok(());
        }
        if !this.take_lease(&lease_key).await? {
            let other = "lock held by another replica".to_owned();
            return Err(StoreError::Unavailable(other));
        }
        let mut connection = this.managed.connection(this.budget).await?;
        for server in scan::servers(&mut connection).await? {
            let mut walk = Walk::new(connection.clone(), &this.keys, &server, None);
            while let Some(batch) = walk.next().await? {
                let steps = batch.sessions.into_iter();
                let steps = steps.map(|id| this.tighten_deadline(id, policies));
                for outcome in join_all(steps).await {
                    match outcome {
                        // An unreadable record does not stop the walk.
                        Ok(()) | Err(StoreError::Unreadable(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        this.repeat::<()>(redis::cmd("SET").arg(&done_key).arg(&current))
            .await?;
        this.repeat::<()>(redis::cmd("DEL").arg(&lease_key)).await?;
        tracing::info!("deadlines rescheduled for the current policies");
        Ok(())
    }

    async fn tighten_deadline(&self, id: SessionId, policies: &Policies) -> Result<(), StoreError> {
        let Some(Stored { session, .. }) = self.read(id).await? else {
            return Ok(());
        };
        if session.state != State::Live {
            return Ok(());
        }
        let mut tighten = redis::cmd("ZADD");
        tighten.arg(self.keys.queue()).arg("XX").arg("LT");
        tighten.arg(policies.deadline(&session).as_millis());
        tighten.arg(id.as_bytes());
        self.repeat(&tighten).await
    }
}

/// Returns a hash of all policy settings that affect a deadline.
fn fingerprint(policies: &Policies) -> Vec<u8> {
    let mut hash = Sha256::new();
    for (name, policy) in policies.iter() {
        let limits = (&policy.limits, &policy.remember, &policy.variants);
        hash.update(format!("{name} {limits:?};"));
    }
    hash.update(format!("{:?}", policies.console().limits));
    hash.finalize().to_vec()
}
