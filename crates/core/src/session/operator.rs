//! Sessions of operators in the console. They are in the same store as those of users, under a subject and a policy that
//! no user has.

use super::{Attributes, PolicyName, Session, Subject};

/// The subject of every operator's session, so that they are listed and ended together. Curfew starts no session of a
/// user under it.
const SUBJECT: &str = "curfew-operator";
/// Their policy: the limits of `admin.console`. No other policy has this name.
const POLICY: &str = "curfew-console";

impl Attributes {
    /// The attribute that names the operator: `token:NAME`, or `provider:PROVIDER:SUBJECT`.
    pub const OPERATOR: &'static str = "curfew_operator";
    /// The attribute that holds the mark of the admin token that an operator signed in with.
    pub const OPERATOR_TOKEN: &'static str = "curfew_operator_token";
}

impl Subject {
    /// The subject of every operator's session.
    #[must_use]
    pub fn operators() -> Self {
        Self::fixed(SUBJECT)
    }

    /// Whether it is the subject of operators' sessions.
    #[must_use]
    pub fn is_operators(&self) -> bool {
        self.as_str() == SUBJECT
    }
}

impl PolicyName {
    /// The policy of every operator's session.
    #[must_use]
    pub fn console() -> Self {
        Self::fixed(POLICY)
    }

    /// Whether it is the policy of operators' sessions.
    #[must_use]
    pub fn is_console(&self) -> bool {
        self.as_str() == POLICY
    }
}

impl Session {
    /// Whether it is an operator's session in the console. No check is allowed on it.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.subject.is_operators() && self.policy.is_console()
    }

    /// Who it belongs to: the subject, or the name of the operator.
    #[must_use]
    pub fn user_id(&self) -> &str {
        let operator = self.attributes.get(Attributes::OPERATOR).next();
        let operator = operator.filter(|_| self.is_operator());
        operator.unwrap_or(self.subject.as_str())
    }
}
