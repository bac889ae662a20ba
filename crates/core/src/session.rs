//! The session domain: what a session is, when it is over, and how it may change.
//!
//! Nothing here performs I/O or reads a clock: `now` is an argument of every decision, so that
//! each rule can be tested at any instant and every replica that agrees on the time agrees on the
//! verdict.

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
pub use decide::decide;
pub use details::{Details, RefreshGrant};
pub use id::{NameHash, NameHasher, ParseSessionIdError, SessionId, SessionMap};
pub use limits::{CLOCK_MARGIN, LONGEST_LIFE, Limits, MIN_TELLING};

pub use names::{NameError, PolicyName, Subject};
pub use record::{End, NewSession, Remaining, Session, State};
pub use revalidation::{ClaimsInToken, Registration, Revalidation};
pub use timestamp::Timestamp;
pub use verdict::{DenyReason, EndReason, Verdict};
