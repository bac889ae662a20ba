//! Reads claims of verified and unverified tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::error::InvalidJwt;
use crate::credential::derived_id::derive_id;
use crate::session::{Attributes, Subject, Timestamp};

/// The maximum length of a token in bytes. The tokens of providers are shorter, and a token of this length is still
/// cheap to verify.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The maximum length of an ID token or a signed UserInfo response in bytes. Both can list many groups. A high limit is
/// safe, because Curfew receives both from the provider itself.
pub(super) const MAX_IDENTITY_BYTES: usize = 1024 * 1024;

/// Returns the `iss` claim of an unverified token. The caller may use the claim only to select the issuer's keys.
#[must_use]
pub fn unverified_issuer(token: &str) -> Option<String> {
    let claims = unverified_claims(token)?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Returns the claims of an unverified token; `None` if the token is malformed or too long.
pub(in crate::credential) fn unverified_claims(token: &str) -> Option<Map<String, Value>> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    decode_part(token, 1).ok()
}

/// Decodes one part of a token as a JSON object. Index 0 is the header, and index 1 is the part with the claims.
pub(super) fn decode_part(token: &str, index: usize) -> Result<Map<String, Value>, InvalidJwt> {
    let text = token.split('.').nth(index).ok_or(InvalidJwt::Malformed)?;
    let json = URL_SAFE_NO_PAD.decode(text);
    let json = json.map_err(|_| InvalidJwt::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| InvalidJwt::Malformed)
}

/// Finds a claim with its dotted path. A claim whose whole name equals the path takes precedence, for example
/// `https://example.com/groups`.
pub(in crate::credential) fn find_claim<'a>(
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

/// Returns whether the provider marks the email address as unverified (OpenID Connect Core 1.0, section 5.1). Some
/// providers send `email_verified` as a string. Every value except true and null means unverified. If the claim is
/// missing, the address counts as verified.
pub(super) fn is_unverified_email(claims: &Map<String, Value>) -> bool {
    match claims.get("email_verified") {
        None | Some(Value::Null | Value::Bool(true)) => false,
        Some(Value::String(text)) => !text.eq_ignore_ascii_case("true"),
        Some(_) => true,
    }
}

/// Returns the strings of a claim that is one string, a list of strings, or null. `None` for any other type.
pub(super) fn strings_of_claim(value: &Value) -> Option<Vec<String>> {
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

/// Returns whether the token has a reference instead of the claim: `_claim_names` (OpenID Connect Core 1.0, section
/// 5.6.2). Microsoft Entra ID sends this reference for a user in more than 200 groups. In the implicit flow, Entra ID
/// sends `hasgroups` instead.
pub(super) fn has_reference_for(claims: &Map<String, Value>, path: &str) -> bool {
    let first = path.split('.').next().unwrap_or(path);
    let claim_names = claims.get("_claim_names").and_then(Value::as_object);
    let is_named =
        claim_names.is_some_and(|names| names.contains_key(path) || names.contains_key(first));
    let flag = claims.get("hasgroups");
    let is_flagged = flag.is_some_and(|flag| *flag != Value::Bool(false) && !flag.is_null());
    is_named || (is_flagged && path == "groups")
}

/// Returns a NumericDate claim: seconds since 1970, whole or fractional. `None` if the claim is missing.
pub(super) fn numeric_date(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<Timestamp>, InvalidJwt> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let time = value.as_f64().and_then(Timestamp::from_seconds);
    time.map(Some).ok_or(InvalidJwt::Malformed)
}

/// Returns the pseudo-subject for one session of a provider. A cut-off for it ends the sessions of Curfew that belong
/// to this session of the provider.
pub(super) fn provider_session_subject(issuer: &str, sid: &str) -> Subject {
    let texts = ["provider session", issuer, sid];
    Subject::of_provider(derive_id("jwt", &texts.map(str::as_bytes)))
}

/// Returns the pseudo-subject that stands for the subject `sub` of a provider. A cut-off for the pseudo-subject ends all
/// sessions of the provider's subject.
pub(super) fn provider_user_subject(issuer: &str, sub: &str) -> Subject {
    let texts = ["provider subject", issuer, sub];
    Subject::of_provider(derive_id("jwt", &texts.map(str::as_bytes)))
}

/// The claims of a token that describe a sign-in.
#[derive(Clone, Debug, Default)]
pub(in crate::credential) struct SignInClaims {
    /// When the subject signed in.
    pub(in crate::credential) signed_in: Option<Timestamp>,
    /// Whether `auth_time` is present but invalid.
    pub(in crate::credential) malformed_auth_time: bool,
    /// The `iss` claim.
    pub(in crate::credential) issuer: Option<String>,
    /// The pseudo-subjects for the provider's session and subject, see [`Subject::of_provider`].
    pub(in crate::credential) provider_names: Vec<String>,
    /// Whether the token has only a reference to the groups, so Curfew does not know the groups.
    pub(in crate::credential) unknown_groups: bool,
}

impl SignInClaims {
    /// Extracts the claims of the sign-in from all claims of a token.
    pub(in crate::credential) fn of(claims: &Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let issuer = text("iss").unwrap_or("");
        let names = [
            text("sid").map(|sid| provider_session_subject(issuer, sid)),
            text("sub").map(|sub| provider_user_subject(issuer, sub)),
        ];
        let signed_in = numeric_date(claims, "auth_time");
        Self {
            malformed_auth_time: signed_in.is_err(),
            issuer: Some(issuer)
                .filter(|issuer| !issuer.is_empty() && Attributes::is_valid_value(issuer))
                .map(str::to_owned),
            signed_in: signed_in.ok().flatten(),
            provider_names: names.iter().flatten().map(Subject::to_string).collect(),
            unknown_groups: has_reference_for(claims, Attributes::GROUPS),
        }
    }
}
