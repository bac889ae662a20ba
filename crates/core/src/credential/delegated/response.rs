use std::collections::BTreeMap;

use cookie::time::OffsetDateTime;
use cookie::time::format_description::well_known::Rfc3339;
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use super::{DelegatedService, SessionKey};
use crate::credential::derived_id::derive_id;
use crate::credential::jwt::{SignInClaims, find_claim, unverified_claims};
use crate::session::{Attributes, SessionId, Subject, Timestamp};

/// The content of a response that allows the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedResponse {
    /// The ID of the session.
    pub session: SessionId,
    /// The owner of the session.
    pub subject: Subject,
    /// Properties of the subject.
    pub attributes: Attributes,
    /// When the subject authenticated; `None` if the service does not send this time.
    pub authenticated: Option<Timestamp>,
    /// The latest time at which the service's session can end.
    pub expires: Timestamp,
}

/// The reason why a response that allows the request is unusable. The error text is for the log, and contains no value
/// from the response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableResponse {
    /// Neither the response nor the request has the session key.
    #[error(
        "neither the response nor the request has the value that identifies the session (session_cookie, session_header \
         or session_claim)"
    )]
    MissingKey,
    /// The subject is missing or invalid.
    #[error("missing or invalid subject in the header `{0}`")]
    Subject(HeaderName),
    /// The time of the authentication is invalid.
    #[error("invalid authentication time in the header `{0}`")]
    AuthTime(HeaderName),
    /// An attribute is invalid.
    #[error(
        "the attributes of the subject, such as the groups, are too long or have characters that a header cannot \
         contain"
    )]
    Attributes,
}

impl DelegatedService {
    /// The ID of the session for a cookie, whether or not the service has such a session.
    #[must_use]
    pub fn session_id_of_cookie(&self, cookie: &[u8]) -> SessionId {
        self.session_id(&self.key.key_in_cookie(cookie))
    }

    fn session_id(&self, key: &[u8]) -> SessionId {
        derive_id("delegated", &[b"session", self.name.as_bytes(), key])
    }

    /// Interprets a response that allows the request. `cookie` is the cookie that Curfew sent to the service.
    ///
    /// # Errors
    /// [`UnusableResponse`] with the missing or invalid part.
    pub fn interpret_response(
        &self,
        cookie: Option<&[u8]>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<AllowedResponse, UnusableResponse> {
        let claims = self
            .token
            .as_ref()
            .and_then(|header| token_claims(headers, header));
        let claims = claims.unwrap_or_default();
        let session = match &self.key {
            SessionKey::Cookie { .. } => cookie.map(|cookie| self.session_id_of_cookie(cookie)),
            SessionKey::Header(header) => {
                single_value(headers, header).map(|key| self.session_id(key.as_bytes()))
            }
            SessionKey::Claim(claim) => {
                let key = find_claim(&claims, claim).and_then(Value::as_str);
                let key = key.filter(|key| !key.is_empty());
                key.map(|key| self.session_id(key.as_bytes()))
            }
        };
        let subject =
            single_value(headers, &self.user).and_then(|subject| Subject::new(subject).ok());
        let sign_in = SignInClaims::of(&claims);
        Ok(AllowedResponse {
            session: session.ok_or(UnusableResponse::MissingKey)?,
            subject: subject.ok_or_else(|| UnusableResponse::Subject(self.user.clone()))?,
            attributes: self.attributes(headers, &sign_in)?,
            authenticated: self
                .authentication_time(headers, &sign_in)?
                .map(|at| at.min(now)),
            expires: now.plus(self.lifetime),
        })
    }

    /// When the subject authenticated. The time comes from the configured header. If no header is configured, the
    /// time comes from the token's `auth_time`.
    fn authentication_time(
        &self,
        headers: &HeaderMap,
        sign_in: &SignInClaims,
    ) -> Result<Option<Timestamp>, UnusableResponse> {
        let Some(header) = &self.auth_time else {
            return match (&self.token, sign_in.malformed_auth_time) {
                (Some(token), true) => Err(UnusableResponse::AuthTime(token.clone())),
                _ => Ok(sign_in.signed_in),
            };
        };
        if !headers.contains_key(header) {
            return Ok(None);
        }
        let time = single_value(headers, header).and_then(parse_auth_time);
        time.map(Some)
            .ok_or_else(|| UnusableResponse::AuthTime(header.clone()))
    }

    fn attributes(
        &self,
        headers: &HeaderMap,
        sign_in: &SignInClaims,
    ) -> Result<Attributes, UnusableResponse> {
        let mut attributes = BTreeMap::new();
        let mut add_attribute = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                attributes.insert(name.to_owned(), values);
            }
        };
        let values_of = |header: &Option<HeaderName>| {
            let value = header
                .as_ref()
                .and_then(|header| single_value(headers, header));
            value.into_iter().map(str::to_owned).collect()
        };
        add_attribute("email", values_of(&self.email));
        add_attribute("name", values_of(&self.display_name));
        let groups = self
            .groups
            .iter()
            .flat_map(|header| headers.get_all(header));
        let groups = groups.filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
        let groups = groups
            .flat_map(|line| line.split(self.groups_separator))
            .map(|group| group.trim().to_owned())
            .filter(|group| !group.is_empty());
        let groups: Vec<String> = groups.collect();
        if groups.is_empty() && sign_in.unknown_groups {
            let unknown = vec![Attributes::UNKNOWN.to_owned()];
            add_attribute(Attributes::GROUPS_STATE, unknown);
        }
        add_attribute(Attributes::GROUPS, groups);
        add_attribute(Attributes::ISSUER, sign_in.issuer.iter().cloned().collect());
        add_attribute(Attributes::PROVIDER, sign_in.provider_names.clone());
        add_attribute(Attributes::SOURCE, vec!["delegated".to_owned()]);
        Attributes::new(attributes).map_err(|_| UnusableResponse::Attributes)
    }
}

/// The non-empty value of a header that occurs exactly once.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).into_iter();
    let value = std::str::from_utf8(values.next()?.as_bytes()).ok()?.trim();
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

/// Parses a time, in seconds since 1970 or as RFC 3339.
fn parse_auth_time(text: &str) -> Option<Timestamp> {
    let seconds = match text.parse() {
        Ok(seconds) => seconds,
        Err(_) => {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            time.unix_timestamp_nanos() as f64 / 1e9
        }
    };
    Timestamp::from_seconds(seconds)
}

/// The claims of a token in a header, with or without the prefix `Bearer`. The signature is not verified, because
/// Curfew trusts the service that sends the token.
fn token_claims(headers: &HeaderMap, name: &HeaderName) -> Option<Map<String, Value>> {
    let text = single_value(headers, name)?;
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text,
    };
    unverified_claims(token)
}
