use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::claims::{
    self, MAX_LEN, Said, find, is_by_reference, is_unverified_email, part, texts, time,
};
use super::invalid::InvalidJwt;
use super::keys::KeySet;
use crate::credential::name::name;
use crate::session::{Attributes, SessionId, Subject, Timestamp};

/// An issuer of tokens, and what its tokens must be like.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `iss`.
    pub issuer: String,
    /// `aud`: one of these.
    pub audiences: Vec<String>,
    /// `alg`: one of these.
    pub algorithms: Vec<Algorithm>,
    /// `typ`, without `application/`; `None` where any will do.
    pub typ: Option<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// Whether a credential without `auth_time` counts, as of a sign-in at its `iat`. A refreshed token has a newer
    /// `iat`, so the absolute limit then begins again with each.
    pub accepts_iat: bool,
    /// Which claims hold what.
    pub claims: Claims,
}

/// Which claims hold what; dots lead into objects.
#[derive(Clone, Debug)]
pub struct Claims {
    /// What names the session: the first of these that is there. Where none is: the subject, in a token that says when it
    /// signed in, or else `jti`, or the whole token.
    pub session: Vec<String>,
    /// The subject.
    pub subject: String,
    /// Its groups.
    pub groups: String,
    /// Its email address.
    pub email: String,
}

/// A token that its issuer has signed, and that is good now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedJwt {
    /// The session that it is for.
    pub session: SessionId,
    /// Whose session it is.
    pub subject: Subject,
    /// What else is known of the subject.
    pub attributes: Attributes,
    /// When the subject signed in, as far as the token says.
    pub started: Timestamp,
    /// When the token is no good any more.
    pub expires: Timestamp,
}

/// What a token is for, which its `typ` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// It is a credential, of the kind that is configured.
    Credential(Option<&'a str>),
    /// It tells of a logout.
    Logout,
    /// It tells of a security event.
    Event,
}

impl Kind<'_> {
    /// Whether a token of this type, in lower case, is of the kind.
    fn takes(self, typ: Option<&str>) -> bool {
        match self {
            Self::Credential(Some(wanted)) => {
                typ.is_some_and(|typ| wanted.eq_ignore_ascii_case(typ))
            }
            Self::Credential(None) => !matches!(typ, Some("logout+jwt" | "secevent+jwt")),
            Self::Logout => matches!(typ, None | Some("logout+jwt" | "jwt")),
            Self::Event => typ == Some("secevent+jwt"),
        }
    }
}

/// When a token was issued, where it says so, and from when it is no good any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) issued: Option<Timestamp>,
    pub(super) expires: Timestamp,
}

/// Whether a bearer token or a cookie's value has the form of a signed JWT.
#[must_use]
pub fn looks_like_a_jwt(text: &[u8]) -> bool {
    text.starts_with(b"eyJ") && text.iter().filter(|byte| **byte == b'.').count() == 2
}

impl Issuer {
    /// Verifies a token at `now`.
    ///
    /// # Errors
    /// [`InvalidJwt`] with what is wrong; [`InvalidJwt::UnknownKey`] where newer keys may help.
    pub fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<VerifiedJwt, InvalidJwt> {
        let kind = Kind::Credential(self.typ.as_deref());
        let claims = self.verified_claims(token, keys, kind)?;
        self.accept(token, &claims, now)
    }

    /// The claims of a token whose signature, algorithm and kind are right. Nothing of the claims has
    /// been looked at.
    pub(super) fn verified_claims(
        &self,
        token: &str,
        keys: &KeySet,
        kind: Kind<'_>,
    ) -> Result<Map<String, Value>, InvalidJwt> {
        if token.len() > MAX_LEN {
            return Err(InvalidJwt::TooLarge);
        }
        let header = part(token, 0)?;
        // Extensions that must be understood (RFC 7515 4.1.11), unencoded payloads (RFC 7797) and
        // tokens in tokens (RFC 7519 5.2) are not.
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
        if !kind.takes(typ.map(str::to_ascii_lowercase).as_deref()) {
            return Err(InvalidJwt::Type);
        }
        let id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or(InvalidJwt::Malformed)?),
        };
        // Times, issuer and audience are looked at below, by our own clock.
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

    /// Takes the claims of a token for a credential.
    fn accept(
        &self,
        token: &str,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<VerifiedJwt, InvalidJwt> {
        // What tells of an event is no credential, however it is signed (RFC 8725 3.12).
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

    /// Looks at who has issued claims, for whom, and until when they hold.
    pub(super) fn check(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Times, InvalidJwt> {
        self.check_parties(claims)?;
        let expires = time(claims, "exp")?.ok_or(InvalidJwt::Expired)?;
        let expires = expires.plus(self.leeway);
        if now >= expires {
            return Err(InvalidJwt::Expired);
        }
        let issued = self.check_begun(claims, now)?;
        Ok(Times { issued, expires })
    }

    /// Looks at who has issued claims, and for whom.
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

    /// Looks at when claims begin to hold; when they were issued, where they say so.
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

    /// The session that a token is for.
    ///
    /// A provider's session (`sid`) goes on when its user signs in again: the time of the sign-in
    /// is a part of the name, so that a fresh sign-in is a new session, and a token that was merely
    /// refreshed is not.
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
        // A refreshed token has another `jti`, and the same subject and sign-in.
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
        name("jwt", &texts.map(str::as_bytes))
    }

    /// What stands for a session of the provider, among the subjects whose sessions have ended.
    #[must_use]
    pub fn provider_session(&self, sid: &str) -> Subject {
        claims::provider_session(&self.issuer, sid)
    }

    /// What stands for everything that the provider's own subject has.
    #[must_use]
    pub fn provider_subject(&self, sub: &str) -> Subject {
        claims::provider_subject(&self.issuer, sub)
    }

    /// The subject. An email address that the provider has not verified is nobody's: anybody can claim to have it.
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

    /// What else is known of the subject.
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
        let names = Said::of(claims).provider_names;
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
        // Nobody is kept out for a name that can't be passed on.
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
