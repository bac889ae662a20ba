use http::{HeaderMap, HeaderName, HeaderValue};

use crate::session::{Session, SessionId};

/// The subject.
pub(super) const USER: HeaderName = HeaderName::from_static("x-session-user");
/// The attribute `groups`, with commas between the groups.
pub(super) const GROUPS: HeaderName = HeaderName::from_static("x-session-groups");
/// The first value of the attribute `email`.
pub(super) const EMAIL: HeaderName = HeaderName::from_static("x-session-email");
/// The session's name.
pub(super) const ID: HeaderName = HeaderName::from_static("x-session-id");
/// The session's home policy.
pub(super) const POLICY: HeaderName = HeaderName::from_static("x-session-policy");

/// Tells the backend who is there. Every header is always written, empty where nothing is known:
/// on Envoy and HAProxy one that is absent would leave a client's forged value in place.
pub(super) fn write(headers: &mut HeaderMap, id: SessionId, session: &Session) {
    let email = session
        .attributes
        .get("email")
        .first()
        .map_or("", String::as_str);
    for (name, text) in [
        (USER, session.subject.as_str()),
        (GROUPS, &session.attributes.get("groups").join(",")),
        (EMAIL, email),
        (ID, &id.to_string()),
        (POLICY, session.policy.as_str()),
    ] {
        // Subjects and attributes hold no control characters, so all of them can be written.
        let value = HeaderValue::from_bytes(text.as_bytes());
        headers.insert(name, value.unwrap_or_else(|_| HeaderValue::from_static("")));
    }
}

/// Tells the backend that nobody is there: the same headers, all of them empty.
pub(super) fn write_nobody(headers: &mut HeaderMap) {
    for name in [USER, GROUPS, EMAIL, ID, POLICY] {
        headers.insert(name, HeaderValue::from_static(""));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::session::{Attributes, Binding, Limits, NewSession, PolicyName, Subject, Timestamp};

    fn written(attributes: &[(&str, &[&str])]) -> HeaderMap {
        let attributes: BTreeMap<String, Vec<String>> = attributes
            .iter()
            .map(|(name, values)| {
                (
                    (*name).to_owned(),
                    values.iter().map(|&value| value.to_owned()).collect(),
                )
            })
            .collect();
        let new = NewSession {
            subject: Subject::new("Zoë").unwrap(),
            attributes: Attributes::new(attributes).unwrap(),
            policy: PolicyName::new("default").unwrap(),
            remembered: false,
            binding: Binding::default(),
        };
        let limits = Limits {
            idle: None,
            absolute: Duration::from_secs(60),
            max_auth_age: None,
        };
        let session = Session::start(new, &limits, Duration::ZERO, Timestamp::default());
        let mut headers = HeaderMap::new();
        write(&mut headers, SessionId::from_bytes([1; 16]), &session);
        headers
    }

    #[test]
    fn every_header_is_always_there() {
        let bare = written(&[]);
        assert_eq!(bare.len(), 5);
        assert_eq!(bare[USER].as_bytes(), "Zoë".as_bytes());
        assert_eq!(
            (bare[GROUPS].as_bytes(), bare[EMAIL].as_bytes()),
            (&b""[..], &b""[..])
        );
        assert_eq!(bare[ID], "01".repeat(16));
        let full = written(&[
            ("groups", &["staff", "admin"]),
            ("email", &["zoe@example.com"]),
        ]);
        assert_eq!(full[GROUPS], "staff,admin");
        assert_eq!(full[EMAIL], "zoe@example.com");
    }
}
