//! Verifies ID tokens (OpenID Connect Core 1.0, section 3.1.3.7), and reads the data of the sign-in from them.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::claims::{find_claim, numeric_date};
use super::error::InvalidJwt;
use super::keys::KeySet;
use super::verify::{Issuer, TokenPurpose};
use crate::session::{Attributes, ClaimsInToken, Subject, Timestamp};

/// The claims of a verified ID token. Only [`Issuer::verify_id_token`] creates a value of this type.
pub struct VerifiedIdToken {
    claims: Map<String, Value>,
    subject: String,
    issued: Timestamp,
}

impl VerifiedIdToken {
    /// Returns the `sub` claim.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// A sign-in at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSignIn {
    /// The subject that signed in.
    pub subject: Subject,
    /// Properties of the subject.
    pub attributes: Attributes,
    /// When the subject authenticated (`auth_time`); `None` if the provider does not send this time.
    pub authenticated: Option<Timestamp>,
    /// When the provider issued the token (`iat`).
    pub issued: Timestamp,
}

impl Issuer {
    /// Verifies an ID token at `now`. The ID token of a sign-in must have this `nonce`. Pass `None` for a refreshed ID
    /// token. If it has a nonce, this is the nonce of the sign-in (OpenID Connect Core 1.0, section 12.2), which Curfew
    /// does not keep and therefore cannot compare.
    ///
    /// # Errors
    /// [`InvalidJwt`] with the reason. After [`InvalidJwt::UnknownKey`], the caller can try again with newer keys.
    pub fn verify_id_token(
        &self,
        token: &str,
        keys: &KeySet,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<VerifiedIdToken, InvalidJwt> {
        let claims = self.verified_claims(token, keys, TokenPurpose::Identity)?;
        // A token with `events` is a notice about a logout or a security event, even if its `typ` fits an ID token
        // (RFC 8725 3.12).
        if claims.contains_key("events") {
            return Err(InvalidJwt::Type);
        }
        let times = self.check_parties_and_times(&claims, now)?;
        self.check_authorized_party(&claims)?;
        let issued = times.issued.ok_or(InvalidJwt::NoIssueTime)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if let Some(nonce) = nonce {
            let found = text("nonce").ok_or(InvalidJwt::Nonce)?;
            if !bool::from(found.as_bytes().ct_eq(nonce.as_bytes())) {
                return Err(InvalidJwt::Nonce);
            }
            // A time in the future is rejected, because it would pass every limit on the age of the authentication.
            if numeric_date(&claims, "auth_time")?.is_some_and(|at| at > now.plus(self.leeway)) {
                return Err(InvalidJwt::NotYetValid);
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

    /// Validates the authorized party (`azp`). A token with several audiences must have this claim.
    fn check_authorized_party(&self, claims: &Map<String, Value>) -> Result<(), InvalidJwt> {
        let has_several_audiences =
            matches!(claims.get("aud"), Some(Value::Array(all)) if all.len() > 1);
        let is_ours = |party: &str| self.audiences.iter().any(|own| own == party);
        let is_wrong = match claims.get("azp") {
            None => has_several_audiences,
            Some(party) => !party.as_str().is_some_and(is_ours),
        };
        if is_wrong {
            return Err(InvalidJwt::Audience);
        }
        Ok(())
    }

    /// Returns which of the configured claims an ID token contains.
    #[must_use]
    pub fn claims_in(&self, id_token: &VerifiedIdToken) -> ClaimsInToken {
        let has = |claim: &str| find_claim(&id_token.claims, claim).is_some();
        ClaimsInToken {
            subject: has(&self.claims.subject),
            groups: has(&self.claims.groups),
            email: has(&self.claims.email),
        }
    }

    /// Returns the sign-in that an ID token describes. `user_info` has the claims from the UserInfo endpoint. If the ID
    /// token and `user_info` both have a claim, the ID token takes precedence.
    ///
    /// # Errors
    /// [`InvalidJwt`] if `auth_time` is invalid, or if the subject is missing or invalid.
    pub fn sign_in_of(
        &self,
        id_token: VerifiedIdToken,
        user_info: Map<String, Value>,
        now: Timestamp,
    ) -> Result<ProviderSignIn, InvalidJwt> {
        let token_claims = id_token.claims;
        let authenticated = numeric_date(&token_claims, "auth_time")?;
        let mut claims = user_info;
        // Both the ID token and the UserInfo response can have references instead of claims. Curfew needs the
        // references of both.
        let references = claims.remove("_claim_names");
        claims.extend(token_claims);
        if let Some(Value::Object(others)) = references {
            match claims.get_mut("_claim_names") {
                Some(Value::Object(names)) => names.extend(others),
                _ => {
                    claims.insert("_claim_names".to_owned(), Value::Object(others));
                }
            }
        }
        Ok(ProviderSignIn {
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
    use crate::credential::jwt::{ClaimNames, LogoutScope};
    use crate::testing::jwt::{SigningKey, key_set};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);
    const NONCE: &str = "n-1";

    /// Returns an issuer whose claim for the subject has this name.
    fn issuer(subject_claim: &str) -> Issuer {
        Issuer {
            issuer: "https://id.example.com".to_owned(),
            audiences: vec!["curfew".to_owned()],
            algorithms: vec![jsonwebtoken::Algorithm::EdDSA],
            typ: None,
            leeway: Duration::from_secs(30),
            accepts_iat: false,
            logout_scope: LogoutScope::default(),
            claims: ClaimNames {
                session: vec!["sid".to_owned()],
                subject: subject_claim.to_owned(),
                groups: "groups".to_owned(),
                email: "email".to_owned(),
            },
        }
    }

    /// Returns the claims of a valid ID token, with these claims added or replaced.
    fn claims_with(changes: &Value) -> Value {
        let mut claims = json!({
            "iss": "https://id.example.com", "aud": "curfew", "sub": "alice", "nonce": NONCE,
            "iat": 999_990, "exp": 1_000_600, "auth_time": 999_900,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// Verifies a token with this key of the issuer, and returns the error.
    fn verification_error(token: &str, key: &SigningKey) -> Option<InvalidJwt> {
        let keys = key_set(&[key]);
        let verified = issuer("sub").verify_id_token(token, &keys, Some(NONCE), NOW);
        verified.err()
    }

    /// Verifies an ID token with changed claims, and returns its sign-in. `user_info` has the claims from UserInfo.
    fn sign_in(
        subject_claim: &str,
        changes: &Value,
        user_info: Value,
    ) -> Result<ProviderSignIn, InvalidJwt> {
        let (issuer, key) = (issuer(subject_claim), SigningKey::ed25519("a"));
        let (token, keys) = (key.token(&claims_with(changes)), key_set(&[&key]));
        let id_token = issuer.verify_id_token(&token, &keys, Some(NONCE), NOW)?;
        let Value::Object(user_info) = user_info else {
            panic!("{user_info}")
        };
        issuer.sign_in_of(id_token, user_info, NOW)
    }

    /// Tests the requirements of OpenID Connect Core 1.0, section 3.1.3.7, steps 2 to 11.
    #[test]
    fn validates_the_claims_of_an_id_token() {
        use InvalidJwt::{Audience, Expired, Issuer, Malformed, Nonce, NotYetValid, Subject, Type};
        let key = SigningKey::ed25519("a");
        for (changes, expected) in [
            (json!({}), None),
            (json!({ "aud": ["curfew"] }), None),
            (json!({ "aud": ["curfew", "api"], "azp": "curfew" }), None),
            (json!({ "aud": ["curfew", "api"] }), Some(Audience)),
            (json!({ "aud": "api" }), Some(Audience)),
            (json!({ "aud": "Curfew" }), Some(Audience)),
            (json!({ "azp": "other" }), Some(Audience)),
            (json!({ "azp": ["other"] }), Some(Audience)),
            (json!({ "azp": 7 }), Some(Audience)),
            (json!({ "auth_time": 1_000_030 }), None),
            (json!({ "auth_time": 1_000_031 }), Some(NotYetValid)),
            (json!({ "iss": "https://evil.example" }), Some(Issuer)),
            (json!({ "iss": "https://id.example.com/" }), Some(Issuer)),
            // The leeway is 30 s.
            (json!({ "exp": 999_971 }), None),
            (json!({ "exp": 999_970 }), Some(Expired)),
            (json!({ "exp": "later" }), Some(Malformed)),
            (json!({ "iat": 1_000_030 }), None),
            (json!({ "iat": 1_000_031 }), Some(NotYetValid)),
            (json!({ "nbf": 1_000_031 }), Some(NotYetValid)),
            (json!({ "nonce": "n-2" }), Some(Nonce)),
            (json!({ "nonce": "n-10" }), Some(Nonce)),
            (json!({ "nonce": "" }), Some(Nonce)),
            (json!({ "nonce": ["n-1"] }), Some(Nonce)),
            (json!({ "sub": "" }), Some(Subject)),
            (json!({ "sub": 7 }), Some(Subject)),
            (json!({ "events": {} }), Some(Type)),
        ] {
            let found = verification_error(&key.token(&claims_with(&changes)), &key);
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
            let mut claims = claims_with(&json!({}));
            claims.as_object_mut().unwrap().remove(name).unwrap();
            assert_eq!(
                verification_error(&key.token(&claims), &key),
                Some(expected),
                "{name}"
            );
        }
    }

    #[test]
    fn validates_the_signature_and_the_header() {
        let (key, other) = (SigningKey::ed25519("a"), SigningKey::ed25519("a"));
        let claims = claims_with(&json!({}));
        assert_eq!(
            verification_error(&other.token(&claims), &key),
            Some(InvalidJwt::Signature)
        );
        let unknown = SigningKey::ed25519("b");
        assert_eq!(
            verification_error(&unknown.token(&claims), &key),
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
            let found = verification_error(&key.sign(&header, &claims), &key);
            assert_eq!(found, expected, "{header}");
        }
    }

    /// See OpenID Connect Core 1.0, section 12.2.
    #[test]
    fn the_nonce_of_a_refreshed_id_token_is_not_checked() {
        let key = SigningKey::ed25519("a");
        let keys = key_set(&[&key]);
        let mut claims_without_nonce = claims_with(&json!({}));
        claims_without_nonce
            .as_object_mut()
            .unwrap()
            .remove("nonce")
            .unwrap();
        for claims in [
            claims_with(&json!({})),
            claims_with(&json!({ "nonce": "x" })),
            claims_without_nonce,
        ] {
            let token = key.token(&claims);
            let verified = issuer("email").verify_id_token(&token, &keys, None, NOW);
            assert_eq!(verified.unwrap().subject(), "alice", "{claims}");
        }
    }

    /// Curfew receives ID tokens from the provider, not from a client, so ID tokens may be larger than credentials.
    #[test]
    fn an_id_token_may_be_larger_than_a_credential() {
        let key = SigningKey::ed25519("a");
        let token_with_bytes =
            |bytes: usize| key.token(&claims_with(&json!({ "x": "y".repeat(bytes) })));
        let large = token_with_bytes(20 * 1024);
        assert_eq!(verification_error(&large, &key), None);
        let as_credential = issuer("sub").verify(&large, &key_set(&[&key]), NOW);
        assert_eq!(as_credential.err(), Some(InvalidJwt::TooLarge));
        let found = verification_error(&token_with_bytes(1024 * 1024), &key);
        assert_eq!(found, Some(InvalidJwt::TooLarge));
    }

    #[test]
    fn finds_the_configured_claims_in_an_id_token() {
        let key = SigningKey::ed25519("a");
        let token = key.token(&claims_with(&json!({ "groups": null })));
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
        let read = sign_in("sub", &changes, more).unwrap();
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
        for (verified, accepted) in [
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
            let sign_in_with_email = sign_in("email", &claims, json!({}));
            let expected_error = (!accepted).then_some(InvalidJwt::UnverifiedEmail);
            assert_eq!(sign_in_with_email.err(), expected_error, "{claims}");
            let sign_in_with_sub = sign_in("sub", &claims, json!({})).unwrap();
            let email_count = usize::from(accepted);
            assert_eq!(
                sign_in_with_sub.attributes.get("email").count(),
                email_count,
                "{claims}"
            );
        }
        // If the ID token has no `email_verified`, the claim in UserInfo counts.
        let claims = json!({ "email": "a@example.com" });
        let more = json!({ "email_verified": "false" });
        let error = sign_in("email", &claims, more).err();
        assert_eq!(error, Some(InvalidJwt::UnverifiedEmail));
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
            // The UserInfo response contains the groups, and not a reference.
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
            let read = sign_in("sub", &own, more).unwrap();
            assert_eq!(read.attributes.has_unknown_groups(), unknown, "{case}");
        }
    }
}
