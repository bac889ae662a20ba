use std::sync::Arc;
use std::time::Duration;

use super::{
    Attributes, Binding, CLOCK_MARGIN, DenyReason, Details, EndReason, Limits, MIN_TOMBSTONE_TTL,
    PolicyName, Subject, Timestamp,
};

/// The server-side record of one sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The subject that signed in. For the owner of an operator session, see [`Session::user_id`].
    pub subject: Subject,
    /// Properties of the subject, such as its groups.
    pub attributes: Attributes,
    /// The home policy, fixed at sign-in.
    pub policy: PolicyName,
    /// Whether the policy's `remember` limits apply.
    pub remembered: bool,
    /// The network and the user agent that the session is bound to.
    pub binding: Binding,
    /// When the subject signed in.
    pub started: Timestamp,
    /// The time of the last activity. A touch (the recording of an activity) only moves this time forward.
    pub last_seen: Timestamp,
    /// The moment of the absolute limit, fixed at sign-in. If a longer limit is configured later, the deadline does not
    /// move.
    pub deadline: Timestamp,
    /// How long the store keeps the record of a live session after the last activity. The store keeps a tombstone for
    /// this time minus [`Session::margin`].
    pub retention: Duration,
    /// The part of the retention that compensates for a wrong clock of the store.
    pub margin: Duration,
    /// Optional properties, such as the host of the sign-in.
    pub details: Option<Arc<Details>>,
    /// Live or ended.
    pub state: State,
}

/// Whether a session is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The session is valid until a limit is reached.
    Live,
    /// The session has ended for good, and the record is a tombstone.
    Ended(End),
}

impl State {
    /// Returns the reason of a denial because of the session end; `None` while the session is live.
    #[must_use]
    pub const fn denial(&self) -> Option<DenyReason> {
        match self {
            Self::Live => None,
            Self::Ended(end) => Some(end.reason.denial()),
        }
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The reason of the end.
    pub reason: EndReason,
    /// The time at which the session was ended, in the common time of all replicas (decision time).
    pub at: Timestamp,
}

/// The properties of a session at its sign-in.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The subject that signs in.
    pub subject: Subject,
    /// Properties of the subject.
    pub attributes: Attributes,
    /// The home policy.
    pub policy: PolicyName,
    /// Whether the subject asked to be remembered.
    pub remembered: bool,
    /// The network and the user agent that the session is bound to.
    pub binding: Binding,
}

/// The time that a session has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The time until the idle limit if no activity follows. This time is never longer than `absolute`.
    pub idle: Duration,
    /// The time until the absolute limit.
    pub absolute: Duration,
}

impl Session {
    /// A session that starts at `now` under `limits`. After its end, the store keeps its tombstone at least for
    /// `tombstone_ttl`.
    #[must_use]
    pub fn start(
        new: NewSession,
        limits: &Limits,
        tombstone_ttl: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            subject: new.subject,
            attributes: new.attributes,
            policy: new.policy,
            remembered: new.remembered,
            binding: new.binding,
            started: now,
            last_seen: now,
            deadline: now.plus(limits.absolute),
            retention: limits.retention(tombstone_ttl).saturating_add(CLOCK_MARGIN),
            margin: CLOCK_MARGIN,
            details: None,
            state: State::Live,
        }
    }

    /// A session whose subject signed in with another issuer at `started`. Its first activity is at `now`.
    #[must_use]
    pub fn adopt(
        new: NewSession,
        limits: &Limits,
        tombstone_ttl: Duration,
        started: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            started,
            deadline: started.plus(limits.absolute),
            ..Self::start(new, limits, tombstone_ttl, now)
        }
    }

    /// Records an activity at the time `at`: `last_seen = max(last_seen, at)`. Late, repeated and reordered touches
    /// therefore do no harm. An ended session does not change.
    pub fn touch(&mut self, at: Timestamp) {
        if self.state == State::Live {
            self.last_seen = self.last_seen.max(at);
        }
    }

    /// Ends a live session and returns `true`. An ended session does not change, and the result is `false`. The
    /// tombstone (the record of the ended session) has no refresh token.
    pub fn end(&mut self, reason: EndReason, at: Timestamp) -> bool {
        let was_live = self.state == State::Live;
        if was_live {
            self.state = State::Ended(End { reason, at });
            self.details = self.details.take().and_then(Details::retain_for_tombstone);
        }
        was_live
    }

    /// Whether this session is live and `other` is a record of the same sign-in. Only the last activity may differ.
    #[must_use]
    pub fn is_same_sign_in(&self, other: &Self) -> bool {
        let with_same_activity = Self {
            last_seen: self.last_seen,
            ..other.clone()
        };
        self.state == State::Live && *self == with_same_activity
    }

    /// The session without its refresh token, for callers that do no revalidation.
    #[must_use]
    pub fn without_refresh_token(mut self) -> Self {
        if let Some(details) = &mut self.details
            && details.refresh_token.is_some()
        {
            Arc::make_mut(details).refresh_token = None;
        }
        self
    }

    /// Moves every time of a live session into the past by the duration `by`, as if the session had started that much
    /// earlier. The retention grows by the same amount, so the record is kept until the same instant.
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

    /// When the absolute limit ends the session: at the deadline that was fixed at sign-in, or earlier if the
    /// absolute limit is now shorter.
    #[must_use]
    pub fn absolute_deadline(&self, limits: &Limits) -> Timestamp {
        self.deadline.min(self.started.plus(limits.absolute))
    }

    /// When the idle limit ends the session if no activity follows.
    ///
    /// If the policy's idle limit became longer after the sign-in, it counts only up to the time for which the store
    /// keeps the record. Therefore the store never deletes the record of a live session.
    #[must_use]
    pub fn idle_deadline(&self, limits: &Limits) -> Timestamp {
        let max_idle = self.tombstone_retention().saturating_sub(MIN_TOMBSTONE_TTL);
        self.last_seen
            .plus(limits.idle.map_or(max_idle, |idle| idle.min(max_idle)))
    }

    /// The pseudo-subjects for the session and its subject at the identity provider, see [`Subject::of_provider`].
    pub fn provider_names(&self) -> impl Iterator<Item = Subject> {
        let names = self.attributes.get(Attributes::PROVIDER);
        names.filter_map(|name| Subject::new(name).ok())
    }

    /// The time that the session has left at `now`.
    #[must_use]
    pub fn remaining(&self, limits: &Limits, now: Timestamp) -> Remaining {
        let absolute = self.absolute_deadline(limits);
        let idle = self.idle_deadline(limits).min(absolute);
        Remaining {
            idle: idle.since(now),
            absolute: absolute.since(now),
        }
    }

    /// How long the record is needed after the last activity or the session end: the retention minus
    /// [`Session::margin`].
    #[must_use]
    pub fn tombstone_retention(&self) -> Duration {
        self.retention.saturating_sub(self.margin)
    }

    /// When the record is no longer needed.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        let last = match self.state {
            State::Live => self.last_seen,
            State::Ended(end) => end.at,
        };
        last.plus(self.tombstone_retention())
    }

    /// The expiry of the record in the store. For a live session, the expiry includes [`Session::margin`], because
    /// the store's clock may be ahead.
    #[must_use]
    pub fn expiry_with_margin(&self) -> Timestamp {
        match self.state {
            State::Live => self.last_seen.plus(self.retention),
            State::Ended(_) => self.expires(),
        }
    }

    /// The latest time at which the record can be needed: the deadline plus twice [`Session::tombstone_retention`]. The
    /// retention counts twice: once for the live record, and once for the tombstone.
    #[must_use]
    pub fn expires_at_latest(&self) -> Timestamp {
        let retention = self.tombstone_retention();
        self.deadline.plus(retention).plus(retention)
    }
}
