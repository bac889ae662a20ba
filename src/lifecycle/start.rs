//! How a session begins.

use std::sync::Arc;
use std::time::Duration;

use super::subject::Pages;
use super::{Lifecycle, run_detached};
use crate::actor::Actor;
use crate::credential::{KeyError, Token};
use crate::policy::{Client, MaxSessions, OnSessionLimit, UnknownClient};
use crate::session::{
    Attributes, Details, NewSession, PolicyName, RefreshGrant, Session, SessionId, State, Subject,
    Timestamp,
};
use crate::store::{CreateOutcome, Replication, StoreError};
use crate::telemetry::audit;

/// A sign-in that has happened elsewhere.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Who signed in.
    pub subject: Subject,
    /// What else is known of the subject.
    pub attributes: Attributes,
    /// The home policy of the session.
    pub policy: PolicyName,
    /// Whether the subject asked to be remembered.
    pub remember: bool,
    /// What is known of the client that signed in.
    pub client: Client,
    /// When the subject proved who it is, where that was not just now.
    pub authenticated: Option<Timestamp>,
    /// The host that the sign-in was for, in lower case without a port, where it is known.
    pub host: Option<Arc<str>>,
    /// With what the identity provider is asked about the session.
    pub refresh: Option<RefreshGrant>,
    /// Who starts the session: the subject, or an application with an admin token.
    pub actor: Actor,
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
    /// How many replicas of the store have it.
    pub replication: Replication,
}

/// Why a session could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy is not configured.
    #[error("there is no policy of this name")]
    UnknownPolicy,
    /// The policy has no limits for the remembered.
    #[error("the policy has no `remember`")]
    NotRemembering,
    /// The policy binds sessions to something about the client that was not told.
    #[error("the policy binds sessions to the client's {}, which was not told", match .0 {
        UnknownClient::Address => "address",
        UnknownClient::UserAgent => "user agent",
    })]
    UnknownClient(UnknownClient),
    /// The subject is that of operators' sessions.
    #[error("the subject is reserved for operators of the console")]
    ReservedSubject,
    /// The subject proved who it is before the policy's absolute limit, or before its sessions were
    /// all ended.
    #[error("the subject proved who it is too long ago")]
    TooOld,
    /// The subject has as many sessions as it can have.
    #[error("the subject has {0} sessions, and can have no more")]
    TooMany(usize),
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

/// How often a sign-in that others happen beside is looked at again, and the pause between.
const ACK_RETRIES: (u32, Duration) = (5, Duration::from_millis(40));

impl Lifecycle {
    /// Starts a session under the policy it names.
    ///
    /// # Errors
    /// [`StartError`]; nothing has been started then, as far as the store could say.
    pub async fn start(&self, sign_in: SignIn) -> Result<Started, StartError> {
        let this = self.clone();
        run_detached(async move { this.start_here(sign_in).await }).await
    }

    async fn start_here(&self, sign_in: SignIn) -> Result<Started, StartError> {
        let policy = self.policies.get(sign_in.policy.as_str());
        let (_, policy) = policy.ok_or(StartError::UnknownPolicy)?;
        if sign_in.subject.is_operators() {
            return Err(StartError::ReservedSubject);
        }
        if sign_in.remember && policy.remember.is_none() {
            return Err(StartError::NotRemembering);
        }
        let bound = policy.bind.to(sign_in.client);
        let binding = bound.map_err(StartError::UnknownClient)?;
        let limits = policy.limits_of(sign_in.remember, &sign_in.attributes);
        let token = self.key_ring.issue()?;
        let id = token.session_id();
        // The store is asked first: its answer is what sets the clock, on a new process.
        let not_before = self.not_before.not_before(&sign_in.subject).await?;
        let rules = self.not_before.rules();
        let latest_rule = rules.iter().map(|rule| rule.before).max();
        let now = after(self.clock.now(), not_before.max(latest_rule));
        let new = NewSession {
            subject: sign_in.subject,
            attributes: sign_in.attributes,
            policy: sign_in.policy,
            remembered: sign_in.remember,
            binding,
        };
        let started = sign_in.authenticated.map_or(now, |at| at.min(now));
        let mut session = Session::adopt(new, &limits, self.end_retention, started, now);
        session.details = Details::of_sign_in(sign_in.host, sign_in.refresh);
        if sign_in.authenticated.is_some()
            && (now >= session.deadline || self.has_ended(&session, not_before).await?)
        {
            return Err(StartError::TooOld);
        }
        if let Some(most) = policy.max_sessions {
            self.enforce_limit_early(most, id, &session.subject).await?;
        }
        self.keep(id, &session).await?;
        if let Some(most) = policy.max_sessions
            && let Err(error) = self.evict_oldest(most, id, &session).await
        {
            self.rollback(id, &session).await;
            return Err(error);
        }
        self.tell_created(id, &session, &sign_in.actor);
        let replication = self.confirmation(id).await;
        self.count_unconfirmed(replication);
        Ok(Started {
            id,
            token,
            session,
            replication,
        })
    }

    /// Whether a sign-in is one of those whose sessions have all been ended since, by whoever names
    /// its subject here, or at its identity provider.
    pub(super) async fn has_ended(
        &self,
        session: &Session,
        not_before: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let since = |at: Option<Timestamp>| at.is_some_and(|at| session.started < at);
        let mut ended = since(not_before) || self.not_before.is_ended_by_rule(session);
        for name in session.provider_names() {
            ended |= since(self.not_before.not_before(&name).await?);
        }
        Ok(ended || self.must_sign_in_again(session).await?)
    }

    /// Writes a new session.
    pub(super) async fn keep(&self, id: SessionId, session: &Session) -> Result<(), StartError> {
        let deadline = self.policies.deadline(session);
        self.deadlines.enqueue(id, deadline).await?;
        let creation = self.store.create(id, session).await;
        if matches!(
            creation,
            Err(StoreError::Full(_) | StoreError::OutOfMemory(_))
        ) {
            // There is certainly nothing to look at.
            let _ = self.deadlines.acknowledge(id, None).await;
        }
        match creation? {
            CreateOutcome::Created => Ok(()),
            // A connection to a cluster repeats by itself what it had no answer to.
            CreateOutcome::Exists if self.store.load(id).await?.as_ref() == Some(session) => Ok(()),
            CreateOutcome::Exists => Err(StartError::Collision),
        }
    }

    /// Refuses a sign-in early where there is certainly no room for it.
    pub(super) async fn enforce_limit_early(
        &self,
        most: MaxSessions,
        id: SessionId,
        subject: &Subject,
    ) -> Result<(), StartError> {
        if most.on_limit != OnSessionLimit::Deny {
            return Ok(());
        }
        let living = self.living(subject).await?;
        // Of several first requests with one credential, another can have started the session.
        if living.len() >= most.count && living.iter().all(|(_, known)| *known != id) {
            return Err(StartError::TooMany(most.count));
        }
        Ok(())
    }

    /// Counts, audits and remembers a session that has started.
    pub(super) fn tell_created(&self, id: SessionId, session: &Session, actor: &Actor) {
        self.metrics.session_created(session.policy.as_str());
        audit::session_created(id, session, actor);
        self.recent.created(id, session, self.clock.now());
    }

    /// Sees to it that the subject has no more sessions than it can have, the new one included.
    ///
    /// Several sign-ins can happen at once, each of which has seen room for itself. So each looks
    /// again once its own session is written: whichever looks last sees all of them, and stays only
    /// if there are not too many.
    pub(super) async fn evict_oldest(
        &self,
        most: MaxSessions,
        id: SessionId,
        new: &Session,
    ) -> Result<(), StartError> {
        for attempt in 0..ACK_RETRIES.0 {
            let living = self.living(&new.subject).await?;
            let beyond = living.len().saturating_sub(most.count);
            if beyond == 0 {
                return Ok(());
            }
            if most.on_limit == OnSessionLimit::EndOldest {
                let newest = living.last().map_or(id, |(_, newest)| *newest);
                let actor = Actor::policy(&new.policy);
                for (_, oldest) in &living[..beyond] {
                    audit::session_displaced(*oldest, &new.subject, newest, &actor);
                    self.revoke(*oldest, &actor).await?;
                }
                return Ok(());
            }
            let first = living[..most.count].iter().any(|(_, known)| *known == id);
            if !first || attempt + 1 == ACK_RETRIES.0 {
                break;
            }
            // Whoever came after this one is about to give up.
            tokio::time::sleep(ACK_RETRIES.1).await;
        }
        Err(StartError::TooMany(most.count))
    }

    /// The sessions of a subject that live, the oldest first.
    async fn living(&self, subject: &Subject) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        let mut living = Vec::new();
        let mut pages = Pages::of(subject);
        while let Some(page) = pages.next(&*self.store).await? {
            let now = self.clock.now();
            let alive = page.into_iter().filter(|(_, session)| {
                session.state == State::Live
                    && now < self.policies.deadline(session)
                    && !self.is_revoked(session)
            });
            living.extend(alive.map(|(id, session)| (session.started, id)));
        }
        living.sort_unstable();
        Ok(living)
    }

    /// Removes a session that was just created, and publishes no end. If this fails it ends at its idle limit: no client
    /// has its token, unless the session was adopted.
    pub(super) async fn rollback(&self, id: SessionId, session: &Session) {
        self.known.forget(id);
        if self.store.withdraw(id, session).await.is_ok() {
            let _ = self.deadlines.acknowledge(id, None).await;
            // Its credential may start it again, when there is room.
            self.known.clear_tombstone(id);
        }
    }
}

/// The time of a sign-in: `now`, or the moment that all sessions of the subject have ended before
/// where that is later by no more than clocks differ.
pub(super) fn after(now: Timestamp, not_before: Option<Timestamp>) -> Timestamp {
    /// The most by which clocks differ that are kept at the store's.
    const DIFFERENCE: Duration = Duration::from_secs(1);
    not_before.map_or(now, |not_before| {
        not_before.clamp(now, now.plus(DIFFERENCE))
    })
}

#[cfg(test)]
mod tests;
