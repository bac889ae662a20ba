//! Reads the sign-in from an ID token (OpenID Connect Core 1.0, section 2) after its signature, nonce and audience
//! are verified.

use serde_json::{Map, Value};

use super::claims::{part, time};
use super::invalid::InvalidJwt;
use super::verify::Issuer;
use crate::session::{Attributes, Subject, Timestamp};

/// A sign-in at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The subject that signed in.
    pub subject: Subject,
    /// Properties of the subject.
    pub attributes: Attributes,
    /// When the subject authenticated (`auth_time`); `None` if the provider does not send it.
    pub authenticated: Option<Timestamp>,
    /// When the provider issued the token (`iat`).
    pub issued: Timestamp,
}

impl Issuer {
    /// The sign-in of a verified ID token, with additional claims from the UserInfo endpoint. Claims of the token
    /// take precedence.
    ///
    /// # Errors
    /// [`InvalidJwt`] if the times, the issuer or the parties are wrong, or if the subject is missing or invalid.
    pub fn signed_in(
        &self,
        id_token: &str,
        more: Map<String, Value>,
        now: Timestamp,
    ) -> Result<SignedIn, InvalidJwt> {
        let own = part(id_token, 1)?;
        let times = self.check(&own, now)?;
        // A token with several audiences must name its authorized party (section 3.1.3.7).
        let several = matches!(own.get("aud"), Some(Value::Array(all)) if all.len() > 1);
        let party = own.get("azp").and_then(Value::as_str);
        let ours = |party: &str| self.audiences.iter().any(|own| own == party);
        if party.map_or(several, |party| !ours(party)) {
            return Err(InvalidJwt::Audience);
        }
        let authenticated = time(&own, "auth_time")?;
        let mut claims = more;
        // The ID token and UserInfo can both have a reference instead of the groups.
        let references = claims.remove("_claim_names");
        claims.extend(own);
        if let Some(Value::Object(others)) = references {
            match claims.get_mut("_claim_names") {
                Some(Value::Object(names)) => names.extend(others),
                _ => {
                    claims.insert("_claim_names".to_owned(), Value::Object(others));
                }
            }
        }
        Ok(SignedIn {
            subject: self.subject(&claims)?,
            attributes: self.attributes(&claims, "login")?,
            authenticated: authenticated.map(|at| at.min(now)),
            issued: times.issued.unwrap_or(now).min(now),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::credential::jwt::Claims;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn issuer(subject: &str) -> Issuer {
        Issuer {
            issuer: "https://id.example.com".to_owned(),
            audiences: vec!["curfew".to_owned()],
            algorithms: vec![jsonwebtoken::Algorithm::RS256],
            typ: None,
            leeway: Duration::from_secs(30),
            accepts_iat: false,
            claims: Claims {
                session: vec!["sid".to_owned()],
                subject: subject.to_owned(),
                groups: "groups".to_owned(),
                email: "email".to_owned(),
            },
        }
    }

    fn read(subject: &str, changes: Value, more: Value) -> Result<SignedIn, InvalidJwt> {
        let mut claims = json!({
            "iss": "https://id.example.com", "aud": "curfew", "sub": "alice",
            "iat": 999_990, "exp": 1_000_600, "auth_time": 999_900,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let Value::Object(more) = more else {
            panic!("{more}")
        };
        issuer(subject).signed_in(&token, more, NOW)
    }

    #[test]
    fn token_claims_take_precedence_over_user_info() {
        let more = json!({ "sub": "alice", "email": "a@example.com", "groups": ["staff"] });
        let read = read("sub", json!({ "email": "alice@example.com" }), more).unwrap();
        assert_eq!(read.subject.as_str(), "alice");
        assert_eq!(read.attributes.get("email"), ["alice@example.com"]);
        assert_eq!(read.attributes.get("groups"), ["staff"]);
        assert_eq!(
            read.authenticated,
            Some(Timestamp::from_millis(999_900_000))
        );
        assert_eq!(read.issued, Timestamp::from_millis(999_990_000));
    }

    #[test]
    fn rejects_a_token_for_another_audience() {
        use InvalidJwt::{Audience, Expired, Issuer, NotYet, Subject};
        for (changes, refused) in [
            (json!({ "aud": ["curfew"] }), None),
            (json!({ "aud": ["curfew", "api"], "azp": "curfew" }), None),
            (json!({ "aud": ["curfew", "api"] }), Some(Audience)),
            (json!({ "aud": "api" }), Some(Audience)),
            (json!({ "azp": "other" }), Some(Audience)),
            (json!({ "iss": "https://evil.example" }), Some(Issuer)),
            (json!({ "exp": 999_960 }), Some(Expired)),
            (json!({ "iat": 1_000_100 }), Some(NotYet)),
            (json!({ "sub": "" }), Some(Subject)),
        ] {
            let refusal = read("sub", changes.clone(), json!({})).err();
            assert_eq!(refusal, refused, "{changes}");
        }
    }

    #[test]
    fn an_unverified_email_is_neither_subject_nor_attribute() {
        for (verified, counts) in [
            (json!(true), true),
            (json!("true"), true),
            (json!("True"), true),
            (json!(null), true),
            (json!(false), false),
            (json!("false"), false),
            (json!("no"), false),
            (json!(0), false),
            (json!([]), false),
        ] {
            let claims = json!({ "email": "a@example.com", "email_verified": verified });
            let by_email = read("email", claims.clone(), json!({}));
            let refusal = (!counts).then_some(InvalidJwt::UnverifiedEmail);
            assert_eq!(by_email.err(), refusal, "{claims}");
            let by_sub = read("sub", claims.clone(), json!({})).unwrap();
            let emails = usize::from(counts);
            assert_eq!(by_sub.attributes.get("email").count(), emails, "{claims}");
        }
        // UserInfo's flag counts if the token has none.
        let claims = json!({ "email": "a@example.com" });
        let more = json!({ "email_verified": "false" });
        let refused = read("email", claims, more).err();
        assert_eq!(refused, Some(InvalidJwt::UnverifiedEmail));
    }

    #[test]
    fn referenced_groups_are_unknown() {
        let entra = json!({ "groups": "src1" });
        for (own, more, unknown) in [
            (json!({}), json!({}), false),
            (json!({ "groups": [] }), json!({}), false),
            (json!({ "groups": null }), json!({}), false),
            (json!({ "groups": ["staff"] }), json!({}), false),
            (json!({ "_claim_names": entra }), json!({}), true),
            (json!({}), json!({ "_claim_names": entra }), true),
            (
                json!({ "_claim_names": { "address": "src1" } }),
                json!({ "_claim_names": entra }),
                true,
            ),
            (
                json!({ "_claim_names": { "address": "src1" } }),
                json!({}),
                false,
            ),
            (json!({ "hasgroups": true }), json!({}), true),
            (json!({ "hasgroups": "true" }), json!({}), true),
            (json!({ "hasgroups": false }), json!({}), false),
            // UserInfo contained them.
            (
                json!({ "_claim_names": entra }),
                json!({ "groups": ["staff"] }),
                false,
            ),
            (json!({ "groups": { "name": "staff" } }), json!({}), true),
            (json!({ "groups": [{ "name": "staff" }] }), json!({}), true),
            (json!({ "groups": 7 }), json!({}), true),
        ] {
            let case = format!("{own} {more}");
            let read = read("sub", own, more).unwrap();
            assert_eq!(read.attributes.has_unknown_groups(), unknown, "{case}");
        }
    }
}
