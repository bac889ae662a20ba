//! Compares a session with the provider's response to a refresh (OpenID Connect Core 1.0, section 12.2).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::InvalidJwt;
use super::verify::Issuer;
use crate::credential::derived_id::derive_id;
use crate::session::{Attributes, ClaimsInToken, Registration, Session};

/// The result of a refresh for a session's subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    /// The provider confirms the subject, with these attributes.
    SameSubject(Attributes),
    /// The response is about another subject.
    OtherSubject,
}

impl Issuer {
    /// Returns the identifier for the registration of this OAuth client at this issuer.
    #[must_use]
    pub fn registration(&self, client_id: &str) -> Registration {
        let texts = ["registration", &self.issuer, client_id];
        let hash = derive_id("jwt", &texts.map(str::as_bytes));
        let mut bytes = [0; Registration::LEN];
        bytes.copy_from_slice(&hash.as_bytes()[..Registration::LEN]);
        Registration::from_bytes(bytes)
    }

    /// Compares a session with a refreshed ID token, which the caller has verified. `sub` and `signed_in` come from
    /// this token. The session keeps the time of its authentication.
    ///
    /// # Errors
    /// [`InvalidJwt`] if the attributes are too large for a record.
    pub fn compare_id_token(
        &self,
        sub: &str,
        signed_in: &super::ProviderSignIn,
        session: &Session,
    ) -> Result<RefreshResult, InvalidJwt> {
        if !self.is_subject_of(sub, session) || signed_in.subject != session.subject {
            return Ok(RefreshResult::OtherSubject);
        }
        let none = ClaimsInToken::default();
        let merged = merge_attributes(&session.attributes, &signed_in.attributes, none);
        merged
            .map(RefreshResult::SameSubject)
            .ok_or(InvalidJwt::Subject)
    }

    /// Compares a session with a UserInfo response. The session keeps the claims that came from the ID token of the
    /// sign-in.
    ///
    /// # Errors
    /// [`InvalidJwt`] if the subject is missing or invalid, or if the attributes are too large for a record.
    pub fn compare_user_info(
        &self,
        claims: &Map<String, Value>,
        in_id_token: ClaimsInToken,
        session: &Session,
    ) -> Result<RefreshResult, InvalidJwt> {
        let sub = claims.get("sub").and_then(Value::as_str);
        let sub = sub.ok_or(InvalidJwt::Subject)?;
        let is_other_subject = !in_id_token.subject && self.subject(claims)? != session.subject;
        if !self.is_subject_of(sub, session) || is_other_subject {
            return Ok(RefreshResult::OtherSubject);
        }
        let newer = self.attributes(claims, "login")?;
        let merged = merge_attributes(&session.attributes, &newer, in_id_token);
        merged
            .map(RefreshResult::SameSubject)
            .ok_or(InvalidJwt::Subject)
    }

    /// Returns whether the session belongs to the subject `sub` of the provider.
    #[must_use]
    pub fn is_subject_of(&self, sub: &str, session: &Session) -> bool {
        let name = self.provider_user_subject(sub);
        session.provider_names().any(|known| known == name)
    }
}

/// Replaces the attributes of a session with the provider's newer values. The result keeps the old values of the
/// source, the issuer, the pseudo-subjects of the provider, and the claims in `kept_claims`. Returns `None` if the
/// result is too large for a record.
fn merge_attributes(
    before: &Attributes,
    newer: &Attributes,
    kept_claims: ClaimsInToken,
) -> Option<Attributes> {
    let (before, mut merged) = (before.to_map(), newer.to_map());
    let mut kept_names = vec![Attributes::PROVIDER, Attributes::SOURCE, Attributes::ISSUER];
    if kept_claims.groups {
        kept_names.extend([Attributes::GROUPS, Attributes::GROUPS_STATE]);
    }
    if kept_claims.email {
        kept_names.push("email");
    }
    // A refreshed token may omit the names of the person. The session then keeps the old names, because no decision
    // depends on a name.
    let optional = ["name", "preferred_username"];
    kept_names.extend(
        optional
            .into_iter()
            .filter(|name| !merged.contains_key(*name)),
    );
    for name in kept_names {
        set_or_remove(&mut merged, name, before.get(name));
    }
    Attributes::new(merged).ok()
}

fn set_or_remove(
    attributes: &mut BTreeMap<String, Vec<String>>,
    name: &str,
    values: Option<&Vec<String>>,
) {
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

    /// Returns a session of `alice` with these attributes. The session began with a sign-in through Curfew.
    fn session_with(attributes: &Value) -> Session {
        let mut attributes: BTreeMap<String, Vec<String>> =
            serde_json::from_value(attributes.clone()).unwrap();
        let names = vec![
            issuer().provider_session_subject("one").to_string(),
            issuer().provider_user_subject("alice").to_string(),
        ];
        attributes.insert("provider".to_owned(), names);
        attributes.insert("curfew_source".to_owned(), vec!["login".to_owned()]);
        let mut session = session_of("alice", START);
        session.attributes = Attributes::new(attributes).unwrap();
        session
    }

    /// Compares a session with a UserInfo response. `kept` has one bit for each claim that came from the ID token
    /// of the sign-in.
    fn refresh_with_user_info(claims: &Value, kept: u8) -> Result<RefreshResult, InvalidJwt> {
        let before = json!({ "groups": ["staff"], "email": ["a@example.com"], "name": ["Alice"] });
        let kept = ClaimsInToken::from_bits(kept);
        issuer().compare_user_info(claims.as_object().unwrap(), kept, &session_with(&before))
    }

    #[test]
    fn user_info_replaces_only_attributes_that_came_from_user_info() {
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
            let mut response = claims.clone();
            response["sub"] = json!("alice");
            let Ok(RefreshResult::SameSubject(attributes)) =
                refresh_with_user_info(&response, kept)
            else {
                panic!("{response}");
            };
            let now: Vec<&str> = attributes.get("groups").collect();
            assert_eq!(now, groups, "{response} {kept}");
            assert_eq!(attributes.get("email").next(), email, "{response} {kept}");
            assert_eq!(attributes.get("name"), ["Alice"]);
            assert_eq!(attributes.get("curfew_source"), ["login"]);
            assert_eq!(
                attributes.get("provider").count(),
                2,
                "the pseudo-subjects of the provider should not change"
            );
        }
        assert_eq!(
            refresh_with_user_info(&json!({ "sub": "bob" }), 1),
            Ok(RefreshResult::OtherSubject)
        );
        assert_eq!(
            refresh_with_user_info(&json!({}), 1),
            Err(InvalidJwt::Subject)
        );
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
