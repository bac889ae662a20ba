//! Verifies signed UserInfo responses (OpenID Connect Core 1.0, section 5.3.2).

use serde_json::{Map, Value};

use super::error::InvalidJwt;
use super::keys::KeySet;
use super::verify::{Issuer, TokenPurpose};
use crate::session::Timestamp;

impl Issuer {
    /// Verifies a signed UserInfo response at `now`, and returns its claims. The response must have the issuer in
    /// `iss` and the client in `aud`. `exp` is optional.
    ///
    /// # Errors
    /// [`InvalidJwt`] with the reason. After [`InvalidJwt::UnknownKey`], the caller can try again with newer keys.
    pub fn verify_user_info(
        &self,
        token: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Map<String, Value>, InvalidJwt> {
        let claims = self.verified_claims(token, keys, TokenPurpose::Identity)?;
        // A token with `events` is a notice about a logout or a security event, even if its `typ` fits a UserInfo
        // response (RFC 8725 3.12).
        if claims.contains_key("events") {
            return Err(InvalidJwt::Type);
        }
        self.check_parties(&claims)?;
        if claims.contains_key("exp") {
            self.check_parties_and_times(&claims, now)?;
        } else {
            self.check_not_before(&claims, now)?;
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::START;
    use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, issuer, key_set};

    /// Verifies a response with this key of the issuer, and returns the error.
    fn verification_error(response: &str, key: &SigningKey) -> Option<InvalidJwt> {
        let verified = issuer().verify_user_info(response, &key_set(&[key]), START);
        verified.err()
    }

    #[test]
    fn validates_the_claims_of_a_signed_response() {
        use InvalidJwt::{Audience, Expired, Issuer, NotYetValid, Type};
        let key = SigningKey::ed25519("a");
        let now = START.as_millis() / 1000;
        for (changes, expected) in [
            (json!({}), None),
            (json!({ "exp": now + 1 }), None),
            (json!({ "exp": now }), Some(Expired)),
            (json!({ "iat": now + 1 }), Some(NotYetValid)),
            (
                json!({ "exp": now + 60, "iat": now + 1 }),
                Some(NotYetValid),
            ),
            (json!({ "iss": "https://evil.example" }), Some(Issuer)),
            (json!({ "iss": null }), Some(Issuer)),
            (json!({ "aud": "other" }), Some(Audience)),
            (json!({ "aud": null }), Some(Audience)),
            (json!({ "events": {} }), Some(Type)),
        ] {
            let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice" });
            for (name, value) in changes.as_object().unwrap() {
                claims[name] = value.clone();
            }
            assert_eq!(
                verification_error(&key.token(&claims), &key),
                expected,
                "{changes}"
            );
        }
    }

    #[test]
    fn validates_the_signature_of_a_response() {
        let (key, other) = (SigningKey::ed25519("a"), SigningKey::ed25519("a"));
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice" });
        for (response, expected) in [
            (other.token(&claims), InvalidJwt::Signature),
            (
                SigningKey::ed25519("b").token(&claims),
                InvalidJwt::UnknownKey,
            ),
            (
                key.sign(&json!({ "alg": "none" }), &claims),
                InvalidJwt::Algorithm,
            ),
            (
                key.sign(&json!({ "alg": "HS256" }), &claims),
                InvalidJwt::Algorithm,
            ),
            (
                key.sign(&json!({ "alg": "EdDSA", "typ": "at+jwt" }), &claims),
                InvalidJwt::Type,
            ),
            (claims.to_string(), InvalidJwt::Malformed),
        ] {
            assert_eq!(
                verification_error(&response, &key),
                Some(expected),
                "{response}"
            );
        }
    }
}
