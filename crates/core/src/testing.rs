//! Sessions, times and a token issuer for tests.

pub mod jwt;

use std::time::Duration;

use crate::session::{
    Attributes, Binding, Limits, NewSession, PolicyName, Session, Subject, Timestamp,
};

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);
/// One minute.
pub const MINUTE: Duration = Duration::from_secs(60);
/// One hour.
pub const HOUR: Duration = Duration::from_secs(3600);
/// The start time of the sessions and clocks in tests.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Starts a session of `subject` at `now`, with limits of 15 min idle and 12 h absolute.
pub fn session_of(subject: &str, now: Timestamp) -> Session {
    let limits = Limits {
        idle: Some(15 * MINUTE),
        absolute: 12 * HOUR,
        max_auth_age: None,
    };
    let new = NewSession {
        subject: Subject::new(subject).unwrap(),
        attributes: Attributes::default(),
        policy: policy_name("default"),
        remembered: false,
        binding: Binding::default(),
    };
    Session::start(new, &limits, HOUR, now)
}

/// Returns a policy name.
///
/// # Panics
/// Panics if the name is invalid.
pub fn policy_name(name: &str) -> PolicyName {
    PolicyName::new(name).unwrap()
}

/// The format of an output of Curfew, such as a log, a page or a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Plain text for people.
    Text,
    /// Lines of `name=value`.
    Fields,
    /// JSON: one value, or one value per line.
    Json,
    /// HTML or XML.
    Markup,
}

/// An output of Curfew: its name, its format, and the text that it shows.
pub type Output = (&'static str, OutputFormat, String);
