//! The session record, its limits, and the decision whether a session is still valid.
//!
//! This module does no I/O and reads no clock. Every decision takes `now` as an argument. So a test can verify each
//! limit at any instant, and replicas that agree on the time agree on the verdict.

mod attributes;
mod binding;
mod decide;
mod details;
mod id;
mod limits;
mod names;
mod operator;
mod record;
mod revalidation;
mod timestamp;
mod verdict;

#[cfg(test)]
mod tests;

pub use attributes::{AttributeError, Attributes, Values};
pub use binding::{Binding, Network, UserAgentHash};
pub use decide::{allowed_until, decide};
pub use details::{Details, RefreshGrant};
pub use id::{ParseSessionIdError, SessionId, SessionIdHashBuilder, SessionIdHasher, SessionMap};
pub use limits::{CLOCK_MARGIN, Limits, MAX_COOKIE_AGE, MIN_TOMBSTONE_TTL};

pub use names::{NameError, PolicyName, Subject};
pub use record::{End, NewSession, Remaining, Session, State};
pub use revalidation::{ClaimsInToken, Registration, Revalidation};
pub use timestamp::Timestamp;
pub use verdict::{DenyReason, EndReason, Verdict};
