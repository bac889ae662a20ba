//! What the backend is told of who is there.

mod assertion;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::session::{Attributes, Session, SessionId, Values};

pub use assertion::{AssertionKey, AssertionKeyError, AssertionSigner};

/// Who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The subject.
    pub user: &'a str,
    /// The attribute `preferred_username`.
    pub preferred_username: &'a str,
    /// The attribute `name`.
    pub name: &'a str,
    /// The first value of the attribute `email`.
    pub email: &'a str,
    /// The attribute `groups`.
    pub groups: Values<'a>,
    /// The session's name.
    pub id: String,
    /// The session's home policy.
    pub policy: &'a str,
}

impl<'a> Identity<'a> {
    /// Whoever has this session.
    #[must_use]
    pub fn of(id: SessionId, session: &'a Session) -> Self {
        let mut identity = Self {
            user: session.subject.as_str(),
            id: id.to_string(),
            policy: session.policy.as_str(),
            ..Self::default()
        };
        for (name, mut values) in session.attributes.iter() {
            let place = match name {
                "preferred_username" => &mut identity.preferred_username,
                "name" => &mut identity.name,
                "email" => &mut identity.email,
                Attributes::GROUPS => {
                    identity.groups = values;
                    continue;
                }
                _ => continue,
            };
            *place = values.next().unwrap_or_default();
        }
        identity
    }

    /// The groups, with commas between them.
    #[must_use]
    pub fn joined_groups(&self) -> String {
        let mut joined = String::new();
        for (place, group) in self.groups.enumerate() {
            if place > 0 {
                joined.push(',');
            }
            joined.push_str(group);
        }
        joined
    }
}

/// Under which names the backend is told who is there.
///
/// Every header is always written, empty where nothing is known: on Envoy and HAProxy one that is
/// absent would leave a client's forged value in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The subject.
    pub user: Vec<HeaderName>,
    /// What the subject likes to be called by when signing in.
    pub preferred_username: Vec<HeaderName>,
    /// The subject's name for people.
    pub name: Vec<HeaderName>,
    /// The subject's email address.
    pub email: Vec<HeaderName>,
    /// The groups, with commas between them.
    pub groups: Vec<HeaderName>,
    /// The groups, each in a line of its own.
    pub group_lines: Vec<HeaderName>,
    /// The session's name.
    pub id: Vec<HeaderName>,
    /// The session's home policy.
    pub policy: Vec<HeaderName>,
    /// What other services may say besides.
    pub relayed: Vec<HeaderName>,
}

impl IdentityHeaders {
    /// Curfew's own names.
    #[must_use]
    pub fn x_session() -> Self {
        let name = |text| vec![HeaderName::from_static(text)];
        Self {
            user: name("x-session-user"),
            groups: name("x-session-groups"),
            email: name("x-session-email"),
            id: name("x-session-id"),
            policy: name("x-session-policy"),
            ..Self::default()
        }
    }

    /// Writes who is there; where nobody is, the same headers, all of them empty.
    pub fn write(&self, headers: &mut HeaderMap, identity: &Identity<'_>) {
        let groups = identity.joined_groups();
        for (names, text) in [
            (&self.user, identity.user),
            (&self.preferred_username, identity.preferred_username),
            (&self.name, identity.name),
            (&self.groups, &groups),
            (&self.email, identity.email),
            (&self.id, &identity.id),
            (&self.policy, identity.policy),
        ] {
            for name in names {
                headers.insert(name.clone(), value(text));
            }
        }
        for name in &self.group_lines {
            let mut groups = identity.groups;
            let first = groups.next().unwrap_or_default();
            headers.insert(name.clone(), value(first));
            for group in groups {
                headers.append(name.clone(), value(group));
            }
        }
        // A credential of the client's own is the backend's to judge, and says nothing by itself.
        for name in self.relayed.iter().filter(|name| **name != AUTHORIZATION) {
            headers.insert(name.clone(), HeaderValue::from_static(""));
        }
    }
}

/// Subjects and attributes hold no control characters, so all of them can be written.
fn value(text: &str) -> HeaderValue {
    let value = HeaderValue::from_bytes(text.as_bytes());
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(headers: &IdentityHeaders, identity: &Identity<'_>) -> HeaderMap {
        let mut map = HeaderMap::new();
        headers.write(&mut map, identity);
        map
    }

    #[test]
    fn every_header_is_always_there() {
        let headers = IdentityHeaders {
            group_lines: vec![HeaderName::from_static("impersonate-group")],
            relayed: vec![HeaderName::from_static("x-token"), AUTHORIZATION],
            ..IdentityHeaders::x_session()
        };
        let nobody = written(&headers, &Identity::default());
        assert_eq!(nobody.len(), 7);
        assert!(nobody.values().all(|value| value.is_empty()), "{nobody:?}");
        assert!(!nobody.contains_key(AUTHORIZATION));
        let attributes = Attributes::sorted([("groups", ["staff", "admin"])]).unwrap();
        let identity = Identity {
            user: "Zoë",
            email: "zoe@example.com",
            groups: attributes.get("groups"),
            ..Identity::default()
        };
        let somebody = written(&headers, &identity);
        assert_eq!(somebody["x-session-user"].as_bytes(), "Zoë".as_bytes());
        assert_eq!(somebody["x-session-email"], "zoe@example.com");
        assert_eq!(somebody["x-session-groups"], "staff,admin");
        assert_eq!(somebody["x-session-id"], "");
        let lines: Vec<_> = somebody.get_all("impersonate-group").iter().collect();
        assert_eq!(lines, ["staff", "admin"]);
    }
}
