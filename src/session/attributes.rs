use std::collections::BTreeMap;

use serde::Serialize;

/// What else is known about a session's subject: named lists of text, such as `groups` or `email`.
///
/// Attributes travel in headers to the backend, so none of them can hold a control character.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Attributes(BTreeMap<String, Vec<String>>);

/// Why attributes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// A name that is no name.
    #[error("an attribute name is 1 to 64 characters out of a-z, 0-9, `-` and `_`")]
    Name,
    /// A value that could not be written into a header.
    #[error(
        "attribute `{0}`: a value is at most 1024 bytes without control characters, without white \
         space at its ends and, in `groups`, without commas"
    )]
    Value(String),
    /// More than a record should carry.
    #[error("attributes are at most {} bytes in all", Attributes::MAX_BYTES)]
    TooLarge,
}

impl Attributes {
    /// The attribute that holds what stands for the session, and for its subject, at the identity
    /// provider, so that it can end them.
    pub const PROVIDER: &'static str = "provider";

    /// The most bytes that all names and values may have together.
    pub const MAX_BYTES: usize = 4096;

    /// Parses attributes.
    ///
    /// # Errors
    /// [`AttributeError`] for a name or a value that could not be carried in a header, or when all
    /// of them exceed [`Attributes::MAX_BYTES`].
    pub fn new(attributes: BTreeMap<String, Vec<String>>) -> Result<Self, AttributeError> {
        let mut bytes = 0;
        for (name, values) in &attributes {
            if !is_name(name) {
                return Err(AttributeError::Name);
            }
            // A comma separates groups in the header, so within one it would forge a second.
            let comma = name == "groups";
            if !values
                .iter()
                .all(|value| Self::is_value(value) && !(comma && value.contains(',')))
            {
                return Err(AttributeError::Value(name.clone()));
            }
            bytes += name.len() + values.iter().map(String::len).sum::<usize>();
        }
        if bytes > Self::MAX_BYTES {
            return Err(AttributeError::TooLarge);
        }
        Ok(Self(attributes))
    }

    /// Whether a text can be a value.
    #[must_use]
    pub fn is_value(text: &str) -> bool {
        text.len() <= 1024 && text.trim() == text && !text.chars().any(char::is_control)
    }

    /// The values of one attribute; empty when it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether one of the attribute `groups` is among `groups`; names are compared letter by letter.
    #[must_use]
    pub fn in_any_of(&self, groups: &[String]) -> bool {
        self.get("groups")
            .iter()
            .any(|group| groups.contains(group))
    }

    /// The names and values, sorted by name.
    #[must_use]
    pub const fn as_map(&self) -> &BTreeMap<String, Vec<String>> {
        &self.0
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<Attributes, AttributeError> {
        Attributes::new(BTreeMap::from([(name.to_owned(), vec![value.to_owned()])]))
    }

    #[test]
    fn good_attributes_are_kept() {
        let attributes = one("email", "alice@example.com, or so").unwrap();
        assert_eq!(attributes.get("email"), ["alice@example.com, or so"]);
        assert!(attributes.get("groups").is_empty());
    }

    #[test]
    fn bad_attributes_are_refused() {
        assert_eq!(one("E-Mail", "a"), Err(AttributeError::Name));
        assert_eq!(one("", "a"), Err(AttributeError::Name));
        for (name, value) in [
            ("email", "a\r\nX-Session-User: root"),
            ("groups", "a,b"),
            ("x", " a"),
        ] {
            assert_eq!(
                one(name, value),
                Err(AttributeError::Value(name.to_owned())),
                "{value:?}"
            );
        }
        let many = BTreeMap::from([("x".to_owned(), vec!["y".repeat(1024); 5])]);
        assert_eq!(Attributes::new(many), Err(AttributeError::TooLarge));
    }
}
