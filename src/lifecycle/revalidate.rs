//! What an identity provider says of a session while it lives: that its subject may be signed in, and with which
//! attributes.

use std::sync::Arc;
use std::time::Duration;

use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::secret::Secret;
use crate::session::{
    Attributes, Details, Revalidation, Session, SessionId, State, Timestamp, Verdict, decide,
};
use crate::store::{Change, ChangeOutcome, StoreError};
use crate::telemetry::audit;

/// The pause before a change is written again that could not be written.
const RETRY: Duration = Duration::from_millis(500);

/// A session whose provider this replica alone may ask, for a while.
#[derive(Clone, Debug)]
pub struct LeasedSession {
    /// Its record.
    pub session: Session,
    /// When the provider was asked, and until when no other replica asks.
    pub revalidation: Revalidation,
    /// What the provider is asked with.
    pub refresh_token: Secret<String>,
    details: Arc<Details>,
}

/// What a provider has answered of a session that it did not refuse.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    /// The refresh token that replaces the one that was presented.
    pub rotated: Option<Secret<String>>,
    /// Whether the answer says that the subject may be signed in; otherwise the refresh token alone is kept.
    pub confirmed: bool,
    /// The attributes, where the answer has them.
    pub attributes: Option<Attributes>,
}

/// What became of a [`Renewal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is kept. The attributes are as they were.
    Same,
    /// It is kept, with other attributes.
    Changed,
    /// The session has ended meanwhile, or another replica has asked since.
    Late,
}

impl Lifecycle {
    /// Takes a session for `lease`, so that no other replica asks its provider: two refreshes with one refresh token make
    /// many providers revoke both. `None` where the session is not due, was taken by another replica, or is over.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not say. The session may be taken all the same, until the lease ends.
    pub async fn lease_revalidation(
        &self,
        id: SessionId,
        interval: Duration,
        lease: Duration,
    ) -> Result<Option<LeasedSession>, StoreError> {
        let Some(session) = self.store.load(id).await? else {
            return Ok(None);
        };
        // The time is read after the record, so that no wait for the store is left out.
        let now = self.clock.now();
        let Some(details) = session.details.as_deref() else {
            return Ok(None);
        };
        let (Some(before), Some(refresh_token)) = (details.revalidation, &details.refresh_token)
        else {
            return Ok(None);
        };
        if now < before.due(interval) || !self.is_in_force(&session, now) {
            return Ok(None);
        }
        let revalidation = Revalidation {
            leased_until: now.plus(lease),
            ..before
        };
        let leased = Arc::new(Details {
            revalidation: Some(revalidation),
            ..details.clone()
        });
        let change = Change {
            expected: session.details.clone(),
            details: Some(Arc::clone(&leased)),
            attributes: None,
        };
        Ok(match self.store.change(id, &change).await? {
            ChangeOutcome::Changed(session) => Some(LeasedSession {
                session,
                revalidation,
                refresh_token: refresh_token.clone(),
                details: leased,
            }),
            _ => None,
        })
    }

    /// Whether a session lives by its record, its limits and all revocations.
    fn is_in_force(&self, session: &Session, now: Timestamp) -> bool {
        let limits = &self.policies.home(session).limits;
        session.state == State::Live
            && !self.is_revoked(session)
            && decide(Some(session), limits, limits, now) == Verdict::Allow
    }

    /// Keeps what a provider has answered. It is tried until the lease ends: a refresh token that was replaced can't be
    /// had again.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be kept.
    pub async fn renew(
        &self,
        id: SessionId,
        leased: LeasedSession,
        renewal: Renewal,
        actor: &Actor,
    ) -> Result<Renewed, StoreError> {
        let (this, actor) = (self.clone(), actor.clone());
        run_detached(async move { this.renew_here(id, &leased, renewal, &actor).await }).await
    }

    async fn renew_here(
        &self,
        id: SessionId,
        leased: &LeasedSession,
        renewal: Renewal,
        actor: &Actor,
    ) -> Result<Renewed, StoreError> {
        let before = &leased.session;
        let has_rotated = renewal.rotated.is_some();
        let attributes = renewal.attributes.filter(|now| *now != before.attributes);
        let mut details = (*leased.details).clone();
        if let Some(rotated) = renewal.rotated {
            details.refresh_token = Some(rotated);
        }
        if renewal.confirmed {
            details.revalidation = Some(Revalidation {
                confirmed: self.clock.now(),
                leased_until: Timestamp::default(),
                ..leased.revalidation
            });
        }
        let change = Change {
            expected: Some(Arc::clone(&leased.details)),
            details: Some(Arc::new(details)),
            attributes,
        };
        let Some(session) = self.write(id, leased, &change).await? else {
            return Ok(Renewed::Late);
        };
        if has_rotated {
            let replication = self.confirmation(id).await;
            self.count_unconfirmed(replication);
        }
        if change.attributes.is_none() {
            return Ok(Renewed::Same);
        }
        audit::session_changed(id, before, &session, actor);
        self.known.renewed(id, &session);
        // Other groups can have shorter limits.
        let deadline = self.policies.deadline(&session);
        if deadline < self.policies.deadline(before) {
            self.deadlines.postpone(id, deadline).await?;
        }
        Ok(Renewed::Changed)
    }

    /// Writes a change for as long as the lease is this replica's; the record then, or `None` where the session has ended
    /// or is another replica's.
    async fn write(
        &self,
        id: SessionId,
        leased: &LeasedSession,
        change: &Change,
    ) -> Result<Option<Session>, StoreError> {
        loop {
            match self.store.change(id, change).await {
                Ok(ChangeOutcome::Changed(session)) => return Ok(Some(session)),
                // Written by a call whose answer was lost.
                Ok(ChangeOutcome::Differs(session)) if session.details == change.details => {
                    return Ok(Some(session));
                }
                Ok(_) => return Ok(None),
                Err(error) if self.clock.now() >= leased.revalidation.leased_until => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(%error, session = %id, "could not keep what a provider answered, retrying");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
