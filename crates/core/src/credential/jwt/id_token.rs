//! Verifies ID tokens (OpenID Connect Core 1.0, section 3.1.3.7), and reads the sign-in from them.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::claims::{find, time};
use super::invalid::InvalidJwt;
use super::keys::KeySet;
use super::verify::{Issuer, TokenPurpose};
use crate::session::{Attributes, ClaimsInToken, Subject, Timestamp};

/// The claims of a verified ID token. Only [`Issuer::verify_id_token`] creates it.
pub struct VerifiedIdToken {
    claims: Map<String, Value>,
    subject: String,
    issued: Timestamp,
}

impl VerifiedIdToken {
    /// The provider's name for the subject (`sub`).
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

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
    /// Verifies an ID token at `now`. It must have this `nonce`; `None` is for a refreshed ID token, which may have any
    /// or none (OpenID Connect Core 1.0, section 12.2).
    ///
    /// # Errors
    /// [`InvalidJwt`] with the reason; for [`InvalidJwt::UnknownKey`] newer keys may help.
    pub fn verify_id_token(
        &self,
        token: &str,
        keys: &KeySet,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<VerifiedIdToken, InvalidJwt> {
        let claims = self.verified_claims(token, keys, TokenPurpose::Identity)?;
        // A token with an event is a notice, whatever its `typ` (RFC 8725 3.12).
        if claims.contains_key("events") {
            return Err(InvalidJwt::Type);
        }
        let times = self.check(&claims, now)?;
        self.check_authorized_party(&claims)?;
        let issued = times.issued.ok_or(InvalidJwt::NoIssueTime)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if let Some(nonce) = nonce {
            let found = text("nonce").ok_or(InvalidJwt::Nonce)?;
            if !bool::from(found.as_bytes().ct_eq(nonce.as_bytes())) {
                return Err(InvalidJwt::Nonce);
            }
        }
        let subject = text("sub").filter(|subject| !subject.is_empty());
        let subject = subject.ok_or(InvalidJwt::Subject)?.to_owned();
        Ok(VerifiedIdToken {
            claims,
            subject,
            issued,
        })
    }

    /// Validates the authorized party (`azp`). A token with several audiences must name it.
    fn check_authorized_party(&self, claims: &Map<String, Value>) -> Result<(), InvalidJwt> {
        let several = matches!(claims.get("aud"), Some(Value::Array(all)) if all.len() > 1);
        let party = claims.get("azp").and_then(Value::as_str);
        let ours = |party: &str| self.audiences.iter().any(|own| own == party);
        if party.map_or(several, |party| !ours(party)) {
            return Err(InvalidJwt::Audience);
        }
        Ok(())
    }

    /// The configured claims that an ID token contains.
    #[must_use]
    pub fn claims_in(&self, id_token: &VerifiedIdToken) -> ClaimsInToken {
        let has = |claim: &str| find(&id_token.claims, claim).is_some();
        ClaimsInToken {
            subject: has(&self.claims.subject),
            groups: has(&self.claims.groups),
            email: has(&self.claims.email),
        }
    }

    /// The sign-in of an ID token, with additional claims from the UserInfo endpoint. Claims of the token take
    /// precedence.
    ///
    /// # Errors
    /// [`InvalidJwt`] if `auth_time` is invalid, or if the subject is missing or invalid.
    pub fn signed_in(
        &self,
        id_token: VerifiedIdToken,
        more: Map<String, Value>,
        now: Timestamp,
    ) -> Result<SignedIn, InvalidJwt> {
        let own = id_token.claims;
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
            issued: id_token.issued.min(now),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::credential::jwt::Claims;
    use crate::testing::jwt::{SigningKey, key_set};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);
    const NONCE: &str = "n-1";

    fn issuer(subject: &str) -> Issuer {
        Issuer {
            issuer: "https://id.example.com".to_owned(),
            audiences: vec!["curfew".to_owned()],
            algorithms: vec![jsonwebtoken::Algorithm::EdDSA],
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

    /// The claims of a valid ID token, with these claims added or replaced.
    fn with(changes: &Value) -> Value {
        let mut claims = json!({
            "iss": "https://id.example.com", "aud": "curfew", "sub": "alice", "nonce": NONCE,
            "iat": 999_990, "exp": 1_000_600, "auth_time": 999_900,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// Why a token is refused with this key of the issuer.
    fn refusal(token: &str, key: &SigningKey) -> Option<InvalidJwt> {
        let keys = key_set(&[key]);
        let verified = issuer("sub").verify_id_token(token, &keys, Some(NONCE), NOW);
        verified.err()
    }

    fn read(subject: &str, changes: &Value, more: Value) -> Result<SignedIn, InvalidJwt> {
        let (issuer, key) = (issuer(subject), SigningKey::ed25519("a"));
        let (token, keys) = (key.token(&with(changes)), key_set(&[&key]));
        let id_token = issuer.verify_id_token(&token, &keys, Some(NONCE), NOW)?;
        let Value::Object(more) = more else {
            panic!("{more}")
        };
        issuer.signed_in(id_token, more, NOW)
    }

    /// OpenID Connect Core 1.0, section 3.1.3.7, steps 2 to 11.
    #[test]
    fn validates_the_claims_of_an_id_token() {
        use InvalidJwt::{Audience, Expired, Issuer, Malformed, Nonce, NotYet, Subject, Type};
        let key = SigningKey::ed25519("a");
        for (changes, expected) in [
            (json!({}), None),
            (json!({ "aud": ["curfew"] }), None),
            (json!({ "aud": ["curfew", "api"], "azp": "curfew" }), None),
            (json!({ "aud": ["curfew", "api"] }), Some(Audience)),
            (json!({ "aud": "api" }), Some(Audience)),
            (json!({ "aud": "Curfew" }), Some(Audience)),
            (json!({ "azp": "other" }), Some(Audience)),
            (json!({ "iss": "https://evil.example" }), Some(Issuer)),
            (json!({ "iss": "https://id.example.com/" }), Some(Issuer)),
            // The leeway is 30 s.
            (json!({ "exp": 999_971 }), None),
            (json!({ "exp": 999_970 }), Some(Expired)),
            (json!({ "exp": "later" }), Some(Malformed)),
            (json!({ "iat": 1_000_030 }), None),
            (json!({ "iat": 1_000_031 }), Some(NotYet)),
            (json!({ "nbf": 1_000_031 }), Some(NotYet)),
            (json!({ "nonce": "n-2" }), Some(Nonce)),
            (json!({ "nonce": "n-10" }), Some(Nonce)),
            (json!({ "nonce": "" }), Some(Nonce)),
            (json!({ "nonce": ["n-1"] }), Some(Nonce)),
            (json!({ "sub": "" }), Some(Subject)),
            (json!({ "sub": 7 }), Some(Subject)),
            (json!({ "events": {} }), Some(Type)),
        ] {
            let found = refusal(&key.token(&with(&changes)), &key);
            assert_eq!(found, expected, "{changes}");
        }
    }

    #[test]
    fn requires_the_claims_of_an_id_token() {
        use InvalidJwt::{Audience, Expired, Issuer, NoIssueTime, Nonce, Subject};
        let key = SigningKey::ed25519("a");
        for (name, expected) in [
            ("iss", Issuer),
            ("aud", Audience),
            ("exp", Expired),
            ("iat", NoIssueTime),
            ("nonce", Nonce),
            ("sub", Subject),
        ] {
            let mut claims = with(&json!({}));
            claims.as_object_mut().unwrap().remove(name).unwrap();
            assert_eq!(refusal(&key.token(&claims), &key), Some(expected), "{name}");
        }
    }

    #[test]
    fn validates_the_signature_and_the_header() {
        let (key, other) = (SigningKey::ed25519("a"), SigningKey::ed25519("a"));
        let claims = with(&json!({}));
        assert_eq!(
            refusal(&other.token(&claims), &key),
            Some(InvalidJwt::Signature)
        );
        let unknown = SigningKey::ed25519("b");
        assert_eq!(
            refusal(&unknown.token(&claims), &key),
            Some(InvalidJwt::UnknownKey)
        );
        for (header, expected) in [
            (json!({ "alg": "EdDSA" }), None),
            (json!({ "alg": "EdDSA", "typ": "JWT" }), None),
            (json!({ "alg": "EdDSA", "typ": "application/JOSE" }), None),
            (
                json!({ "alg": "EdDSA", "typ": "at+jwt" }),
                Some(InvalidJwt::Type),
            ),
            (
                json!({ "alg": "EdDSA", "typ": "logout+jwt" }),
                Some(InvalidJwt::Type),
            ),
            (json!({ "alg": "none" }), Some(InvalidJwt::Algorithm)),
            (json!({ "alg": "HS256" }), Some(InvalidJwt::Algorithm)),
            (json!({ "alg": "ES256" }), Some(InvalidJwt::Algorithm)),
            (
                json!({ "alg": "EdDSA", "cty": "JWT" }),
                Some(InvalidJwt::Malformed),
            ),
            (
                json!({ "alg": "EdDSA", "crit": ["exp"] }),
                Some(InvalidJwt::Malformed),
            ),
        ] {
            let found = refusal(&key.sign(&header, &claims), &key);
            assert_eq!(found, expected, "{header}");
        }
    }

    /// A refreshed ID token need not have the nonce of the sign-in (section 12.2).
    #[test]
    fn a_refreshed_id_token_may_have_any_nonce() {
        let key = SigningKey::ed25519("a");
        let keys = key_set(&[&key]);
        let mut without = with(&json!({}));
        without.as_object_mut().unwrap().remove("nonce").unwrap();
        for claims in [with(&json!({})), with(&json!({ "nonce": "x" })), without] {
            let token = key.token(&claims);
            let verified = issuer("email").verify_id_token(&token, &keys, None, NOW);
            assert_eq!(verified.unwrap().subject(), "alice", "{claims}");
        }
    }

    /// The provider sends ID tokens, so they may be larger than a credential of a client.
    #[test]
    fn an_id_token_may_list_many_groups() {
        let key = SigningKey::ed25519("a");
        let token = |bytes: usize| key.token(&with(&json!({ "x": "y".repeat(bytes) })));
        let large = token(20 * 1024);
        assert_eq!(refusal(&large, &key), None);
        let as_credential = issuer("sub").verify(&large, &key_set(&[&key]), NOW);
        assert_eq!(as_credential.err(), Some(InvalidJwt::TooLarge));
        let found = refusal(&token(1024 * 1024), &key);
        assert_eq!(found, Some(InvalidJwt::TooLarge));
    }

    #[test]
    fn finds_the_configured_claims_in_an_id_token() {
        let key = SigningKey::ed25519("a");
        let token = key.token(&with(&json!({ "groups": null })));
        let (issuer, keys) = (issuer("sub"), key_set(&[&key]));
        let verified = issuer.verify_id_token(&token, &keys, Some(NONCE), NOW);
        let expected = ClaimsInToken {
            subject: true,
            groups: true,
            email: false,
        };
        assert_eq!(issuer.claims_in(&verified.unwrap()), expected);
    }

    #[test]
    fn token_claims_take_precedence_over_user_info() {
        let more = json!({ "sub": "alice", "email": "a@example.com", "groups": ["staff"] });
        let changes = json!({ "email": "alice@example.com" });
        let read = read("sub", &changes, more).unwrap();
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
            let by_email = read("email", &claims, json!({}));
            let refusal = (!counts).then_some(InvalidJwt::UnverifiedEmail);
            assert_eq!(by_email.err(), refusal, "{claims}");
            let by_sub = read("sub", &claims, json!({})).unwrap();
            let emails = usize::from(counts);
            assert_eq!(by_sub.attributes.get("email").count(), emails, "{claims}");
        }
        // UserInfo's flag counts if the token has none.
        let claims = json!({ "email": "a@example.com" });
        let more = json!({ "email_verified": "false" });
        let refused = read("email", &claims, more).err();
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
            let read = read("sub", &own, more).unwrap();
            assert_eq!(read.attributes.has_unknown_groups(), unknown, "{case}");
        }
    }
}
