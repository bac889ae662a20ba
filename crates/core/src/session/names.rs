use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::SessionId;

/// The reason why a name is invalid. The error text describes a valid name, and never repeats the invalid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is not a policy name.
    #[error("a policy name must have 1 to 64 characters from a-z, 0-9, `-` and `_`")]
    Policy,
    /// The text is not a subject.
    #[error(
        "a subject must have 1 to 255 bytes, no control characters, and no white space at its start or end"
    )]
    Subject,
}

/// The name of a policy: valid as a configuration key, a URL path segment and a metric label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    /// Validates a policy name.
    ///
    /// # Errors
    /// [`NameError::Policy`] unless the name is 1 to 64 characters out of `a-z`, `0-9`, `-` and `_`.
    pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
        let name = name.as_ref();
        let is_valid = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if is_valid {
            Ok(Self(name.into()))
        } else {
            Err(NameError::Policy)
        }
    }

    /// Creates a name that the program itself defines, without validation.
    pub(super) fn from_static(name: &'static str) -> Self {
        Self(name.into())
    }

    /// The name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for PolicyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The subject of a session: the person's ID in the application or at the identity provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Validates a subject.
    ///
    /// # Errors
    /// [`NameError::Subject`] unless the subject is 1 to 255 bytes of UTF-8, without white space at either end and
    /// without control characters, which a header cannot carry.
    pub fn new(subject: impl AsRef<str>) -> Result<Self, NameError> {
        let subject = subject.as_ref();
        let is_valid = (1..=255).contains(&subject.len())
            && subject.trim() == subject
            && !subject.chars().any(char::is_control);
        if is_valid {
            Ok(Self(subject.into()))
        } else {
            Err(NameError::Subject)
        }
    }

    /// Creates a subject that the program itself defines, without validation.
    pub(super) fn from_static(subject: &'static str) -> Self {
        Self(subject.into())
    }

    /// The pseudo-subject for a session or a subject at an identity provider; `name` is a hash. One cut-off for the
    /// pseudo-subject ends all earlier sessions in Curfew that belong to this session or subject.
    #[must_use]
    pub fn of_provider(name: SessionId) -> Self {
        Self(format!("oidc:{name}").into())
    }

    /// The subject as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_names_are_validated() {
        for good in ["default", "pci-dss", "a", "level_2", &"x".repeat(64)] {
            assert!(PolicyName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Default", "a b", "a/b", "ü", "a.b", &"x".repeat(65)] {
            assert_eq!(PolicyName::new(bad), Err(NameError::Policy), "{bad}");
        }
    }

    #[test]
    fn subjects_are_validated() {
        for good in ["alice", "alice@example.com", "Ünal Öz", &"x".repeat(255)] {
            assert!(Subject::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " alice",
            "alice ",
            "a\nb",
            "a\0",
            "\u{85}",
            &"x".repeat(256),
        ] {
            assert_eq!(Subject::new(bad), Err(NameError::Subject), "{bad:?}");
        }
    }
}
