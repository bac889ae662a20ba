//! Revalidation of live sessions: stores whether the identity provider still accepts the subject, and the new
//! attributes of the subject.

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

/// The pause before a failed write is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A session that this replica has reserved for a revalidation. The reservation is a lease in the session record
/// (not the lease of the near cache). Until the lease ends, no other replica may revalidate the session.
#[derive(Clone, Debug)]
pub struct LeasedSession {
    /// The record with the lease.
    pub session: Session,
    /// The time when the provider last confirmed the session, and the end of the lease.
    pub revalidation: Revalidation,
    /// The refresh token for the request to the provider.
    pub refresh_token: Secret<String>,
    details: Arc<Details>,
}

/// A provider's answer to a revalidation, if it does not refuse the session.
#[derive(Clone, Debug, Default)]
pub struct Renewal {
    /// A new refresh token, which replaces the token in the request (rotation).
    pub new_refresh_token: Option<Secret<String>>,
    /// Whether the answer confirms the subject. If not, only the refresh token is stored.
    pub confirmed: bool,
    /// The new attributes of the subject, if the answer contains them.
    pub attributes: Option<Attributes>,
}

/// The result of [`Lifecycle::store_renewal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalOutcome {
    /// The answer was stored, and the attributes did not change.
    Unchanged,
    /// The answer was stored, and the attributes changed.
    Changed,
    /// The answer was not stored, because the session has ended or another replica has the lease.
    NotStored,
}

impl Lifecycle {
    /// Takes the lease of a session, so that no other replica sends its refresh token. Many providers revoke all
    /// tokens of a sign-in if a refresh token is used twice. Returns `None` if the session is not due, has ended, or
    /// another replica has the lease.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed. The store may nevertheless contain the lease. In this case, no replica asks
    /// the provider until the lease ends.
    pub async fn lease_revalidation(
        &self,
        id: SessionId,
        interval: Duration,
        lease: Duration,
    ) -> Result<Option<LeasedSession>, StoreError> {
        let Some(session) = self.parts.stores.sessions.load(id).await? else {
            return Ok(None);
        };
        // Read the clock after the record, so that a limit that was reached during the load applies.
        let now = self.parts.clock.now();
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
        Ok(
            match self.parts.stores.sessions.change(id, &change).await? {
                ChangeOutcome::Changed(session) => Some(LeasedSession {
                    session,
                    revalidation,
                    refresh_token: refresh_token.clone(),
                    details: leased,
                }),
                _ => None,
            },
        )
    }

    /// Whether a session is live, within its limits and not revoked.
    fn is_in_force(&self, session: &Session, now: Timestamp) -> bool {
        let limits = &self.parts.policies.home(session).limits;
        session.state == State::Live
            && !self.is_revoked(session)
            && decide(Some(session), limits, limits, now) == Verdict::Allow
    }

    /// Stores the answer of a provider. Retries until the lease ends, because the provider does not send a new
    /// refresh token twice.
    ///
    /// # Errors
    /// [`StoreError`] if the answer could not be stored.
    pub async fn store_renewal(
        &self,
        id: SessionId,
        leased: LeasedSession,
        renewal: Renewal,
        actor: &Actor,
    ) -> Result<RenewalOutcome, StoreError> {
        let (this, actor) = (self.clone(), actor.clone());
        run_detached(async move { this.store_renewal_inner(id, &leased, renewal, &actor).await })
            .await
    }

    async fn store_renewal_inner(
        &self,
        id: SessionId,
        leased: &LeasedSession,
        renewal: Renewal,
        actor: &Actor,
    ) -> Result<RenewalOutcome, StoreError> {
        let before = &leased.session;
        let has_rotated = renewal.new_refresh_token.is_some();
        let attributes = renewal.attributes.filter(|now| *now != before.attributes);
        let mut details = (*leased.details).clone();
        if let Some(token) = renewal.new_refresh_token {
            details.refresh_token = Some(token);
        }
        if renewal.confirmed {
            details.revalidation = Some(Revalidation {
                confirmed: self.parts.clock.now(),
                leased_until: Timestamp::default(),
                ..leased.revalidation
            });
        }
        let change = Change {
            expected: Some(Arc::clone(&leased.details)),
            details: Some(Arc::new(details)),
            attributes,
        };
        let Some(session) = self.write_change(id, leased, &change).await? else {
            return Ok(RenewalOutcome::NotStored);
        };
        if has_rotated {
            let replication = self.wait_for_replication(id).await;
            self.count_unconfirmed(replication);
        }
        if change.attributes.is_none() {
            return Ok(RenewalOutcome::Unchanged);
        }
        audit::session_changed(id, before, &session, actor);
        self.parts
            .last_known_sessions
            .update_attributes(id, &session);
        // The new groups can have shorter limits, and then the session is due earlier.
        let deadline = self.parts.policies.deadline(&session);
        if deadline < self.parts.policies.deadline(before) {
            self.parts.stores.deadlines.postpone(id, deadline).await?;
        }
        Ok(RenewalOutcome::Changed)
    }

    /// Writes a change while this replica has the lease. Returns the new record; `None` if the session has ended or
    /// another replica has the lease.
    async fn write_change(
        &self,
        id: SessionId,
        leased: &LeasedSession,
        change: &Change,
    ) -> Result<Option<Session>, StoreError> {
        loop {
            let changed = self.parts.stores.sessions.change(id, change).await;
            self.parts.streams.recheck_now(id);
            match changed {
                Ok(ChangeOutcome::Changed(session)) => return Ok(Some(session)),
                // An earlier attempt has written this change, but the answer of the store was lost.
                Ok(ChangeOutcome::Differs(session)) if session.details == change.details => {
                    return Ok(Some(session));
                }
                Ok(_) => return Ok(None),
                Err(error) if self.parts.clock.now() >= leased.revalidation.leased_until => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(%error, session = %id, "could not store the answer of an identity provider; retrying");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}
