//! What is in a token, verified or not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::invalid::InvalidJwt;
use crate::credential::name::name;
use crate::session::{Attributes, Subject, Timestamp};

/// The most bytes of a token: more than any provider makes, and little enough to verify.
pub(super) const MAX_LEN: usize = 16 * 1024;

/// What a token says of its issuer, to find that issuer's keys; believed only once it is verified.
#[must_use]
pub fn unverified_issuer(token: &str) -> Option<String> {
    let claims = unverified_claims(token)?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// The claims of a token that nobody has verified.
pub(in crate::credential) fn unverified_claims(token: &str) -> Option<Map<String, Value>> {
    if token.len() > MAX_LEN {
        return None;
    }
    part(token, 1).ok()
}

/// A part of a token, as an object.
pub(super) fn part(token: &str, index: usize) -> Result<Map<String, Value>, InvalidJwt> {
    let text = token.split('.').nth(index).ok_or(InvalidJwt::Malformed)?;
    let json = URL_SAFE_NO_PAD.decode(text);
    let json = json.map_err(|_| InvalidJwt::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| InvalidJwt::Malformed)
}

/// A claim, by the names on the way to it with dots between; a claim that has the whole as its name
/// comes first, as `https://example.com/groups` does.
pub(in crate::credential) fn find<'a>(
    claims: &'a Map<String, Value>,
    path: &str,
) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut names = path.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// Whether the provider says that it has not verified the email address (OpenID Connect Core 1.0, section 5.1). Some
/// providers write the flag as a text; anything but a clear yes is a no. A provider without the flag says nothing.
pub(super) fn is_unverified_email(claims: &Map<String, Value>) -> bool {
    match claims.get("email_verified") {
        None | Some(Value::Null | Value::Bool(true)) => false,
        Some(Value::String(text)) => !text.eq_ignore_ascii_case("true"),
        Some(_) => true,
    }
}

/// The texts of a claim: one, or a list. `None` where the claim holds anything else.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

/// Whether the value of a claim is elsewhere: OpenID Connect Core 1.0, section 5.6.2 (`_claim_names`), as Microsoft
/// Entra ID writes it for a user in more than 200 groups; in the implicit flow it writes `hasgroups` instead.
pub(super) fn is_by_reference(claims: &Map<String, Value>, path: &str) -> bool {
    let first = path.split('.').next().unwrap_or(path);
    let named = claims.get("_claim_names").and_then(Value::as_object);
    let named = named.is_some_and(|names| names.contains_key(path) || names.contains_key(first));
    let flag = claims.get("hasgroups");
    let flagged = flag.is_some_and(|flag| *flag != Value::Bool(false) && !flag.is_null());
    named || (flagged && path == "groups")
}

/// A time in seconds since 1970, whole or not.
pub(super) fn time(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<Timestamp>, InvalidJwt> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let time = value.as_f64().and_then(Timestamp::from_seconds);
    time.map(Some).ok_or(InvalidJwt::Malformed)
}

/// What stands for a session of a provider, among the subjects whose sessions have ended.
pub(super) fn provider_session(issuer: &str, sid: &str) -> Subject {
    let texts = ["provider session", issuer, sid];
    Subject::of_provider(name("jwt", &texts.map(str::as_bytes)))
}

/// What stands for everything that a provider's own subject has.
pub(super) fn provider_subject(issuer: &str, sub: &str) -> Subject {
    let texts = ["provider subject", issuer, sub];
    Subject::of_provider(name("jwt", &texts.map(str::as_bytes)))
}

/// What a token says of a sign-in.
#[derive(Clone, Debug, Default)]
pub(in crate::credential) struct Said {
    /// When the subject signed in.
    pub(in crate::credential) signed_in: Option<Timestamp>,
    /// Whether a time is there, and is none.
    pub(in crate::credential) malformed_auth_time: bool,
    /// The issuer.
    pub(in crate::credential) issuer: Option<String>,
    /// What stands for the session and the subject at the provider.
    pub(in crate::credential) provider_names: Vec<String>,
    /// Whether the groups are elsewhere.
    pub(in crate::credential) unknown_groups: bool,
}

impl Said {
    /// What these claims say.
    pub(in crate::credential) fn of(claims: &Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let issuer = text("iss").unwrap_or("");
        let names = [
            text("sid").map(|sid| provider_session(issuer, sid)),
            text("sub").map(|sub| provider_subject(issuer, sub)),
        ];
        let signed_in = time(claims, "auth_time");
        Self {
            malformed_auth_time: signed_in.is_err(),
            issuer: Some(issuer)
                .filter(|issuer| !issuer.is_empty() && Attributes::is_value(issuer))
                .map(str::to_owned),
            signed_in: signed_in.ok().flatten(),
            provider_names: names.iter().flatten().map(Subject::to_string).collect(),
            unknown_groups: is_by_reference(claims, Attributes::GROUPS),
        }
    }
}
