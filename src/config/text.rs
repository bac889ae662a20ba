//! Types for text values that a configuration file can contain in more than one form.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::{REDACTED, Secret};
use crate::store::redis::RedisTarget;

/// A list, or one string with items separated by commas or white space, as in an environment
/// variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TextList<T>(pub Vec<T>);

impl<T> Default for TextList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> TextList<T> {
    /// Whether the list has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A list, or one string. The string is never split: it is the only item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany(pub Vec<String>);

impl OneOrMany {
    /// Whether the list has no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;

        impl<'de> Visitor<'de> for OneOrManyVisitor {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(vec![text.to_owned()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }

        deserializer.deserialize_any(OneOrManyVisitor).map(Self)
    }
}

/// The addresses of a listener: a list, or one string with items separated by commas or white space. The word `off`
/// stands for no address. `false` has the same meaning, because YAML 1.1 parses `off` without quotes as `false`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList(pub Vec<String>);

/// The word that disables a listener.
const OFF: &str = "off";

impl AddressList {
    /// Creates a list of these addresses.
    #[must_use]
    pub fn new(addresses: &[&str]) -> Self {
        Self(addresses.iter().map(|&it| it.to_owned()).collect())
    }

    /// Creates a list that disables a listener.
    #[must_use]
    pub fn off() -> Self {
        Self::new(&[OFF])
    }

    /// Whether the list disables the listener.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(&*self.0, [word] if word == OFF || word == "false")
    }
}

impl Serialize for AddressList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            [address] => serializer.serialize_str(address),
            addresses => addresses.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AddressList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected `off`, an address with a port, or a list of addresses"
        )]
        enum Form {
            Switch(bool),
            List(TextList<String>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Switch(true) => Self::new(&["true"]),
            Form::Switch(false) => Self::off(),
            Form::List(list) => Self(list.0),
        })
    }
}

/// Conversion of a string into an item of a [`TextList`].
pub trait FromText {
    /// Converts the string into an item.
    fn from_text(text: String) -> Self;
}

impl FromText for String {
    fn from_text(text: String) -> Self {
        text
    }
}

impl FromText for Secret<String> {
    fn from_text(text: String) -> Self {
        Self::new(text)
    }
}

impl<'de, T: FromText> Deserialize<'de> for TextList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings, or one string with commas between them")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                let items = text
                    .split([',', ' ', '\t', '\n'])
                    .filter(|item| !item.is_empty());
                Ok(items.map(str::to_owned).collect())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }

        let items = deserializer.deserialize_any(ListVisitor)?;
        Ok(Self(items.into_iter().map(T::from_text).collect()))
    }
}

/// Returns the URL with a redacted password and without its query. If the text is not a URL, returns `[redacted]`.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return redact_hosts(url).unwrap_or_else(|| REDACTED.to_owned());
    };
    // A query parameter can be a secret.
    parsed.set_query(None);
    if parsed.password().is_none() {
        return parsed.to_string();
    }
    match parsed.set_password(Some("redacted")) {
        Ok(()) => parsed.to_string(),
        Err(()) => REDACTED.to_owned(),
    }
}

/// Parses a URL that Curfew may print. Returns `None` if it contains a user name or a password.
#[must_use]
pub fn public_url(text: &str) -> Option<url::Url> {
    let url = url::Url::parse(text).ok()?;
    (url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// Returns the text, or `[redacted]` if it can be a URL with a user name or a password.
#[must_use]
pub fn redact_credentials(text: String) -> String {
    let has_credentials = match url::Url::parse(&text) {
        Ok(url) => !url.username().is_empty() || url.password().is_some(),
        Err(_) => text.contains("://") && text.contains('@'),
    };
    if has_credentials {
        REDACTED.to_owned()
    } else {
        text
    }
}

/// Redacts the password of a Redis URL with several hosts, which the `url` crate cannot parse.
fn redact_hosts(url: &str) -> Option<String> {
    let target = RedisTarget::parse(url).ok()?;
    let (scheme, rest) = url.split_once("://")?;
    let (user, hosts) = match rest.rsplit_once('@') {
        Some((user, hosts)) => (user.split(':').next()?, hosts),
        None => ("", rest),
    };
    Some(match target.password {
        Some(_) => format!("{scheme}://{user}:redacted@{hosts}"),
        None => url.to_owned(),
    })
}

/// A URL that may contain secrets. `Debug` and `Serialize` redact its password and omit its query.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RawUrl(pub String);

impl fmt::Debug for RawUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.0))
    }
}

impl Serialize for RawUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&redact_url(&self.0))
    }
}
