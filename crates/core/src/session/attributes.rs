use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Properties of a session's subject: named lists of strings, such as `groups` or `email`.
///
/// The back end receives attributes in headers, so no name or value contains a control character. Control characters
/// can therefore separate the names and values in one string. The string is shared, because every check clones the
/// attributes. Each attribute is its name, then its values with a unit separator before each value, then a record
/// separator. Attributes are sorted by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(Arc<str>);

/// The control character "unit separator".
const VALUE_SEPARATOR: char = '\u{1f}';
/// The control character "record separator".
const ATTRIBUTE_END: char = '\u{1e}';

/// The reason why attributes are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The name has an invalid character or length.
    #[error("an attribute name must have 1 to 64 characters from a-z, 0-9, `-` and `_`")]
    Name,
    /// The value cannot be written into a header.
    #[error(
        "attribute `{0}`: a value must have at most 1024 bytes, no control characters, and no white space at its start \
         or end; a value of `groups` must also have no comma"
    )]
    Value(String),
    /// All names and values together exceed [`Attributes::MAX_BYTES`].
    #[error(
        "attributes must have at most {} bytes in total",
        Attributes::MAX_BYTES
    )]
    TooLarge,
}

impl Attributes {
    /// The attribute that identifies the session and its subject at the identity provider. Its values are
    /// pseudo-subjects, see [`Subject::of_provider`](super::Subject::of_provider). A logout notice of the provider
    /// refers to a pseudo-subject, and ends all sessions that have it.
    pub const PROVIDER: &'static str = "provider";
    /// The attribute that names how the session began: `jwt`, `delegated` or `login`. Sessions from the admin API do
    /// not have this attribute.
    pub const SOURCE: &'static str = "curfew_source";
    /// The attribute with the issuer of the identity provider; only sessions from an identity provider have this
    /// attribute.
    pub const ISSUER: &'static str = "curfew_issuer";
    /// The attribute with the subject's groups.
    pub const GROUPS: &'static str = "groups";

    /// The attribute with the value [`Attributes::UNKNOWN`] if Curfew does not know the subject's groups.
    pub const GROUPS_STATE: &'static str = "curfew_groups";
    /// The value of [`Attributes::GROUPS_STATE`] if the provider sent a reference instead of the groups, or a format
    /// that Curfew does not support.
    pub const UNKNOWN: &'static str = "unknown";

    /// The limit for all names and values together, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Validates attributes.
    ///
    /// # Errors
    /// [`AttributeError`] if a name is invalid, if a header cannot carry a value, or if all names and values together
    /// exceed [`Attributes::MAX_BYTES`].
    pub fn new(attributes: BTreeMap<String, Vec<String>>) -> Result<Self, AttributeError> {
        Self::from_sorted(attributes.iter().map(|(name, values)| {
            let values = values.iter().map(String::as_str);
            (name.as_str(), values)
        }))
    }

    /// Validates attributes that are already sorted by name and have no duplicates.
    ///
    /// # Errors
    /// [`AttributeError`] as for [`Attributes::new`], and for a wrong order or a duplicate name.
    pub fn from_sorted<'a, V: IntoIterator<Item = &'a str>>(
        attributes: impl IntoIterator<Item = (&'a str, V)>,
    ) -> Result<Self, AttributeError> {
        let (mut text, mut bytes, mut previous) = (String::new(), 0, "");
        for (name, values) in attributes {
            // A name is never empty, so the first name is greater than the empty `previous`.
            if !is_valid_name(name) || name <= previous {
                return Err(AttributeError::Name);
            }
            previous = name;
            text.push_str(name);
            bytes += name.len();
            for value in values {
                // A comma separates groups in the header, so a comma inside a group would forge a second group.
                if !Self::is_valid_value(value) || (name == Self::GROUPS && value.contains(',')) {
                    return Err(AttributeError::Value(name.to_owned()));
                }
                text.push(VALUE_SEPARATOR);
                text.push_str(value);
                bytes += value.len();
            }
            text.push(ATTRIBUTE_END);
        }
        if bytes > Self::MAX_BYTES {
            return Err(AttributeError::TooLarge);
        }
        Ok(Self(text.into()))
    }

    /// Whether a string is a valid attribute value.
    #[must_use]
    pub fn is_valid_value(text: &str) -> bool {
        text.len() <= 1024 && text.trim() == text && !text.chars().any(char::is_control)
    }

    /// The values of one attribute; empty if the attribute is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Values<'_> {
        let mut all = self.iter();
        let found = all.find(|(found, _)| *found == name);
        found.map_or(Values(""), |(_, values)| values)
    }

    /// Whether the subject is in one of these groups. The comparison is case-sensitive.
    #[must_use]
    pub fn is_in_any_group(&self, groups: &[String]) -> bool {
        let mut own = self.get(Self::GROUPS);
        own.any(|group| groups.iter().any(|other| other == group))
    }

    /// Whether the subject may have groups that the record does not list. If so, every variant of a policy (with
    /// tighter limits for some groups) applies, but only listed groups grant access.
    #[must_use]
    pub fn has_unknown_groups(&self) -> bool {
        self.get(Self::GROUPS_STATE)
            .any(|state| state == Self::UNKNOWN)
    }

    /// All names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Values<'_>)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (attribute, others) = split_at(rest, ATTRIBUTE_END)?;
            rest = &others[1..];
            let (name, values) = split_at(attribute, VALUE_SEPARATOR).unwrap_or((attribute, ""));
            Some((name, Values(values)))
        })
    }

    /// The approximate size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The attributes as a map, for serialisation and changes.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, Vec<String>> {
        let all = self.iter();
        all.map(|(name, values)| (name.to_owned(), values.map(str::to_owned).collect()))
            .collect()
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_map().fmt(f)
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_map().serialize(serializer)
    }
}

/// The values of an attribute, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a>(&'a str);

impl<'a> Iterator for Values<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.strip_prefix(VALUE_SEPARATOR)?;
        let (value, rest) = split_at(rest, VALUE_SEPARATOR).unwrap_or((rest, ""));
        self.0 = rest;
        Some(value)
    }
}

/// Splits before the first occurrence of an ASCII separator. The second part starts with the separator.
fn split_at(text: &str, separator: char) -> Option<(&str, &str)> {
    let position = memchr::memchr(separator as u8, text.as_bytes())?;
    text.split_at_checked(position)
}

impl<const N: usize> PartialEq<[&str; N]> for Values<'_> {
    fn eq(&self, other: &[&str; N]) -> bool {
        Iterator::eq(*self, other.iter().copied())
    }
}

fn is_valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single_attribute(name: &str, value: &str) -> Result<Attributes, AttributeError> {
        Attributes::new(BTreeMap::from([(name.to_owned(), vec![value.to_owned()])]))
    }

    #[test]
    fn accepts_valid_attributes() {
        let attributes = single_attribute("email", "alice@example.com, or so").unwrap();
        assert_eq!(attributes.get("email"), ["alice@example.com, or so"]);
        assert_eq!(attributes.get("groups").next(), None);
    }

    #[test]
    fn attributes_round_trip() {
        for map in [
            BTreeMap::new(),
            BTreeMap::from([("a".to_owned(), Vec::new())]),
            BTreeMap::from([
                ("a".to_owned(), vec![String::new(), "1".to_owned()]),
                ("ab".to_owned(), vec![String::new()]),
                ("b".to_owned(), Vec::new()),
                ("c".to_owned(), vec!["x".to_owned(), String::new()]),
            ]),
        ] {
            let attributes = Attributes::new(map.clone()).unwrap();
            assert_eq!(attributes.to_map(), map);
            for (name, values) in &map {
                assert!(Iterator::eq(attributes.get(name), values), "{name}");
            }
        }
    }

    #[test]
    fn rejects_unsorted_and_duplicate_names() {
        for names in [["b", "a"], ["a", "a"]] {
            let attributes = names.map(|name| (name, [""]));
            assert_eq!(
                Attributes::from_sorted(attributes),
                Err(AttributeError::Name)
            );
        }
    }

    #[test]
    fn rejects_invalid_attributes() {
        assert_eq!(single_attribute("E-Mail", "a"), Err(AttributeError::Name));
        assert_eq!(single_attribute("", "a"), Err(AttributeError::Name));
        for (name, value) in [
            ("email", "a\r\nX-Session-User: root"),
            ("groups", "a,b"),
            ("x", " a"),
        ] {
            assert_eq!(
                single_attribute(name, value),
                Err(AttributeError::Value(name.to_owned())),
                "{value:?}"
            );
        }
        let too_large = BTreeMap::from([("x".to_owned(), vec!["y".repeat(1024); 5])]);
        assert_eq!(Attributes::new(too_large), Err(AttributeError::TooLarge));
    }
}
