use std::sync::Arc;
use std::time::Duration;

use super::{
    Attributes, Binding, CLOCK_MARGIN, Details, EndReason, Limits, MIN_TELLING, PolicyName,
    Subject, Timestamp,
};

/// The server-side record of one sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose session it is.
    pub subject: Subject,
    /// What else is known of the subject.
    pub attributes: Attributes,
    /// The home policy, fixed at sign-in.
    pub policy: PolicyName,
    /// Whether it has the policy's limits for those who asked to be remembered.
    pub remembered: bool,
    /// From where it may be used.
    pub binding: Binding,
    /// When the subject signed in.
    pub started: Timestamp,
    /// The last activity; never decreases while the session lives.
    pub last_seen: Timestamp,
    /// When the session ends whatever happens; fixed at sign-in, so that lengthening the policy
    /// later never extends it.
    pub deadline: Timestamp,
    /// How long after the last activity the record of a live session is kept. After the end it is kept for that less
    /// the margin.
    pub retention: Duration,
    /// The part of the retention that only a wrong clock of the store uses up.
    pub margin: Duration,
    /// What few sessions have, and no decision needs.
    pub details: Option<Arc<Details>>,
    /// Whether it lives.
    pub state: State,
}

/// Whether a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may still be used, unless its limits say otherwise.
    Live,
    /// It is over for good: the record is a tombstone.
    Ended(End),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// When that was established.
    pub at: Timestamp,
}

/// What a sign-in says about the session it starts.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Whose session it is.
    pub subject: Subject,
    /// What else is known of the subject.
    pub attributes: Attributes,
    /// The home policy.
    pub policy: PolicyName,
    /// Whether the subject asked to be remembered.
    pub remembered: bool,
    /// From where it may be used.
    pub binding: Binding,
}

/// How long a session can still live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Unless it is used before; never more than `absolute`.
    pub idle: Duration,
    /// Whatever happens.
    pub absolute: Duration,
}

impl Session {
    /// A session that starts at `now` under `limits`, whose end can be told for `telling`.
    #[must_use]
    pub fn start(new: NewSession, limits: &Limits, telling: Duration, now: Timestamp) -> Self {
        Self {
            subject: new.subject,
            attributes: new.attributes,
            policy: new.policy,
            remembered: new.remembered,
            binding: new.binding,
            started: now,
            last_seen: now,
            deadline: now.plus(limits.absolute),
            retention: limits.retention(telling).saturating_add(CLOCK_MARGIN),
            margin: CLOCK_MARGIN,
            details: None,
            state: State::Live,
        }
    }

    /// A session whose subject signed in elsewhere at `started`, and which is first used at `now`.
    #[must_use]
    pub fn adopt(
        new: NewSession,
        limits: &Limits,
        telling: Duration,
        started: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            started,
            deadline: started.plus(limits.absolute),
            ..Self::start(new, limits, telling, now)
        }
    }

    /// Records activity at `at`: `last_seen = max(last_seen, at)`, so late, repeated and reordered
    /// touches do no harm. An ended session stays as it is.
    pub fn touch(&mut self, at: Timestamp) {
        if self.state == State::Live {
            self.last_seen = self.last_seen.max(at);
        }
    }

    /// Ends the session; says whether it lived until now. The first end stands. The tombstone has no refresh token.
    pub fn end(&mut self, reason: EndReason, at: Timestamp) -> bool {
        let lived = self.state == State::Live;
        if lived {
            self.state = State::Ended(End { reason, at });
            self.details = self.details.take().and_then(Details::of_tombstone);
        }
        lived
    }

    /// Whether this is the live record of the same sign-in. Activity makes no difference.
    #[must_use]
    pub fn is_same_sign_in(&self, other: &Self) -> bool {
        let used = Self {
            last_seen: self.last_seen,
            ..other.clone()
        };
        self.state == State::Live && *self == used
    }

    /// The same session without its refresh token, for what never asks the provider.
    #[must_use]
    pub fn without_refresh_token(mut self) -> Self {
        if let Some(details) = &mut self.details
            && details.refresh_token.is_some()
        {
            Arc::make_mut(details).refresh_token = None;
        }
        self
    }

    /// Moves every time of a live session into the past by `by`, as if it had been started that
    /// much earlier; the retention grows along, so that the record outlives the move.
    pub fn age(&mut self, by: Duration) {
        if self.state == State::Live {
            self.started = self.started.minus(by);
            self.last_seen = self.last_seen.minus(by);
            self.deadline = self.deadline.minus(by);
            self.retention = self.retention.saturating_add(by);
            if let Some(details) = &mut self.details
                && details.revalidation.is_some()
            {
                let revalidation = &mut Arc::make_mut(details).revalidation;
                revalidation.iter_mut().for_each(|it| it.age(by));
            }
        }
    }

    /// The instant from which the session is over although it was used: the earlier of the
    /// deadline fixed at sign-in and what the policy says today.
    #[must_use]
    pub fn absolute_deadline(&self, limits: &Limits) -> Timestamp {
        self.deadline.min(self.started.plus(limits.absolute))
    }

    /// The instant from which the session is over unless it is used before.
    ///
    /// A policy that was lengthened after sign-in counts only as far as the record is kept, so
    /// that the store's clean-up never decides.
    #[must_use]
    pub fn idle_deadline(&self, limits: &Limits) -> Timestamp {
        let told = self.tombstone_retention().saturating_sub(MIN_TELLING);
        self.last_seen
            .plus(limits.idle.map_or(told, |idle| idle.min(told)))
    }

    /// What stands for the session, and for its subject, at the identity provider.
    pub fn provider_names(&self) -> impl Iterator<Item = Subject> {
        let names = self.attributes.get(Attributes::PROVIDER);
        names.filter_map(|name| Subject::new(name).ok())
    }

    /// How long the session can still live at `now`.
    #[must_use]
    pub fn remaining(&self, limits: &Limits, now: Timestamp) -> Remaining {
        let absolute = self.absolute_deadline(limits);
        let idle = self.idle_deadline(limits).min(absolute);
        Remaining {
            idle: idle.since(now),
            absolute: absolute.since(now),
        }
    }

    /// How long the record is kept after the end, and of use after the last activity.
    #[must_use]
    pub fn tombstone_retention(&self) -> Duration {
        self.retention.saturating_sub(self.margin)
    }

    /// The instant from which the record is of no use.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        let last = match self.state {
            State::Live => self.last_seen,
            State::Ended(end) => end.at,
        };
        last.plus(self.tombstone_retention())
    }

    /// The instant until which a store keeps the record whose clock may be ahead.
    #[must_use]
    pub fn kept_until(&self) -> Timestamp {
        match self.state {
            State::Live => self.last_seen.plus(self.retention),
            State::Ended(_) => self.expires(),
        }
    }

    /// The instant after which the store has forgotten the record whatever happens to it: the
    /// last possible activity, and the retention twice (once alive, once as a tombstone).
    #[must_use]
    pub fn expires_at_latest(&self) -> Timestamp {
        let retention = self.tombstone_retention();
        self.deadline.plus(retention).plus(retention)
    }
}
