//! Starts sessions.

use std::sync::Arc;
use std::time::Duration;

use super::subject::Pages;
use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::credential::{KeyError, Token};
use crate::policy::{Client, MaxSessions, OnSessionLimit, UnknownClientProperty};
use crate::session::{
    Attributes, Details, NewSession, PolicyName, RefreshGrant, Session, SessionId, State, Subject,
    Timestamp,
};
use crate::store::{CreateOutcome, Replication, StoreError};
use crate::telemetry::audit;

/// A sign-in through Curfew or through an application.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The subject who signed in.
    pub subject: Subject,
    /// The attributes of the subject.
    pub attributes: Attributes,
    /// The home policy of the session.
    pub policy: PolicyName,
    /// Whether the subject chose "remember me".
    pub remember: bool,
    /// The client that signed in.
    pub client: Client,
    /// When the subject authenticated; `None` means now.
    pub authenticated: Option<Timestamp>,
    /// The host of the application that the subject signed in to, in lower case without a port, if it is known.
    pub host: Option<Arc<str>>,
    /// The hosts at which browsers send the credential; `None` if these can be all hosts.
    pub usable_at: Option<Vec<Arc<str>>>,
    /// The refresh token for revalidation, if there is one.
    pub refresh: Option<RefreshGrant>,
    /// The actor: the subject, or an application with an admin token.
    pub actor: Actor,
}

/// A new session.
#[derive(Debug)]
pub struct StartedSession {
    /// The session ID.
    pub id: SessionId,
    /// The credential for the client. Curfew does not store the credential, so it cannot return the credential a second
    /// time.
    pub token: Token,
    /// The stored record.
    pub session: Session,
    /// How many Redis replicas have the record.
    pub replication: Replication,
}

/// Why a session could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy is not configured.
    #[error("unknown policy")]
    UnknownPolicy,
    /// The policy has no limits for remembered sessions.
    #[error("the policy has no `remember`")]
    NoRememberLimits,
    /// The policy binds sessions to a client property that is missing.
    #[error("the policy binds sessions to the client's {}, which is missing", match .0 {
        UnknownClientProperty::Address => "address",
        UnknownClientProperty::UserAgent => "user agent",
    })]
    UnknownClientProperty(UnknownClientProperty),
    /// The subject is reserved for the sessions of operators.
    #[error("the subject is reserved for operators of the console")]
    ReservedSubject,
    /// The authentication is older than the absolute limit of the policy, or was before a revocation.
    #[error("the authentication is too old")]
    TooOld,
    /// The subject has reached its session limit.
    #[error("session limit reached: the subject has {0} sessions")]
    SessionLimitReached(usize),
    /// Curfew does not know the ceilings of the cluster yet.
    #[error("the policies of the cluster are not known yet")]
    UnknownRoutes,
    /// The token could not be created.
    #[error(transparent)]
    Token(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two random tokens of 256 bits were equal: the random number generator is defective.
    #[error("duplicate token: the random number generator is defective")]
    TokenCollision,
}

/// How many times a sign-in counts the sessions of its subject, and the pause between two counts. The sign-in counts
/// again, because concurrent sign-ins can still remove their sessions.
const LIMIT_RECHECKS: (u32, Duration) = (5, Duration::from_millis(40));

impl Lifecycle {
    /// Starts a session under the policy of the sign-in.
    ///
    /// # Errors
    /// [`StartError`] if no session was started. After a store error, the store may contain the session nevertheless;
    /// the session then ends at its idle limit.
    pub async fn start(&self, sign_in: SignIn) -> Result<StartedSession, StartError> {
        let this = self.clone();
        run_detached(async move { this.start_inner(sign_in).await }).await
    }

    async fn start_inner(&self, sign_in: SignIn) -> Result<StartedSession, StartError> {
        let policy = self.parts.policies.get(sign_in.policy.as_str());
        let (_, policy) = policy.ok_or(StartError::UnknownPolicy)?;
        if sign_in.subject.is_operators() {
            return Err(StartError::ReservedSubject);
        }
        if sign_in.remember && policy.remember.is_none() {
            return Err(StartError::NoRememberLimits);
        }
        let bound = policy.bind.binding_for(sign_in.client);
        let binding = bound.map_err(StartError::UnknownClientProperty)?;
        let limits = policy.limits_for_sign_in(sign_in.remember, &sign_in.attributes);
        let token = self.parts.key_ring.issue()?;
        let id = token.session_id();
        // Ask the store before reading the clock: in a new process, the answer sets decision time (the common time of
        // all replicas).
        let not_before = self.parts.stores.cut_offs.cut_off(&sign_in.subject).await?;
        let rules = self.parts.stores.cut_offs.rules();
        let latest_rule = rules.iter().map(|rule| rule.before).max();
        let now = start_time(self.parts.clock.now(), not_before.max(latest_rule));
        let new = NewSession {
            subject: sign_in.subject,
            attributes: sign_in.attributes,
            policy: sign_in.policy,
            remembered: sign_in.remember,
            binding,
        };
        let started = sign_in.authenticated.map_or(now, |at| at.min(now));
        let mut session = Session::adopt(new, &limits, self.parts.end_retention, started, now);
        session.details = Details::of_sign_in(sign_in.host, sign_in.refresh);
        if sign_in.authenticated.is_some()
            && (now >= session.deadline || self.is_revoked_sign_in(&session, not_before).await?)
        {
            return Err(StartError::TooOld);
        }
        let limit = self.session_limit(Some(policy), sign_in.usable_at.as_deref())?;
        if let Some(limit) = limit {
            self.enforce_limit_early(limit, id, &session.subject)
                .await?;
        }
        self.store_new_session(id, &session).await?;
        if let Some(limit) = limit
            && let Err(error) = self.enforce_limit_after_store(limit, id, &session).await
        {
            self.rollback(id, &session).await;
            return Err(error);
        }
        self.record_start(id, &session, &sign_in.actor);
        let replication = self.wait_for_replication(id).await;
        self.count_unconfirmed(replication);
        Ok(StartedSession {
            id,
            token,
            session,
            replication,
        })
    }

    /// Whether a revocation covers this sign-in: a cut-off of the subject or of its names at the identity provider, an
    /// emergency revocation, or a required new authentication.
    pub(super) async fn is_revoked_sign_in(
        &self,
        session: &Session,
        not_before: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let is_before = |at: Option<Timestamp>| at.is_some_and(|at| session.started < at);
        let mut is_revoked =
            is_before(not_before) || self.parts.stores.cut_offs.is_ended_by_rule(session);
        for name in session.provider_names() {
            is_revoked |= is_before(self.parts.stores.cut_offs.cut_off(&name).await?);
        }
        Ok(is_revoked || self.needs_new_authentication(session).await?)
    }

    /// Queues the deadline of a new session, and then stores the session. In this order, no stored session is without a
    /// deadline in the queue.
    pub(super) async fn store_new_session(
        &self,
        id: SessionId,
        session: &Session,
    ) -> Result<(), StartError> {
        let deadline = self.parts.policies.deadline(session);
        self.parts.stores.deadlines.enqueue(id, deadline).await?;
        let created = self.parts.stores.sessions.create(id, session).await;
        if matches!(
            created,
            Err(StoreError::Full(_) | StoreError::OutOfMemory(_))
        ) {
            // The store rejected the session, so remove its deadline from the queue.
            let _ = self.parts.stores.deadlines.acknowledge(id, None).await;
        }
        match created? {
            CreateOutcome::Created => Ok(()),
            // The first attempt of this call has created the record: a Redis Cluster connection repeats a command that
            // got no answer.
            CreateOutcome::Exists
                if self.parts.stores.sessions.load(id).await?.as_ref() == Some(session) =>
            {
                Ok(())
            }
            CreateOutcome::Exists => Err(StartError::TokenCollision),
        }
    }

    /// Denies a sign-in before its session is stored, if the policy denies new sessions and the limit is already
    /// reached.
    pub(super) async fn enforce_limit_early(
        &self,
        limit: MaxSessions,
        id: SessionId,
        subject: &Subject,
    ) -> Result<(), StartError> {
        if limit.on_limit != OnSessionLimit::Deny {
            return Ok(());
        }
        let live = self.live_sessions(subject).await?;
        // A concurrent request with the same credential can have started this session already.
        if live.len() >= limit.count && live.iter().all(|(_, known)| *known != id) {
            return Err(StartError::SessionLimitReached(limit.count));
        }
        Ok(())
    }

    /// Counts and audits a new session, and adds it to the recent events.
    pub(super) fn record_start(&self, id: SessionId, session: &Session, actor: &Actor) {
        self.parts.metrics.session_created(session.policy.as_str());
        audit::session_created(id, session, actor);
        self.parts
            .recent_events
            .add_start(id, session, self.parts.clock.now());
    }

    /// Enforces the session limit after the new session was stored: ends the oldest sessions, or returns an error for
    /// the new session.
    ///
    /// Several concurrent sign-ins can each find that the limit is not reached yet. So each sign-in counts the sessions
    /// again after it has stored its own session. The last sign-in then sees the sessions of all these sign-ins, and
    /// keeps its own session only if the limit is not exceeded.
    pub(super) async fn enforce_limit_after_store(
        &self,
        limit: MaxSessions,
        id: SessionId,
        new: &Session,
    ) -> Result<(), StartError> {
        for attempt in 0..LIMIT_RECHECKS.0 {
            let live = self.live_sessions(&new.subject).await?;
            let excess = live.len().saturating_sub(limit.count);
            if excess == 0 {
                return Ok(());
            }
            if limit.on_limit == OnSessionLimit::EndOldest {
                let newest = live.last().map_or(id, |(_, newest)| *newest);
                let actor = Actor::policy(&new.policy);
                for (_, oldest) in &live[..excess] {
                    audit::session_displaced(*oldest, &new.subject, newest, &actor);
                    self.revoke(*oldest, &actor).await?;
                }
                return Ok(());
            }
            let is_within_limit = live[..limit.count].iter().any(|(_, known)| *known == id);
            if !is_within_limit || attempt + 1 == LIMIT_RECHECKS.0 {
                break;
            }
            // This session is within the limit, and a later sign-in will remove its own session.
            tokio::time::sleep(LIMIT_RECHECKS.1).await;
        }
        Err(StartError::SessionLimitReached(limit.count))
    }

    /// Returns the live sessions of a subject, the oldest first.
    async fn live_sessions(
        &self,
        subject: &Subject,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        let mut live = Vec::new();
        let mut pages = Pages::of(subject);
        while let Some(page) = pages.next(&*self.parts.stores.sessions).await? {
            let now = self.parts.clock.now();
            let live_sessions = page.into_iter().filter(|(_, session)| {
                session.state == State::Live
                    && now < self.parts.policies.deadline(session)
                    && !self.is_revoked(session)
            });
            live.extend(live_sessions.map(|(id, session)| (session.started, id)));
        }
        live.sort_unstable();
        Ok(live)
    }

    /// Removes a session that was just created, without publishing an end. If this fails, the session ends at its idle
    /// limit, because no client has its token. But an adopted session can stay in use, because its client already has
    /// the credential.
    pub(super) async fn rollback(&self, id: SessionId, session: &Session) {
        self.parts.last_known_sessions.forget(id);
        if self
            .parts
            .stores
            .sessions
            .withdraw(id, session)
            .await
            .is_ok()
        {
            let _ = self.parts.stores.deadlines.acknowledge(id, None).await;
            // The same credential may start the session later, when the subject has fewer sessions.
            self.parts.last_known_sessions.clear_tombstone(id);
        }
    }
}

/// Returns the start time of a sign-in. The start time is `now`, or a later cut-off, so that the cut-off does not end
/// the new session. The result is never later than `now` plus the maximum clock skew between replicas.
pub(super) fn start_time(now: Timestamp, not_before: Option<Timestamp>) -> Timestamp {
    /// The maximum clock skew between replicas.
    const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);
    not_before.map_or(now, |not_before| {
        not_before.clamp(now, now.plus(MAX_CLOCK_SKEW))
    })
}

#[cfg(test)]
mod tests;
