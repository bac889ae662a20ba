//! Adoption: starts a session from a credential of another issuer.

use super::start::StartError;
use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::policy::{Client, UnknownClientProperty};
use crate::session::{Attributes, NewSession, PolicyName, Session, SessionId, Subject, Timestamp};
use crate::store::{CreateOutcome, History, StoreError};

/// The data for a session that starts from another issuer's credential.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The name of the source in the [history](crate::store::History).
    pub source: String,
    /// The subject of the credential.
    pub subject: Subject,
    /// The attributes of the subject.
    pub attributes: Attributes,
    /// The home policy.
    pub policy: PolicyName,
    /// When the subject signed in.
    pub started: Timestamp,
    /// The expiry of the credential. Curfew keeps the tombstone (the record of the session end) at least until this
    /// time.
    pub expires: Timestamp,
    /// The client that presented the credential.
    pub client: Client,
}

/// Why a credential cannot start a session.
#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    /// The sign-in is older than the absolute limit of the policy, or older than a shorter limit that applied to the
    /// source at any time since the sign-in.
    #[error("the sign-in is too old")]
    TooOld,
    /// The store has lost data since the sign-in, so the session may have ended.
    #[error("the store has lost data since the sign-in")]
    StoreLostData,
    /// The policy binds sessions to a client property that is unknown.
    #[error("the policy binds sessions to a client property that the proxy does not send")]
    UnknownClientProperty(UnknownClientProperty),
    /// The subject is reserved for the sessions of operators.
    #[error("the subject is reserved for operators of the console")]
    ReservedSubject,
    /// A revocation covers the sessions of this sign-in.
    #[error("the sign-in was before a revocation")]
    Revoked,
    /// The subject has reached the session limit of its policy.
    #[error("session limit reached: the subject has {0} sessions")]
    SessionLimitReached(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StartError> for AdoptionError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::SessionLimitReached(count) => Self::SessionLimitReached(count),
            StartError::Store(error) => Self::Store(error),
            other => Self::Store(StoreError::Unavailable(other.to_string())),
        }
    }
}

impl Lifecycle {
    /// Starts the session of a credential. If the session exists already, returns its record, which may be a
    /// tombstone.
    ///
    /// # Errors
    /// [`AdoptionError`] if the session may not start, or the store failed.
    pub async fn adopt(&self, id: SessionId, adoption: Adoption) -> Result<Session, AdoptionError> {
        let this = self.clone();
        run_detached(async move { this.adopt_inner(id, adoption).await }).await
    }

    async fn adopt_inner(
        &self,
        id: SessionId,
        adoption: Adoption,
    ) -> Result<Session, AdoptionError> {
        let address = adoption.client.address;
        // The caller has found no record in the store. Read the history only now, so that it contains a loss of data
        // that removed the record.
        let history = self.parts.stores.history.history(id).await?;
        let session = self.new_session(adoption, &history)?;
        if self.is_revoked(&session) || self.needs_new_authentication(&session).await? {
            return Err(AdoptionError::Revoked);
        }
        let policy = self.parts.policies.get(session.policy.as_str());
        // Clients can present the credential at every host.
        let limit = self.session_limit(policy.map(|(_, policy)| policy), None)?;
        if let Some(limit) = limit {
            self.enforce_limit_early(limit, id, &session.subject)
                .await?;
        }
        let deadline = self.parts.policies.deadline(&session);
        self.parts.stores.deadlines.enqueue(id, deadline).await?;
        match self.parts.stores.sessions.create(id, &session).await {
            Ok(CreateOutcome::Created) => {
                if let Some(limit) = limit
                    && let Err(error) = self.enforce_limit_after_store(limit, id, &session).await
                {
                    // Remove the session only if the session limit is reached. After any other error the session may
                    // stay, because the client already has the credential.
                    if matches!(error, StartError::SessionLimitReached(_)) {
                        self.rollback(id, &session).await;
                    }
                    return Err(error.into());
                }
                let actor = Actor::user(&session.subject, address);
                self.record_start(id, &session, &actor);
                // Reload the record, because a store with an older record format may keep it for a shorter time. Also,
                // `enforce_limit_after_store` may have ended this session, because its sign-in may be the oldest.
                Ok(self
                    .parts
                    .stores
                    .sessions
                    .load(id)
                    .await?
                    .unwrap_or(session))
            }
            // Another request has created the session, or an earlier attempt has created it, and the answer of the
            // store was lost.
            Ok(CreateOutcome::Exists) => {
                let existing = self.parts.stores.sessions.load(id).await?;
                existing.ok_or_else(|| {
                    let message = "session record disappeared during adoption".to_owned();
                    StoreError::Unavailable(message).into()
                })
            }
            Err(error @ (StoreError::Full(_) | StoreError::OutOfMemory(_))) => {
                // The store rejected the session, so remove its deadline from the queue.
                let _ = self.parts.stores.deadlines.acknowledge(id, None).await;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Builds the session that this credential starts now.
    fn new_session(&self, adoption: Adoption, history: &History) -> Result<Session, AdoptionError> {
        if adoption.subject.is_operators() {
            return Err(AdoptionError::ReservedSubject);
        }
        let now = self.parts.clock.now();
        let policy = self.parts.policies.get(adoption.policy.as_str());
        let policy = policy.map_or_else(|| self.parts.policies.strictest(), |(_, policy)| policy);
        let mut limits = policy.limits_for_sign_in(false, &adoption.attributes);
        let (started, longest_limit) = (adoption.started, policy.limits.absolute);
        if history.last_loss().is_some_and(|loss| started < loss) {
            return Err(AdoptionError::StoreLostData);
        }
        let recorded_limit = history.limit(&adoption.source, started, longest_limit);
        limits.absolute = limits.absolute.min(recorded_limit);
        let bound = policy.bind.binding_for(adoption.client);
        let binding = bound.map_err(AdoptionError::UnknownClientProperty)?;
        if now >= adoption.started.plus(limits.absolute) {
            return Err(AdoptionError::TooOld);
        }
        // After the session end, the credential can still be valid and can be refreshed. So the tombstone is kept until
        // the sign-in is older than the longest limit that can apply to the subject.
        let tombstone_ttl = self
            .parts
            .end_retention
            .max(longest_limit)
            .max(history.recorded_limit(&adoption.source).unwrap_or_default())
            .max(adoption.expires.since(now));
        let new = NewSession {
            subject: adoption.subject,
            attributes: adoption.attributes,
            policy: adoption.policy,
            remembered: false,
            binding,
        };
        Ok(Session::adopt(
            new,
            &limits,
            tombstone_ttl,
            adoption.started,
            now,
        ))
    }

    /// Extends the retention of a tombstone (the record of an ended session) while a client still presents the
    /// credential of the session.
    pub fn extend_tombstone(&self, id: SessionId, tombstone: &Session) {
        if !self
            .parts
            .tombstone_extensions
            .should_extend(id, self.parts.clock.now())
        {
            return;
        }
        let (this, until) = (
            self.clone(),
            self.parts.clock.now().plus(tombstone.tombstone_retention()),
        );
        self.parts.tasks.spawn(async move {
            if let Err(error) = this.parts.stores.sessions.keep_tombstone(id, until).await {
                tracing::debug!(%error, session = %id, "could not extend the retention of a tombstone");
            }
        });
    }
}
