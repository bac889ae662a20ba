//! Reads the subject's claims after a refresh (OpenID Connect Core 1.0, section 12.2).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::invalid::InvalidJwt;
use super::verify::Issuer;
use crate::credential::derived_id::derive_id;
use crate::session::{Attributes, ClaimsInToken, Registration, Session};

/// The result of a refresh for a session's subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The provider confirms the subject, with these attributes.
    Same(Attributes),
    /// The provider names another subject.
    Other,
}

impl Issuer {
    /// The registration of the client with this ID at this issuer.
    #[must_use]
    pub fn registration(&self, client_id: &str) -> Registration {
        let texts = ["registration", &self.issuer, client_id];
        let hash = derive_id("jwt", &texts.map(str::as_bytes));
        let mut bytes = [0; Registration::LEN];
        bytes.copy_from_slice(&hash.as_bytes()[..Registration::LEN]);
        Registration::from_bytes(bytes)
    }

    /// Interprets a refreshed ID token with this `sub` for a session. The caller has verified the token. The time of
    /// the authentication stays as it was.
    ///
    /// # Errors
    /// [`InvalidJwt`] if the attributes are too large for a record.
    pub fn refreshed(
        &self,
        sub: &str,
        signed_in: &super::SignedIn,
        session: &Session,
    ) -> Result<Refreshed, InvalidJwt> {
        if !self.is_of(sub, session) || signed_in.subject != session.subject {
            return Ok(Refreshed::Other);
        }
        let none = ClaimsInToken::default();
        let renewed = renewed(&session.attributes, &signed_in.attributes, none);
        renewed.map(Refreshed::Same).ok_or(InvalidJwt::Subject)
    }

    /// Interprets a UserInfo response for a session. Claims from the ID token of the sign-in stay.
    ///
    /// # Errors
    /// [`InvalidJwt`] if the subject is missing or invalid.
    pub fn refreshed_by_user_info(
        &self,
        claims: &Map<String, Value>,
        in_id_token: ClaimsInToken,
        session: &Session,
    ) -> Result<Refreshed, InvalidJwt> {
        let sub = claims.get("sub").and_then(Value::as_str);
        let sub = sub.ok_or(InvalidJwt::Subject)?;
        let is_other = !in_id_token.subject && self.subject(claims)? != session.subject;
        if !self.is_of(sub, session) || is_other {
            return Ok(Refreshed::Other);
        }
        let newer = self.attributes(claims, "login")?;
        let renewed = renewed(&session.attributes, &newer, in_id_token);
        renewed.map(Refreshed::Same).ok_or(InvalidJwt::Subject)
    }

    /// Whether the session belongs to this subject of the provider.
    fn is_of(&self, sub: &str, session: &Session) -> bool {
        let name = self.provider_subject(sub);
        session.provider_names().any(|known| known == name)
    }
}

/// The attributes of a session with the provider's newer values. The source of the session stays, and so do the
/// claims that are `kept`. `None` if the result is too large for a record.
fn renewed(before: &Attributes, newer: &Attributes, kept: ClaimsInToken) -> Option<Attributes> {
    let (before, mut renewed) = (before.to_map(), newer.to_map());
    let mut keep = vec![Attributes::PROVIDER, Attributes::SOURCE, Attributes::ISSUER];
    if kept.groups {
        keep.extend([Attributes::GROUPS, Attributes::GROUPS_STATE]);
    }
    if kept.email {
        keep.push("email");
    }
    // A refreshed token may omit the claims that no decision depends on.
    let optional = ["name", "preferred_username"];
    keep.extend(
        optional
            .into_iter()
            .filter(|name| !renewed.contains_key(*name)),
    );
    for name in keep {
        put(&mut renewed, name, before.get(name));
    }
    Attributes::new(renewed).ok()
}

fn put(attributes: &mut BTreeMap<String, Vec<String>>, name: &str, values: Option<&Vec<String>>) {
    match values {
        Some(values) => attributes.insert(name.to_owned(), values.clone()),
        None => attributes.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::jwt::issuer;
    use crate::testing::{START, session_of};

    fn session(attributes: &Value) -> Session {
        let mut attributes: BTreeMap<String, Vec<String>> =
            serde_json::from_value(attributes.clone()).unwrap();
        let names = vec![
            issuer().provider_session("one").to_string(),
            issuer().provider_subject("alice").to_string(),
        ];
        attributes.insert("provider".to_owned(), names);
        attributes.insert("curfew_source".to_owned(), vec!["login".to_owned()]);
        let mut session = session_of("alice", START);
        session.attributes = Attributes::new(attributes).unwrap();
        session
    }

    fn by_user_info(claims: &Value, kept: u8) -> Result<Refreshed, InvalidJwt> {
        let before = json!({ "groups": ["staff"], "email": ["a@example.com"], "name": ["Alice"] });
        let kept = ClaimsInToken::from_bits(kept);
        issuer().refreshed_by_user_info(claims.as_object().unwrap(), kept, &session(&before))
    }

    /// Without an ID token, UserInfo replaces only the attributes that came from UserInfo at the sign-in.
    #[test]
    fn user_info_replaces_only_its_own_claims() {
        const SUBJECT: u8 = 1;
        const GROUPS: u8 = 2;
        const EMAIL: u8 = 4;
        for (claims, kept, groups, email) in [
            (
                json!({ "groups": ["admins"] }),
                SUBJECT,
                vec!["admins"],
                None,
            ),
            (json!({}), SUBJECT, vec![], None),
            (
                json!({ "groups": ["admins"] }),
                SUBJECT | GROUPS,
                vec!["staff"],
                None,
            ),
            (json!({}), SUBJECT | EMAIL, vec![], Some("a@example.com")),
            (
                json!({ "groups": ["admins"], "email": "b@example.com" }),
                0,
                vec!["admins"],
                Some("b@example.com"),
            ),
        ] {
            let mut said = claims.clone();
            said["sub"] = json!("alice");
            let Ok(Refreshed::Same(attributes)) = by_user_info(&said, kept) else {
                panic!("{said}");
            };
            let now: Vec<&str> = attributes.get("groups").collect();
            assert_eq!(now, groups, "{said} {kept}");
            assert_eq!(attributes.get("email").next(), email, "{said} {kept}");
            assert_eq!(attributes.get("name"), ["Alice"]);
            assert_eq!(attributes.get("curfew_source"), ["login"]);
            assert_eq!(
                attributes.get("provider").count(),
                2,
                "the session at the provider, too"
            );
        }
        assert_eq!(
            by_user_info(&json!({ "sub": "bob" }), 1),
            Ok(Refreshed::Other)
        );
        assert_eq!(by_user_info(&json!({}), 1), Err(InvalidJwt::Subject));
    }

    #[test]
    fn a_registration_is_unique_per_issuer_and_client() {
        let registration = |issuer_url: &str, client: &str| {
            Issuer {
                issuer: issuer_url.to_owned(),
                ..issuer()
            }
            .registration(client)
        };
        let own = registration("https://id.example.com", "curfew");
        assert_eq!(own, registration("https://id.example.com", "curfew"));
        assert_ne!(own, registration("https://id.example.com", "other"));
        assert_ne!(own, registration("https://id.example.org", "curfew"));
    }
}
