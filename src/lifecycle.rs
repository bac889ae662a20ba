//! How sessions begin and end: the changes that are recorded, counted and audited.
//!
//! Each change runs to its end even when the request that asked for it is dropped half-way, so
//! that none is made without being told.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credential::{KeyError, KeyRing, Token};
use crate::policy::Policies;
use crate::session::{EndReason, NewSession, Session, SessionId, Subject, Timestamp};
use crate::store::{Creation, EndOutcome, Ending, SessionStore, StoreError};
use crate::telemetry::{Metrics, audit};

/// Starts and ends sessions.
#[derive(Clone)]
pub struct Lifecycle {
    /// Where they live.
    pub store: Arc<dyn SessionStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Signs their tokens.
    pub key_ring: Arc<KeyRing>,
    /// What limits them.
    pub policies: Arc<Policies>,
    /// How long the reason of an end can be told.
    pub end_retention: Duration,
    /// Counts them.
    pub metrics: Arc<Metrics>,
}

/// A session that was just started.
#[derive(Debug)]
pub struct Started {
    /// Its name.
    pub id: SessionId,
    /// The credential to hand to the client; it can't be had again.
    pub token: Token,
    /// Its record.
    pub session: Session,
}

/// Why a session could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The policy is not configured.
    #[error("there is no policy of this name")]
    UnknownPolicy,
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system's random numbers repeat: two of 256 bits were the same.
    #[error("a token was issued twice: the random number generator can't be trusted")]
    Collision,
}

impl Lifecycle {
    /// Starts a session under the policy it names.
    ///
    /// # Errors
    /// [`LifecycleError`]; nothing has been started then, as far as the store could say.
    pub async fn start(&self, new: NewSession) -> Result<Started, LifecycleError> {
        let this = self.clone();
        to_the_end(async move {
            let (_, policy) = this
                .policies
                .get(new.policy.as_str())
                .ok_or(LifecycleError::UnknownPolicy)?;
            let token = this.key_ring.issue()?;
            let id = token.session_id();
            let now = this.clock.now();
            let session = Session::start(new, &policy.limits, this.end_retention, now);
            match this.store.create(id, &session).await? {
                Creation::Created => {
                    this.metrics.session_created(session.policy.as_str());
                    audit::session_created(id, &session);
                    Ok(Started { id, token, session })
                }
                Creation::Exists => Err(LifecycleError::Collision),
            }
        })
        .await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not end it; it may still have done so.
    pub async fn end(&self, id: SessionId, ending: Ending) -> Result<EndOutcome, StoreError> {
        let this = self.clone();
        to_the_end(async move {
            let outcome = this.store.end(id, ending).await?;
            if let EndOutcome::Ended(session) = &outcome {
                this.metrics
                    .session_ended(session.policy.as_str(), ending.reason);
                audit::session_ended(id, session, ending.reason);
            }
            Ok(outcome)
        })
        .await
    }

    /// Ends a session on purpose.
    ///
    /// # Errors
    /// As for [`Lifecycle::end`].
    pub async fn revoke(&self, id: SessionId) -> Result<EndOutcome, StoreError> {
        self.end(id, revocation(self.clock.now())).await
    }

    /// Ends every session of a subject on purpose, and says how many lived until then.
    ///
    /// # Errors
    /// [`StoreError`] when the store failed on the way: some may have been ended. Repeating it is
    /// safe.
    pub async fn revoke_all(&self, subject: &Subject) -> Result<usize, StoreError> {
        /// How many are read at a time.
        const PAGE: usize = 100;
        let (this, subject) = (self.clone(), subject.clone());
        to_the_end(async move {
            let (mut revoked, mut after) = (0, None);
            loop {
                let page = this.store.list(&subject, after, PAGE).await?;
                for (id, _) in page.sessions {
                    if let EndOutcome::Ended(_) = this.revoke(id).await? {
                        revoked += 1;
                    }
                }
                after = page.next;
                if after.is_none() {
                    return Ok(revoked);
                }
            }
        })
        .await
    }
}

const fn revocation(at: Timestamp) -> Ending {
    Ending {
        reason: EndReason::Revoked,
        at,
        unless_touched_since: None,
    }
}

/// Runs a future to its end, even if the caller stops waiting for it.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        // Nobody aborts these tasks, so this is a panic; it goes where it would have gone.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
