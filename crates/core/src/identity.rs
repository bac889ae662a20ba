//! The identity of a session for the back end.

mod assertion;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::session::{Attributes, Session, SessionId, Values};

pub use assertion::{AssertionKey, AssertionKeyError, AssertionSigner};

/// The identity of a session, as the back end receives it.
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
    /// The session ID, 32 hexadecimal digits.
    pub id: String,
    /// The name of the home policy, which was fixed at the sign-in.
    pub policy: &'a str,
}

impl<'a> Identity<'a> {
    /// The identity of a session's subject.
    #[must_use]
    pub fn of(id: SessionId, session: &'a Session) -> Self {
        let mut identity = Self {
            user: session.subject.as_str(),
            id: id.to_string(),
            policy: session.policy.as_str(),
            ..Self::default()
        };
        for (name, mut values) in session.attributes.iter() {
            let field = match name {
                "preferred_username" => &mut identity.preferred_username,
                "name" => &mut identity.name,
                "email" => &mut identity.email,
                Attributes::GROUPS => {
                    identity.groups = values;
                    continue;
                }
                _ => continue,
            };
            *field = values.next().unwrap_or_default();
        }
        identity
    }

    /// The groups as one string, with commas as delimiters.
    #[must_use]
    pub fn joined_groups(&self) -> String {
        let mut joined = String::new();
        for (index, group) in self.groups.enumerate() {
            if index > 0 {
                joined.push(',');
            }
            joined.push_str(group);
        }
        joined
    }
}

/// The header names for each part of the identity.
///
/// Every header is always set, to an empty value if the part is unknown. Without the header, Envoy and HAProxy would
/// pass on a value that the client forged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// Headers with the subject.
    pub user: Vec<HeaderName>,
    /// Headers with the login name (`preferred_username`).
    pub preferred_username: Vec<HeaderName>,
    /// Headers with the display name.
    pub name: Vec<HeaderName>,
    /// Headers with the email address.
    pub email: Vec<HeaderName>,
    /// Headers with the groups, with commas as delimiters.
    pub groups: Vec<HeaderName>,
    /// Headers that occur once for each group, with one group as the value.
    pub group_lines: Vec<HeaderName>,
    /// Headers with the session ID.
    pub id: Vec<HeaderName>,
    /// Headers with the name of the home policy.
    pub policy: Vec<HeaderName>,
    /// Headers whose values come from another authorization service.
    pub relayed: Vec<HeaderName>,
}

impl IdentityHeaders {
    /// Curfew's default names, `X-Session-User` and so on.
    #[must_use]
    pub fn default_names() -> Self {
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

    /// Sets all headers for an identity. For [`Identity::default`], all values are empty.
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
                headers.insert(name.clone(), header_value(text));
            }
        }
        for name in &self.group_lines {
            let mut groups = identity.groups;
            let first = groups.next().unwrap_or_default();
            headers.insert(name.clone(), header_value(first));
            for group in groups {
                headers.append(name.clone(), header_value(group));
            }
        }
        // `Authorization` is not cleared, because the client may send a credential of the application in this header.
        // The back end verifies such a credential itself.
        for name in self.relayed.iter().filter(|name| **name != AUTHORIZATION) {
            headers.insert(name.clone(), HeaderValue::from_static(""));
        }
    }
}

/// Converts a text to a header value. Subjects and attributes contain no control characters, so their text is always
/// valid in a header.
fn header_value(text: &str) -> HeaderValue {
    let value = HeaderValue::from_bytes(text.as_bytes());
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_headers(headers: &IdentityHeaders, identity: &Identity<'_>) -> HeaderMap {
        let mut map = HeaderMap::new();
        headers.write(&mut map, identity);
        map
    }

    #[test]
    fn every_header_is_always_set() {
        let headers = IdentityHeaders {
            group_lines: vec![HeaderName::from_static("impersonate-group")],
            relayed: vec![HeaderName::from_static("x-token"), AUTHORIZATION],
            ..IdentityHeaders::default_names()
        };
        let anonymous = written_headers(&headers, &Identity::default());
        assert_eq!(anonymous.len(), 7);
        assert!(
            anonymous.values().all(|value| value.is_empty()),
            "{anonymous:?}"
        );
        assert!(!anonymous.contains_key(AUTHORIZATION));
        let attributes = Attributes::from_sorted([("groups", ["staff", "admin"])]).unwrap();
        let identity = Identity {
            user: "Zoë",
            email: "zoe@example.com",
            groups: attributes.get("groups"),
            ..Identity::default()
        };
        let signed_in = written_headers(&headers, &identity);
        assert_eq!(signed_in["x-session-user"].as_bytes(), "Zoë".as_bytes());
        assert_eq!(signed_in["x-session-email"], "zoe@example.com");
        assert_eq!(signed_in["x-session-groups"], "staff,admin");
        assert_eq!(signed_in["x-session-id"], "");
        let lines: Vec<_> = signed_in.get_all("impersonate-group").iter().collect();
        assert_eq!(lines, ["staff", "admin"]);
    }
}
