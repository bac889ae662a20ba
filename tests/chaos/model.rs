//! What each answer must be. It knows the rules on its own, and it is certain only of what no
//! delay between the two sides can change: of a question it knows when it was sent and when its
//! answer had arrived, and that the decision was made somewhere in between.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Exchange;

/// How much later than its limit a session must be over.
const SLACK: Duration = Duration::from_millis(100);

/// How much later than the replica that was asked to end a session the other one must know.
const LEASE: Duration = curfew::store::cached::LEASE;

/// Limits that sessions are started under.
#[derive(Clone, Copy)]
pub struct Policy {
    pub name: &'static str,
    pub idle: Duration,
    pub absolute: Duration,
    /// By how much a session may end too early: what was used last may not be written yet.
    pub early: Duration,
}

pub const DEFAULT: Policy = Policy {
    name: "default",
    idle: Duration::from_secs(30),
    absolute: Duration::from_secs(3600),
    early: Duration::from_secs(5),
};

/// Short enough to see whether activity that one replica has noted counts at the other, and long
/// enough that it does not matter when exactly it was written.
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

/// What a wrong answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It breaks a promise.
    Certain,
    /// What it disregards was answered, but said not to be on enough replicas: a fail-over may
    /// lose it.
    Unconfirmed,
}

/// What is known of one session. Its questions are asked one after the other.
pub struct Model {
    policy: Policy,
    /// What the answer to the sign-in is worth.
    start: Weight,
    /// When the sign-in was sent: it did not begin before.
    began: Instant,
    /// When the last question that was allowed was sent: it was not used before, but then.
    used: Instant,
    /// When the last answer arrived, whatever it was: it was not used after.
    quiet_since: Instant,
    /// A revocation was sent: it may be over.
    may_be_over: bool,
    /// It is over, and what that is worth.
    over: Option<Weight>,
    /// Since when each replica must know that.
    known_since: [Option<Instant>; 2],
}

impl Model {
    /// A session of which `sign_in` is the answered beginning.
    pub fn new(policy: Policy, sign_in: &Exchange) -> Self {
        Self {
            policy,
            start: weight(sign_in),
            began: sign_in.sent,
            used: sign_in.sent,
            quiet_since: sign_in.arrived,
            may_be_over: false,
            over: None,
            known_since: [None; 2],
        }
    }

    /// Whether a question that is sent now would come too late.
    pub fn is_over(&self) -> bool {
        self.over.is_some() || self.too_late(Instant::now())
    }

    fn too_late(&self, sent: Instant) -> bool {
        // The absolute limit counts from the sign-in, which was answered before any question.
        sent - self.quiet_since >= self.policy.idle + SLACK
    }

    /// Judges the answer to a check.
    pub fn checked(&mut self, check: &Exchange) -> Option<(Mistake, Weight)> {
        // Whatever was done with a session that was over, it stays over.
        if self.too_late(check.sent) {
            self.over = Some(Weight::Certain);
            self.known_since = [Some(check.sent); 2];
        }
        self.quiet_since = check.arrived;
        if check.is_unavailable() {
            return None;
        }
        if check.status == Some(200) {
            self.used = check.sent;
            let known = self.known_since[check.replica].is_some_and(|since| check.sent >= since);
            return self
                .over
                .filter(|_| known)
                .map(|weight| (Mistake::Admission, weight));
        }
        // 401 is what denies; anything else is right never.
        let right = check.status == Some(401) && !self.must_live(check);
        (!right).then_some((Mistake::Denial, self.start))
    }

    /// Judges the answer to a revocation.
    pub fn revoked(&mut self, revocation: &Exchange) -> Option<(Mistake, Weight)> {
        let lost = revocation.status == Some(404) && self.must_live(revocation);
        self.may_be_over = true;
        if matches!(revocation.status, Some(200 | 202)) && self.over != Some(Weight::Certain) {
            self.over = Some(weight(revocation));
            self.known_since = [Some(revocation.arrived + LEASE); 2];
            self.known_since[revocation.replica] = Some(revocation.arrived);
        }
        lost.then_some((Mistake::Denial, self.start))
    }

    /// Whether it is within its limits, however long the answer took.
    fn must_live(&self, exchange: &Exchange) -> bool {
        let idle = exchange.arrived - self.used;
        let age = exchange.arrived - self.began;
        !self.may_be_over
            && self.over.is_none()
            && idle + self.policy.early < self.policy.idle
            && age + self.policy.early < self.policy.absolute
    }
}

/// What an acknowledged change is worth: less where it says that replicas are missing.
fn weight(exchange: &Exchange) -> Weight {
    let replication = &exchange.body["replication"];
    let missing = replication["confirmed"].as_u64() < replication["wanted"].as_u64();
    if exchange.status == Some(202) || missing {
        Weight::Unconfirmed
    } else {
        Weight::Certain
    }
}
