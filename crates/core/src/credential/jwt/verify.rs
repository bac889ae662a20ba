use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::claims::{
    self, MAX_IDENTITY_BYTES, MAX_TOKEN_BYTES, SignInClaims, find, is_by_reference,
    is_unverified_email, part, texts, time,
};
use super::invalid::InvalidJwt;
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
    /// The required `typ`, without `application/`; `None` accepts any.
    pub typ: Option<String>,
    /// The clock-skew leeway.
    pub leeway: Duration,
    /// Whether a credential without `auth_time` is accepted, with `iat` as the time of the sign-in. A refreshed token
    /// has a newer `iat`, so each refresh restarts the absolute limit.
    pub accepts_iat: bool,
    /// The names of the claims.
    pub claims: Claims,
}

/// The names of the claims, as dotted paths.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The claims that identify the session; the first one in the token counts. Without any of them, it is the
    /// subject if the token has `auth_time`. Otherwise it is `jti`, or the whole token.
    pub session: Vec<String>,
    /// The claim for the subject.
    pub subject: String,
    /// The claim for the subject's groups.
    pub groups: String,
    /// The claim for the subject's email address.
    pub email: String,
}

/// A token with a valid signature that is valid now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedJwt {
    /// The ID of the session that the token belongs to.
    pub session: SessionId,
    /// The owner of the session.
    pub subject: Subject,
    /// Properties of the subject.
    pub attributes: Attributes,
    /// When the subject signed in: `auth_time`, or `iat` where that is accepted.
    pub started: Timestamp,
    /// When the token expires.
    pub expires: Timestamp,
}

/// The purpose of a token, which determines its `typ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenPurpose<'a> {
    /// A credential, with the configured `typ`.
    Credential(Option<&'a str>),
    /// An ID token or a signed UserInfo response, which the provider itself sent.
    Identity,
    /// A logout token.
    Logout,
    /// A security event token.
    Event,
}

impl TokenPurpose<'_> {
    /// Whether a token with this `typ`, in lower case, has this purpose.
    fn accepts(self, typ: Option<&str>) -> bool {
        match self {
            Self::Credential(Some(wanted)) => {
                typ.is_some_and(|typ| wanted.eq_ignore_ascii_case(typ))
            }
            Self::Credential(None) => !matches!(typ, Some("logout+jwt" | "secevent+jwt")),
            // OpenID Connect defines no `typ` here. Some providers send the general ones (RFC 7519 5.1, RFC 7515 4.1.9).
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

/// The issue time of a token, if it has one, and its expiry.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenTimes {
    pub(super) issued: Option<Timestamp>,
    pub(super) expires: Timestamp,
}

/// Whether a bearer token or a cookie value has the form of a signed JWT.
#[must_use]
pub fn looks_like_a_jwt(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() == 2
}

impl Issuer {
    /// Verifies a token at `now`.
    ///
    /// # Errors
    /// [`InvalidJwt`] with the reason; for [`InvalidJwt::UnknownKey`] newer keys may help.
    pub fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<VerifiedJwt, InvalidJwt> {
        let kind = TokenPurpose::Credential(self.typ.as_deref());
        let claims = self.verified_claims(token, keys, kind)?;
        self.accept(token, &claims, now)
    }

    /// The claims of a token after its signature, algorithm and type are verified. The claims themselves are not
    /// validated.
    pub(super) fn verified_claims(
        &self,
        token: &str,
        keys: &KeySet,
        kind: TokenPurpose<'_>,
    ) -> Result<Map<String, Value>, InvalidJwt> {
        if token.len() > kind.max_bytes() {
            return Err(InvalidJwt::TooLarge);
        }
        let header = part(token, 0)?;
        // Critical extensions (RFC 7515 4.1.11), unencoded payloads (RFC 7797) and nested tokens (RFC 7519 5.2) are
        // not supported.
        let nested = header.get("cty").is_some_and(|cty| {
            cty.as_str()
                .is_none_or(|cty| cty.eq_ignore_ascii_case("jwt"))
        });
        if header.contains_key("crit") || header.contains_key("b64") || nested {
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
        if !kind.accepts(typ.map(str::to_ascii_lowercase).as_deref()) {
            return Err(InvalidJwt::Type);
        }
        let id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(InvalidJwt::Malformed)?),
        };
        // The times, the issuer and the audience are validated below, with Curfew's own clock.
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

    /// Validates the claims of a credential.
    fn accept(
        &self,
        token: &str,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<VerifiedJwt, InvalidJwt> {
        // A token with an event is not a credential, whatever its signature (RFC 8725 3.12).
        if claims.contains_key("events") {
            return Err(InvalidJwt::Type);
        }
        let times = self.check(claims, now)?;
        let signed_in = time(claims, "auth_time")?;
        if signed_in.is_some_and(|at| at > now.plus(self.leeway)) {
            return Err(InvalidJwt::NotYet);
        }
        let started = match signed_in {
            Some(at) => at,
            None if self.accepts_iat => times.issued.unwrap_or(now),
            None => return Err(InvalidJwt::NoAuthTime),
        };
        Ok(VerifiedJwt {
            session: self.session(token, claims, signed_in),
            subject: self.subject(claims)?,
            attributes: self.attributes(claims, "jwt")?,
            started: started.min(now),
            expires: times.expires,
        })
    }

    /// Validates the issuer, the audience and the times of claims.
    pub(super) fn check(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<TokenTimes, InvalidJwt> {
        self.check_parties(claims)?;
        let expires = time(claims, "exp")?.ok_or(InvalidJwt::Expired)?;
        let expires = expires.plus(self.leeway);
        if now >= expires {
            return Err(InvalidJwt::Expired);
        }
        let issued = self.check_begun(claims, now)?;
        Ok(TokenTimes { issued, expires })
    }

    /// Validates the issuer and the audience of claims.
    pub(super) fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), InvalidJwt> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(&*self.issuer) {
            return Err(InvalidJwt::Issuer);
        }
        let is_ours = |audience: &Value| {
            let audience = audience.as_str();
            audience.is_some_and(|audience| self.audiences.iter().any(|ours| ours == audience))
        };
        let for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if for_us {
            Ok(())
        } else {
            Err(InvalidJwt::Audience)
        }
    }

    /// Validates that claims are already in force; returns their issue time, if they have one.
    pub(super) fn check_begun(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, InvalidJwt> {
        let soon = now.plus(self.leeway);
        let issued = time(claims, "iat")?;
        for begins in [time(claims, "nbf")?, issued].into_iter().flatten() {
            if begins > soon {
                return Err(InvalidJwt::NotYet);
            }
        }
        Ok(issued)
    }

    /// The ID of the session that a token belongs to.
    ///
    /// A provider's session (`sid`) continues if its user signs in again. Therefore the time of the sign-in is a part
    /// of the ID: a new sign-in starts a new session, but a refreshed token does not.
    fn session(
        &self,
        token: &str,
        claims: &Map<String, Value>,
        signed_in: Option<Timestamp>,
    ) -> SessionId {
        let text = |name: &'_ str| {
            find(claims, name)?
                .as_str()
                .filter(|value| !value.is_empty())
        };
        let mut named = self.claims.session.iter();
        let named = named.find_map(|name| Some((name.as_str(), text(name)?)));
        // A refreshed token has another `jti`, but the same subject and sign-in time.
        let subject = self.claims.subject.as_str();
        let other = if signed_in.is_some() { subject } else { "jti" };
        let named = named.or_else(|| Some((other, text(other)?)));
        let (kind, value) = named.unwrap_or(("token", token));
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

    /// The pseudo-subject for a session of the provider. Cut-offs use it.
    #[must_use]
    pub fn provider_session(&self, sid: &str) -> Subject {
        claims::provider_session(&self.issuer, sid)
    }

    /// The pseudo-subject for all sessions of a subject of the provider. Cut-offs use it.
    #[must_use]
    pub fn provider_subject(&self, sub: &str) -> Subject {
        claims::provider_subject(&self.issuer, sub)
    }

    /// The subject. An email address that the provider has not verified is rejected, because anybody can claim to own
    /// it.
    pub(super) fn subject(&self, claims: &Map<String, Value>) -> Result<Subject, InvalidJwt> {
        let subject = &self.claims.subject;
        let is_email = *subject == "email" || *subject == self.claims.email;
        if is_email && is_unverified_email(claims) {
            return Err(InvalidJwt::UnverifiedEmail);
        }
        let subject = find(claims, subject).and_then(Value::as_str);
        let subject = subject.and_then(|subject| Subject::new(subject).ok());
        subject.ok_or(InvalidJwt::Subject)
    }

    /// The attributes of the subject.
    pub(super) fn attributes(
        &self,
        claims: &Map<String, Value>,
        source: &str,
    ) -> Result<Attributes, InvalidJwt> {
        let mut attributes = BTreeMap::new();
        attributes.insert(Attributes::SOURCE.to_owned(), vec![source.to_owned()]);
        if Attributes::is_value(&self.issuer) {
            attributes.insert(Attributes::ISSUER.to_owned(), vec![self.issuer.clone()]);
        }
        let names = SignInClaims::of(claims).provider_names;
        if !names.is_empty() {
            attributes.insert(Attributes::PROVIDER.to_owned(), names);
        }
        let groups = find(claims, &self.claims.groups).map_or(Some(Vec::new()), texts);
        match groups {
            Some(groups) if !groups.is_empty() => {
                attributes.insert(Attributes::GROUPS.to_owned(), groups);
            }
            Some(_) if !is_by_reference(claims, &self.claims.groups) => {}
            _ => {
                let mark = vec![Attributes::UNKNOWN.to_owned()];
                attributes.insert(Attributes::GROUPS_STATE.to_owned(), mark);
            }
        }
        let email = find(claims, &self.claims.email).and_then(texts);
        let email = email.filter(|email| !email.is_empty() && !is_unverified_email(claims));
        if let Some(email) = email {
            attributes.insert("email".to_owned(), email);
        }
        // A display name that no header can carry is omitted; it does not lock the person out.
        for name in ["name", "preferred_username"] {
            let text = claims.get(name).and_then(Value::as_str);
            if let Some(text) = text.filter(|text| Attributes::is_value(text)) {
                attributes.insert(name.to_owned(), vec![text.to_owned()]);
            }
        }
        Attributes::new(attributes).map_err(|_| InvalidJwt::Subject)
    }
}

#[cfg(test)]
mod tests;
