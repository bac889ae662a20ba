//! Sessions of operators in the console. The same store contains these sessions and the sessions of users, but no
//! session of a user has the subject or the policy of operator sessions.

use super::{Attributes, PolicyName, Session, Subject};

/// The subject of every operator session, so that all operator sessions can be listed and ended together. Curfew
/// never starts a session of a user with this subject.
const OPERATOR_SUBJECT: &str = "curfew-operator";
/// The policy of every operator session, with the limits of `admin.console`. No other policy has this name.
const CONSOLE_POLICY: &str = "curfew-console";

impl Attributes {
    /// The attribute with the operator: `token:NAME`, or `provider:PROVIDER:SUBJECT`.
    pub const OPERATOR: &'static str = "curfew_operator";
    /// The attribute with the fingerprint of the admin token that the operator signed in with.
    pub const OPERATOR_TOKEN: &'static str = "curfew_operator_token";
}

impl Subject {
    /// The subject of every operator session.
    #[must_use]
    pub fn operators() -> Self {
        Self::from_static(OPERATOR_SUBJECT)
    }

    /// Whether this is the subject of operator sessions.
    #[must_use]
    pub fn is_operators(&self) -> bool {
        self.as_str() == OPERATOR_SUBJECT
    }
}

impl PolicyName {
    /// The policy of every operator session.
    #[must_use]
    pub fn console() -> Self {
        Self::from_static(CONSOLE_POLICY)
    }

    /// Whether this is the policy of operator sessions.
    #[must_use]
    pub fn is_console(&self) -> bool {
        self.as_str() == CONSOLE_POLICY
    }
}

impl Session {
    /// Whether this is an operator session. Checks deny operator sessions, because they are valid only in the
    /// console.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.subject.is_operators() && self.policy.is_console()
    }

    /// The owner: the subject, or the operator's name for an operator session.
    #[must_use]
    pub fn user_id(&self) -> &str {
        let operator = self.attributes.get(Attributes::OPERATOR).next();
        let operator = operator.filter(|_| self.is_operator());
        operator.unwrap_or(self.subject.as_str())
    }
}
