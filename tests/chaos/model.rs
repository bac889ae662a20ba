//! Decides whether an answer is correct, with its own implementation of the session limits. The replica decides at
//! some time between the sending of a request and the arrival of its answer. So an answer is wrong only if it is wrong
//! for each of these times.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Exchange;

/// The time for which a session may still be allowed after its limit.
const END_TOLERANCE: Duration = Duration::from_millis(100);

/// The time for which the other replica may still allow a session after the answer to its revocation. For this time,
/// that replica may answer from its near cache, which keeps session records in memory.
const LEASE: Duration = curfew::store::cached::LEASE;

/// The limits of a session.
#[derive(Clone, Copy)]
pub struct Policy {
    pub name: &'static str,
    pub idle: Duration,
    pub absolute: Duration,
    /// A session may end this long before its limit, because its last activity may still be missing in the store.
    pub early_end_tolerance: Duration,
}

pub const DEFAULT: Policy = Policy {
    name: "default",
    idle: Duration::from_secs(30),
    absolute: Duration::from_secs(3600),
    early_end_tolerance: Duration::from_secs(5),
};

/// The idle limit is short enough to show whether activity on one replica counts on the other replica. It is long
/// enough that the exact time of a write to the store does not matter.
pub const MEDIUM: Policy = Policy {
    name: "medium",
    idle: Duration::from_secs(6),
    absolute: Duration::from_secs(3600),
    early_end_tolerance: Duration::from_secs(4),
};

pub const SHORT: Policy = Policy {
    name: "short",
    idle: Duration::from_secs(2),
    absolute: Duration::from_secs(60),
    early_end_tolerance: Duration::from_secs(1),
};

/// The policy of the streams that count data as activity. Data during a fault may be missing in the store.
pub const TYPING: Policy = Policy {
    name: "typing",
    idle: Duration::from_secs(10),
    absolute: Duration::from_secs(3600),
    early_end_tolerance: Duration::from_secs(8),
};

/// The policy of the streams whose sessions are revoked.
pub const STREAM: Policy = Policy {
    name: "stream",
    ..DEFAULT
};

/// The `stream_grace` of the policy [`STREAM`].
pub const STREAM_GRACE: Duration = Duration::from_secs(4);

/// The longest time from the answer to a revocation to the end of its streams, while Redis can be reached.
pub const CUT_LIMIT: Duration = Duration::from_secs(2);

/// The time for which a stream may stay open after its deadline or its `stream_grace`.
pub const LATE_CUT_TOLERANCE: Duration = Duration::from_secs(1);

/// What is wrong with an answer or with the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A live session was denied.
    Denial,
    /// An ended session was allowed.
    Admission,
    /// A stream of a live session was cut.
    Cut,
    /// A stream outlived its session for too long.
    LateCut,
}

impl Mistake {
    pub const ALL: [Self; 4] = [Self::Denial, Self::Admission, Self::Cut, Self::LateCut];
}

/// How serious a wrong answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The answer breaks a promise of Curfew.
    Certain,
    /// The answer contradicts a change that too few Redis replicas had confirmed. A fail-over may lose such a change.
    Unconfirmed,
}

/// The facts that the load generator has about one session. It sends the requests of a session one after the other, so
/// their order is known.
pub struct Model {
    policy: Policy,
    /// The severity of a wrong answer if the store loses the sign-in.
    sign_in_severity: Severity,
    /// When the client sent the sign-in. The session started no earlier.
    sign_in_sent: Instant,
    /// When the client sent the last allowed request. The last activity is no earlier.
    last_use_sent: Instant,
    /// When the last answer of any kind arrived. The last activity is no later.
    last_answer: Instant,
    /// True if the client has sent a revocation, so the session may have ended.
    may_have_ended: bool,
    /// `Some` after the session has ended: the severity of an answer that allows the session again.
    ended: Option<Severity>,
    /// For each replica, the time from which the replica must deny the session, because the session has ended.
    end_known_since: [Option<Instant>; 2],
}

impl Model {
    /// Returns the model of the session that the exchange `sign_in` started.
    pub fn new(policy: Policy, sign_in: &Exchange) -> Self {
        Self {
            policy,
            sign_in_severity: severity_if_lost(sign_in),
            sign_in_sent: sign_in.sent,
            last_use_sent: sign_in.sent,
            last_answer: sign_in.arrived,
            may_have_ended: false,
            ended: None,
            end_known_since: [None; 2],
        }
    }

    /// Returns whether the session has ended, or has been idle for too long.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some() || self.is_past_idle_limit(Instant::now())
    }

    /// Returns the severity of a stream that stays open although the session was revoked. None if no revocation was
    /// acknowledged.
    pub const fn end_severity(&self) -> Option<Severity> {
        self.ended
    }

    /// Returns the latest time at which the session ends without a further use.
    pub fn idle_deadline(&self) -> Instant {
        self.last_answer + self.policy.idle
    }

    /// Records that the client has sent data in a stream whose data counts as activity.
    pub fn note_data(&mut self) {
        self.last_use_sent = Instant::now();
        self.last_answer = self.last_use_sent;
    }

    /// Judges the end of a stream that was open since `exchange.sent` and ended at `exchange.arrived`.
    ///
    /// A replica that cannot ask Redis cuts a stream at the last deadline that it knows. It asks at least twice in each
    /// idle interval, so it may miss the activity of half an interval.
    pub fn judge_cut(&self, exchange: &Exchange) -> Option<(Mistake, Severity)> {
        let missed = if exchange.reason == "store_unavailable" {
            self.policy.idle / 2
        } else {
            Duration::ZERO
        };
        let idle = exchange.arrived - self.last_use_sent + missed;
        (self.must_be_live(exchange) && idle + self.policy.early_end_tolerance < self.policy.idle)
            .then_some((Mistake::Cut, self.sign_in_severity))
    }

    fn is_past_idle_limit(&self, sent: Instant) -> bool {
        sent - self.last_answer >= self.policy.idle + END_TOLERANCE
    }

    /// Judges the answer to a check, and returns the mistake if it is wrong.
    pub fn judge_check(&mut self, check: &Exchange) -> Option<(Mistake, Severity)> {
        // After the idle limit, no replica may allow the session.
        if self.is_past_idle_limit(check.sent) {
            self.ended = Some(Severity::Certain);
            self.end_known_since = [Some(check.sent); 2];
        }
        self.last_answer = check.arrived;
        if check.is_unavailable() {
            return None;
        }
        if check.status == Some(200) {
            self.last_use_sent = check.sent;
            let must_deny =
                self.end_known_since[check.replica].is_some_and(|since| check.sent >= since);
            return self
                .ended
                .filter(|_| must_deny)
                .map(|severity| (Mistake::Admission, severity));
        }
        // The only correct denial is 401. Every other status is wrong.
        let right = check.status == Some(401) && !self.must_be_live(check);
        (!right).then_some((Mistake::Denial, self.sign_in_severity))
    }

    /// Judges the answer to a revocation, and returns the mistake if it is wrong.
    pub fn judge_revocation(&mut self, revocation: &Exchange) -> Option<(Mistake, Severity)> {
        let lost = revocation.status == Some(404) && self.must_be_live(revocation);
        self.may_have_ended = true;
        if matches!(revocation.status, Some(200 | 202)) && self.ended != Some(Severity::Certain) {
            self.ended = Some(severity_if_lost(revocation));
            self.end_known_since = [Some(revocation.arrived + LEASE); 2];
            self.end_known_since[revocation.replica] = Some(revocation.arrived);
        }
        lost.then_some((Mistake::Denial, self.sign_in_severity))
    }

    /// Returns whether the session was within its limits at each time at which the replica may have decided.
    fn must_be_live(&self, exchange: &Exchange) -> bool {
        let idle = exchange.arrived - self.last_use_sent;
        let age = exchange.arrived - self.sign_in_sent;
        !self.may_have_ended
            && self.ended.is_none()
            && idle + self.policy.early_end_tolerance < self.policy.idle
            && age + self.policy.early_end_tolerance < self.policy.absolute
    }
}

/// Returns the severity of a later answer that contradicts the change in this answer. The severity is lower if too few
/// Redis replicas confirmed the change.
fn severity_if_lost(exchange: &Exchange) -> Severity {
    let replication = &exchange.body["replication"];
    let missing = replication["confirmed"].as_u64() < replication["wanted"].as_u64();
    if exchange.status == Some(202) || missing {
        Severity::Unconfirmed
    } else {
        Severity::Certain
    }
}
