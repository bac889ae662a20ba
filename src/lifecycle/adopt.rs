//! How a session begins that somebody else has signed in: by the first credential of it.

use super::start::StartError;
use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::policy::{Client, UnknownClient};
use crate::session::{Attributes, NewSession, PolicyName, Session, SessionId, Subject, Timestamp};
use crate::store::{CreateOutcome, History, StoreError};

/// A credential whose session may not be known yet.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The name of who issued the credential, in the store's [history](crate::store::History).
    pub source: String,
    /// Whose session it is.
    pub subject: Subject,
    /// What else is known of the subject.
    pub attributes: Attributes,
    /// The home policy.
    pub policy: PolicyName,
    /// When the subject signed in.
    pub started: Timestamp,
    /// Until when the credential is good. The end of its session must be remembered for as long.
    pub expires: Timestamp,
    /// What is known of the client.
    pub client: Client,
}

/// Why a credential starts no session.
#[derive(Debug, thiserror::Error)]
pub enum NotAdopted {
    /// The sign-in was longer ago than its policy's absolute limit, or than a shorter one that applied at the sign-in.
    #[error("its sign-in was too long ago")]
    TooOld,
    /// The store has lost data since the sign-in, so the session may have ended.
    #[error("the store has lost data since its sign-in")]
    LostSince,
    /// The policy binds sessions to something about the client that is not known.
    #[error("the policy binds sessions to something about the client that the proxy does not tell")]
    UnknownClient(UnknownClient),
    /// The subject is that of operators' sessions.
    #[error("its subject is reserved for operators of the console")]
    ReservedSubject,
    /// Sessions that began when this one did were revoked.
    #[error("its sign-in was before a revocation")]
    Revoked,
    /// The subject has as many sessions as its policy allows.
    #[error("the subject has {0} sessions, and can have no more")]
    TooMany(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StartError> for NotAdopted {
    fn from(error: StartError) -> Self {
        match error {
            StartError::TooMany(count) => Self::TooMany(count),
            StartError::Store(error) => Self::Store(error),
            other => Self::Store(StoreError::Unavailable(other.to_string())),
        }
    }
}

impl Lifecycle {
    /// Starts the session of a credential, unless it is there, alive or ended; answers its record.
    ///
    /// # Errors
    /// [`NotAdopted`].
    pub async fn adopt(&self, id: SessionId, adoption: Adoption) -> Result<Session, NotAdopted> {
        let this = self.clone();
        run_detached(async move { this.adopt_here(id, adoption).await }).await
    }

    async fn adopt_here(&self, id: SessionId, adoption: Adoption) -> Result<Session, NotAdopted> {
        let address = adoption.client.address;
        // Asked after the store has said that it does not have the session.
        let history = self.history.history(id).await?;
        let session = self.of(adoption, &history)?;
        if self.is_revoked(&session) || self.must_sign_in_again(&session).await? {
            return Err(NotAdopted::Revoked);
        }
        let policy = self.policies.get(session.policy.as_str());
        let most = policy.and_then(|(_, policy)| policy.max_sessions);
        if let Some(most) = most {
            self.enforce_limit_early(most, id, &session.subject).await?;
        }
        let deadline = self.policies.deadline(&session);
        self.deadlines.enqueue(id, deadline).await?;
        match self.store.create(id, &session).await {
            Ok(CreateOutcome::Created) => {
                if let Some(most) = most
                    && let Err(error) = self.evict_oldest(most, id, &session).await
                {
                    // Trouble with the store ends nothing: the client has the credential of this session.
                    if matches!(error, StartError::TooMany(_)) {
                        self.rollback(id, &session).await;
                    }
                    return Err(error.into());
                }
                let actor = Actor::user(&session.subject, address);
                self.tell_created(id, &session, &actor);
                // As the store keeps it: an older version of records keeps it for less long. It can also be the one that was
                // ended, because its sign-in can be older than those of the others.
                Ok(self.store.load(id).await?.unwrap_or(session))
            }
            // By another request, or by one whose answer was lost.
            Ok(CreateOutcome::Exists) => {
                let known = self.store.load(id).await?;
                known.ok_or_else(|| {
                    let gone = "a session was there and is gone".to_owned();
                    StoreError::Unavailable(gone).into()
                })
            }
            Err(error @ (StoreError::Full(_) | StoreError::OutOfMemory(_))) => {
                // There is certainly nothing to look at.
                let _ = self.deadlines.acknowledge(id, None).await;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The session that a credential starts now.
    fn of(&self, adoption: Adoption, history: &History) -> Result<Session, NotAdopted> {
        if adoption.subject.is_operators() {
            return Err(NotAdopted::ReservedSubject);
        }
        let now = self.clock.now();
        let policy = self.policies.get(adoption.policy.as_str());
        let policy = policy.map_or_else(|| self.policies.tightest(), |(_, policy)| policy);
        let mut limits = policy.limits_of(false, &adoption.attributes);
        let (started, longest) = (adoption.started, policy.limits.absolute);
        if history.lost_before().is_some_and(|lost| started < lost) {
            return Err(NotAdopted::LostSince);
        }
        let known_for = history.limit(&adoption.source, started, longest);
        limits.absolute = limits.absolute.min(known_for);
        let bound = policy.bind.to(adoption.client);
        let binding = bound.map_err(NotAdopted::UnknownClient)?;
        if now >= adoption.started.plus(limits.absolute) {
            return Err(NotAdopted::TooOld);
        }
        // After its end the credential may be good for a while, and may be refreshed: until the
        // sign-in itself is too long ago, whatever a later token says of the subject's groups.
        let telling = self
            .end_retention
            .max(longest)
            .max(history.noted_limit(&adoption.source).unwrap_or_default())
            .max(adoption.expires.since(now));
        let new = NewSession {
            subject: adoption.subject,
            attributes: adoption.attributes,
            policy: adoption.policy,
            remembered: false,
            binding,
        };
        Ok(Session::adopt(new, &limits, telling, adoption.started, now))
    }

    /// Keeps the tombstone of a session whose credential is still presented, so that the end is remembered for as long as that
    /// goes on.
    pub fn keep_end(&self, id: SessionId, tombstone: &Session) {
        if !self.presented_ends.admits(id, self.clock.now()) {
            return;
        }
        let (this, until) = (
            self.clone(),
            self.clock.now().plus(tombstone.tombstone_retention()),
        );
        self.tasks.spawn(async move {
            if let Err(error) = this.store.keep_tombstone(id, until).await {
                tracing::debug!(%error, session = %id, "a tombstone was not kept for longer");
            }
        });
    }
}
