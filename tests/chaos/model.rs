//! Decides whether an answer is correct, with its own implementation of the rules. It knows when a request was sent
//! and when its answer arrived. The decision was made in between, so an answer counts as wrong only if no delay
//! explains it.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Exchange;

/// The tolerance for a session that ends after its limit.
const END_TOLERANCE: Duration = Duration::from_millis(100);

/// How much later the other replica must know of an end than the replica that ended the session.
const LEASE: Duration = curfew::store::cached::LEASE;

/// The limits of a session.
#[derive(Clone, Copy)]
pub struct Policy {
    pub name: &'static str,
    pub idle: Duration,
    pub absolute: Duration,
    /// How much too early a session may end, because its last activity may not be written yet.
    pub early: Duration,
}

pub const DEFAULT: Policy = Policy {
    name: "default",
    idle: Duration::from_secs(30),
    absolute: Duration::from_secs(3600),
    early: Duration::from_secs(5),
};

/// Short enough to show whether activity on one replica counts on the other. Long enough that the exact time of the
/// write does not matter.
pub const MEDIUM: Policy = Policy {
    name: "medium",
    idle: Duration::from_secs(6),
    absolute: Duration::from_secs(3600),
    early: Duration::from_secs(4),
};

pub const SHORT: Policy = Policy {
    name: "short",
    idle: Duration::from_secs(2),
    absolute: Duration::from_secs(60),
    early: Duration::from_secs(1),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    Denial,
    Admission,
}

/// How serious a wrong answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It breaks a promise.
    Certain,
    /// It contradicts an answer which said that too few replicas had confirmed the change. A fail-over may lose that
    /// change.
    Unconfirmed,
}

/// The known facts about one session. Its requests are sent one after the other.
pub struct Model {
    policy: Policy,
    /// How serious the loss of the sign-in would be.
    start: Severity,
    /// When the sign-in was sent. The session started no earlier.
    sign_in_sent: Instant,
    /// When the last allowed request was sent. The last activity is no earlier.
    last_use_sent: Instant,
    /// When the last answer of any kind arrived. The last activity is no later.
    last_answer: Instant,
    /// A revocation was sent, so the session may have ended.
    may_have_ended: bool,
    /// Set if the session has ended: how serious its return would be.
    ended: Option<Severity>,
    /// Since when each replica must know that the session has ended.
    known_since: [Option<Instant>; 2],
}

impl Model {
    /// A session that the exchange `sign_in` started.
    pub fn new(policy: Policy, sign_in: &Exchange) -> Self {
        Self {
            policy,
            start: severity(sign_in),
            sign_in_sent: sign_in.sent,
            last_use_sent: sign_in.sent,
            last_answer: sign_in.arrived,
            may_have_ended: false,
            ended: None,
            known_since: [None; 2],
        }
    }

    /// Whether a request that is sent now is after the session's end.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some() || self.too_late(Instant::now())
    }

    fn too_late(&self, sent: Instant) -> bool {
        // The absolute limit counts from the sign-in, which was answered before the first request.
        sent - self.last_answer >= self.policy.idle + END_TOLERANCE
    }

    /// Checks the answer to a check.
    pub fn judge_check(&mut self, check: &Exchange) -> Option<(Mistake, Severity)> {
        // A session that has ended stays ended, whatever requests follow.
        if self.too_late(check.sent) {
            self.ended = Some(Severity::Certain);
            self.known_since = [Some(check.sent); 2];
        }
        self.last_answer = check.arrived;
        if check.is_unavailable() {
            return None;
        }
        if check.status == Some(200) {
            self.last_use_sent = check.sent;
            let known = self.known_since[check.replica].is_some_and(|since| check.sent >= since);
            return self
                .ended
                .filter(|_| known)
                .map(|severity| (Mistake::Admission, severity));
        }
        // Only 401 is a denial. Every other answer is wrong.
        let right = check.status == Some(401) && !self.must_live(check);
        (!right).then_some((Mistake::Denial, self.start))
    }

    /// Checks the answer to a revocation.
    pub fn judge_revocation(&mut self, revocation: &Exchange) -> Option<(Mistake, Severity)> {
        let lost = revocation.status == Some(404) && self.must_live(revocation);
        self.may_have_ended = true;
        if matches!(revocation.status, Some(200 | 202)) && self.ended != Some(Severity::Certain) {
            self.ended = Some(severity(revocation));
            self.known_since = [Some(revocation.arrived + LEASE); 2];
            self.known_since[revocation.replica] = Some(revocation.arrived);
        }
        lost.then_some((Mistake::Denial, self.start))
    }

    /// Whether the session is within its limits, however long the answer took.
    fn must_live(&self, exchange: &Exchange) -> bool {
        let idle = exchange.arrived - self.last_use_sent;
        let age = exchange.arrived - self.sign_in_sent;
        !self.may_have_ended
            && self.ended.is_none()
            && idle + self.policy.early < self.policy.idle
            && age + self.policy.early < self.policy.absolute
    }
}

/// How serious the loss of an acknowledged change is: less if the answer says that replicas are missing.
fn severity(exchange: &Exchange) -> Severity {
    let replication = &exchange.body["replication"];
    let missing = replication["confirmed"].as_u64() < replication["wanted"].as_u64();
    if exchange.status == Some(202) || missing {
        Severity::Unconfirmed
    } else {
        Severity::Certain
    }
}
