//! After a policy was made tighter, sessions that nobody asks for are due sooner than the deadline
//! queue says.

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use super::scan::{self, Walk};
use super::{RedisStore, Stored};
use crate::StoreError;
use crate::policy::Policies;
use crate::session::{SessionId, State};

/// How long one process may be at it before another begins as well, in milliseconds.
const LEASE_MILLIS: u64 = 60_000;

impl RedisStore {
    /// Walks over all sessions, unless that was done under these very policies.
    pub(super) async fn hasten_all(&self, policies: &Policies) -> Result<(), StoreError> {
        let this = self.background();
        let (done, doing) = (
            this.keys.progress("policies"),
            this.keys.progress("hastening"),
        );
        let under: Option<Vec<u8>> = this.repeat(redis::cmd("GET").arg(&done)).await?;
        let now = fingerprint(policies);
        if under.as_deref() == Some(&now) {
            return Ok(());
        }
        let mut lease = redis::cmd("SET");
        lease
            .arg(&doing)
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(LEASE_MILLIS);
        if this.repeat::<Option<String>>(&lease).await?.is_none() {
            let other = "another process is at it".to_owned();
            return Err(StoreError::Unavailable(other));
        }
        let mut wire = this.link.wire(this.budget).await?;
        for server in scan::servers(&mut wire).await? {
            let mut walk = Walk::new(wire.clone(), &this.keys, &server, None);
            while let Some(batch) = walk.next().await? {
                let steps = batch.sessions.into_iter();
                let steps = steps.map(|id| this.hasten_one(id, policies));
                for outcome in join_all(steps).await {
                    match outcome {
                        // A record that can't be read keeps no other from being looked at.
                        Ok(()) | Err(StoreError::Unreadable(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        this.repeat::<()>(redis::cmd("SET").arg(&done).arg(&now))
            .await?;
        this.repeat::<()>(redis::cmd("DEL").arg(&doing)).await?;
        tracing::info!("the deadline queue follows the policies");
        Ok(())
    }

    async fn hasten_one(&self, id: SessionId, policies: &Policies) -> Result<(), StoreError> {
        let Some(Stored { session, .. }) = self.read(id).await? else {
            return Ok(());
        };
        if session.state != State::Live {
            return Ok(());
        }
        let mut tighten_deadlines = redis::cmd("ZADD");
        tighten_deadlines.arg(self.keys.queue()).arg("XX").arg("LT");
        tighten_deadlines.arg(policies.deadline(&session).as_millis());
        tighten_deadlines.arg(id.as_bytes());
        self.repeat(&tighten_deadlines).await
    }
}

/// What stands for everything in policies that a deadline depends on.
fn fingerprint(policies: &Policies) -> Vec<u8> {
    let mut hash = Sha256::new();
    for (name, policy) in policies.iter() {
        let limits = (&policy.limits, &policy.remember, &policy.variants);
        hash.update(format!("{name} {limits:?};"));
    }
    hash.update(format!("{:?}", policies.console().limits));
    hash.finalize().to_vec()
}
