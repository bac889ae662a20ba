use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::claims::{
    self, MAX_IDENTITY_BYTES, MAX_TOKEN_BYTES, SignInClaims, decode_part, find_claim,
    has_reference_for, is_unverified_email, numeric_date, strings_of_claim,
};
use super::error::InvalidJwt;
use super::keys::KeySet;
use crate::credential::derived_id::derive_id;
use crate::session::{Attributes, SessionId, Subject, Timestamp};

/// A token issuer, and the requirements for its tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The required `iss`.
    pub issuer: String,
    /// The accepted values of `aud`.
    pub audiences: Vec<String>,
    /// The accepted values of `alg`.
    pub algorithms: Vec<Algorithm>,
    /// The required `typ`, without `application/`; `None` accepts any `typ`.
    pub typ: Option<String>,
    /// The tolerated difference between the clocks of the issuer and Curfew.
    pub leeway: Duration,
    /// Whether Curfew accepts a credential without `auth_time`, and uses its `iat` as the time of the sign-in. With
    /// this setting, a refreshed token could start an ended session again, because it has a newer `iat`.
    pub accepts_iat: bool,
    /// The sessions that end after a notice that identifies a session and its subject.
    pub logout_scope: LogoutScope,
    /// The names of the claims that Curfew reads.
    pub claims: ClaimNames,
}

/// The sessions that end after a notice that identifies a session of the provider and its subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogoutScope {
    /// The sessions that belong to this session of the provider.
    #[default]
    Session,
    /// All sessions of the subject.
    User,
}

impl LogoutScope {
    /// Returns the name of the value in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
        }
    }
}

/// The names of the claims that Curfew reads, as dotted paths.
#[derive(Clone, Debug)]
pub struct ClaimNames {
    /// The claims that can identify the session. Curfew uses the first of them that the token has. If the token has
    /// none of them, Curfew uses the subject of a token with `auth_time`, and the `jti` of a token without
    /// `auth_time`. If that claim is missing too, Curfew uses the whole token.
    pub session: Vec<String>,
    /// The name of the claim with the subject.
    pub subject: String,
    /// The name of the claim with the subject's groups.
    pub groups: String,
    /// The name of the claim with the subject's email address.
    pub email: String,
}

/// The content of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedJwt {
    /// The ID of the session that the token belongs to.
    pub session: SessionId,
    /// The owner of the session.
    pub subject: Subject,
    /// Properties of the subject.
    pub attributes: Attributes,
    /// When the subject signed in: `auth_time`, or else `iat` if the issuer has `accepts_iat`.
    pub started: Timestamp,
    /// The expiry of the token, plus the leeway.
    pub expires: Timestamp,
}

/// The purpose of a token, which determines the accepted `typ` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenPurpose<'a> {
    /// A credential. The value is the `typ` that the configuration requires, if it requires one.
    Credential(Option<&'a str>),
    /// An ID token or a signed UserInfo response. Curfew receives both from the provider itself.
    Identity,
    /// A logout token.
    Logout,
    /// A security event token.
    Event,
}

impl TokenPurpose<'_> {
    /// Returns whether a token with this `typ` can have this purpose. `typ` is in lower case.
    fn accepts(self, typ: Option<&str>) -> bool {
        match self {
            Self::Credential(Some(wanted)) => {
                typ.is_some_and(|typ| wanted.eq_ignore_ascii_case(typ))
            }
            Self::Credential(None) => !matches!(typ, Some("logout+jwt" | "secevent+jwt")),
            // OpenID Connect defines no `typ` for ID tokens and UserInfo responses. Some providers send `JWT` (RFC 7519
            // 5.1) or `JOSE` (RFC 7515 4.1.9).
            Self::Identity => matches!(typ, None | Some("jwt" | "jose")),
            Self::Logout => matches!(typ, None | Some("logout+jwt" | "jwt")),
            Self::Event => typ == Some("secevent+jwt"),
        }
    }

    /// The maximum length of a token in bytes.
    const fn max_bytes(self) -> usize {
        match self {
            Self::Identity => MAX_IDENTITY_BYTES,
            Self::Credential(_) | Self::Logout | Self::Event => MAX_TOKEN_BYTES,
        }
    }
}

/// The expiry of a token, and its issue time if the token has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenTimes {
    pub(super) issued: Option<Timestamp>,
    pub(super) expires: Timestamp,
}

/// Returns whether a bearer token or a cookie value has the form of a signed JWT.
#[must_use]
pub fn looks_like_a_jwt(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() == 2
}

impl Issuer {
    /// Verifies a credential at `now`.
    ///
    /// # Errors
    /// [`InvalidJwt`] with the reason. After [`InvalidJwt::UnknownKey`], the caller can try again with newer keys.
    pub fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<VerifiedJwt, InvalidJwt> {
        let purpose = TokenPurpose::Credential(self.typ.as_deref());
        let claims = self.verified_claims(token, keys, purpose)?;
        self.validate_credential(token, &claims, now)
    }

    /// Verifies the signature, the algorithm and the type of a token, and returns its claims. The caller must still
    /// validate the claims.
    pub(super) fn verified_claims(
        &self,
        token: &str,
        keys: &KeySet,
        purpose: TokenPurpose<'_>,
    ) -> Result<Map<String, Value>, InvalidJwt> {
        if token.len() > purpose.max_bytes() {
            return Err(InvalidJwt::TooLarge);
        }
        let header = decode_part(token, 0)?;
        // Critical extensions (RFC 7515 4.1.11), unencoded payloads (RFC 7797) and nested tokens (RFC 7519 5.2) are
        // not supported.
        let is_nested = header.get("cty").is_some_and(|cty| {
            cty.as_str()
                .is_none_or(|cty| cty.eq_ignore_ascii_case("jwt"))
        });
        if header.contains_key("crit") || header.contains_key("b64") || is_nested {
            return Err(InvalidJwt::Malformed);
        }
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm: Algorithm = algorithm
            .and_then(|name| name.parse().ok())
            .ok_or(InvalidJwt::Algorithm)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(InvalidJwt::Algorithm);
        }
        let typ = header.get("typ").and_then(Value::as_str);
        let typ = typ.map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        if !purpose.accepts(typ.map(str::to_ascii_lowercase).as_deref()) {
            return Err(InvalidJwt::Type);
        }
        let id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(InvalidJwt::Malformed)?),
        };
        // `jsonwebtoken` verifies only the signature. The callers validate the issuer, the audience and the times, and
        // compare the times with Curfew's own clock.
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let mut candidates = keys.candidates(id, algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(InvalidJwt::UnknownKey);
        }
        super::install_crypto();
        let verified = candidates.find_map(|key| {
            jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation).ok()
        });
        Ok(verified.ok_or(InvalidJwt::Signature)?.claims)
    }

    /// Validates the claims of a credential, and returns its content.
    fn validate_credential(
        &self,
        token: &str,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<VerifiedJwt, InvalidJwt> {
        // A token with `events` is a notice about a logout or a security event. It is not a credential, even if its
        // signature is valid (RFC 8725 3.12).
        if claims.contains_key("events") {
            return Err(InvalidJwt::Type);
        }
        let times = self.check_parties_and_times(claims, now)?;
        let signed_in = numeric_date(claims, "auth_time")?;
        if signed_in.is_some_and(|at| at > now.plus(self.leeway)) {
            return Err(InvalidJwt::NotYetValid);
        }
        let started = match signed_in {
            Some(at) => at,
            None if self.accepts_iat => times.issued.unwrap_or(now),
            None => return Err(InvalidJwt::NoAuthTime),
        };
        Ok(VerifiedJwt {
            session: self.session_id(token, claims, signed_in),
            subject: self.subject(claims)?,
            attributes: self.attributes(claims, "jwt")?,
            started: started.min(now),
            expires: times.expires,
        })
    }

    /// Validates the issuer, the audience and the times in the claims, and returns the times.
    pub(super) fn check_parties_and_times(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<TokenTimes, InvalidJwt> {
        self.check_parties(claims)?;
        let expires = numeric_date(claims, "exp")?.ok_or(InvalidJwt::Expired)?;
        let expires = expires.plus(self.leeway);
        if now >= expires {
            return Err(InvalidJwt::Expired);
        }
        let issued = self.check_not_before(claims, now)?;
        Ok(TokenTimes { issued, expires })
    }

    /// Validates the issuer and the audience in the claims.
    pub(super) fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), InvalidJwt> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&*self.issuer) {
            return Err(InvalidJwt::Issuer);
        }
        let is_ours = |audience: &Value| {
            let audience = audience.as_str();
            audience.is_some_and(|audience| self.audiences.iter().any(|ours| ours == audience))
        };
        let has_our_audience = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if has_our_audience {
            Ok(())
        } else {
            Err(InvalidJwt::Audience)
        }
    }

    /// Checks that `nbf` and `iat`, if present, are not in the future. Returns `iat`.
    pub(super) fn check_not_before(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, InvalidJwt> {
        let latest_valid = now.plus(self.leeway);
        let issued = numeric_date(claims, "iat")?;
        for valid_from in [numeric_date(claims, "nbf")?, issued].into_iter().flatten() {
            if valid_from > latest_valid {
                return Err(InvalidJwt::NotYetValid);
            }
        }
        Ok(issued)
    }

    /// Returns the ID of the session that a token belongs to.
    ///
    /// When a user signs in again, the provider can continue its own session with the same `sid`. Therefore the ID also
    /// depends on the time of the sign-in: a new sign-in starts a new session, but a refreshed token does not.
    fn session_id(
        &self,
        token: &str,
        claims: &Map<String, Value>,
        signed_in: Option<Timestamp>,
    ) -> SessionId {
        let text = |name: &'_ str| {
            find_claim(claims, name)?
                .as_str()
                .filter(|value| !value.is_empty())
        };
        let mut claim_names = self.claims.session.iter();
        let session_claim = claim_names.find_map(|name| Some((name.as_str(), text(name)?)));
        // With `auth_time`, the fallback is the subject and not `jti`, because a refreshed token has another `jti`, but
        // the same subject and sign-in time.
        let subject = self.claims.subject.as_str();
        let fallback = if signed_in.is_some() { subject } else { "jti" };
        let session_claim = session_claim.or_else(|| Some((fallback, text(fallback)?)));
        let (kind, value) = session_claim.unwrap_or(("token", token));
        let signed_in = signed_in.map(|at| at.as_millis().to_string());
        let texts = [
            "session",
            &self.issuer,
            kind,
            value,
            signed_in.as_deref().unwrap_or(""),
        ];
        derive_id("jwt", &texts.map(str::as_bytes))
    }

    /// Returns the pseudo-subject for one session of the provider. A cut-off for it ends the sessions of Curfew that
    /// belong to this session of the provider.
    #[must_use]
    pub fn provider_session_subject(&self, sid: &str) -> Subject {
        claims::provider_session_subject(&self.issuer, sid)
    }

    /// Returns the pseudo-subject for one subject of the provider. A cut-off for it ends the sessions of Curfew that
    /// belong to this subject.
    #[must_use]
    pub fn provider_user_subject(&self, sub: &str) -> Subject {
        claims::provider_user_subject(&self.issuer, sub)
    }

    /// Returns the subject. Refuses an email address that the provider has not verified, because a person could enter
    /// the address of another person.
    pub(super) fn subject(&self, claims: &Map<String, Value>) -> Result<Subject, InvalidJwt> {
        let subject = &self.claims.subject;
        let is_email = *subject == "email" || *subject == self.claims.email;
        if is_email && is_unverified_email(claims) {
            return Err(InvalidJwt::UnverifiedEmail);
        }
        let subject = find_claim(claims, subject).and_then(Value::as_str);
        let subject = subject.and_then(|subject| Subject::new(subject).ok());
        subject.ok_or(InvalidJwt::Subject)
    }

    /// Returns the attributes of the subject. `source` is the value of [`Attributes::SOURCE`].
    pub(super) fn attributes(
        &self,
        claims: &Map<String, Value>,
        source: &str,
    ) -> Result<Attributes, InvalidJwt> {
        let mut attributes = BTreeMap::new();
        attributes.insert(Attributes::SOURCE.to_owned(), vec![source.to_owned()]);
        if Attributes::is_valid_value(&self.issuer) {
            attributes.insert(Attributes::ISSUER.to_owned(), vec![self.issuer.clone()]);
        }
        let names = SignInClaims::of(claims).provider_names;
        if !names.is_empty() {
            attributes.insert(Attributes::PROVIDER.to_owned(), names);
        }
        let groups =
            find_claim(claims, &self.claims.groups).map_or(Some(Vec::new()), strings_of_claim);
        match groups {
            Some(groups) if !groups.is_empty() => {
                attributes.insert(Attributes::GROUPS.to_owned(), groups);
            }
            Some(_) if !has_reference_for(claims, &self.claims.groups) => {}
            _ => {
                let unknown = vec![Attributes::UNKNOWN.to_owned()];
                attributes.insert(Attributes::GROUPS_STATE.to_owned(), unknown);
            }
        }
        let email = find_claim(claims, &self.claims.email).and_then(strings_of_claim);
        let email = email.filter(|email| !email.is_empty() && !is_unverified_email(claims));
        if let Some(email) = email {
            attributes.insert("email".to_owned(), email);
        }
        // A display name that is not valid in a header is omitted, so that the person can still sign in.
        for name in ["name", "preferred_username"] {
            let text = claims.get(name).and_then(Value::as_str);
            if let Some(text) = text.filter(|text| Attributes::is_valid_value(text)) {
                attributes.insert(name.to_owned(), vec![text.to_owned()]);
            }
        }
        Attributes::new(attributes).map_err(|_| InvalidJwt::Subject)
    }
}

#[cfg(test)]
mod tests;
