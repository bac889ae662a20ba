use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::shape;
use crate::config::text::TextList;

/// JSON Web Tokens of identity providers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawJwt {
    /// Whether to accept tokens in `Authorization: Bearer`.
    pub bearer: bool,
    /// The cookie that carries tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The interval between fetches of an issuer's keys.
    #[schemars(with = "shape::Duration")]
    pub refresh: String,
    /// How long keys stay in use after the last successful fetch.
    #[schemars(with = "shape::Duration")]
    pub stale: String,
    /// The timeout for one request to an issuer.
    #[schemars(with = "shape::Duration")]
    pub timeout: String,
    /// Whether to accept OpenID Connect Front-Channel Logout, whose requests are not signed.
    pub front_channel_logout: bool,
    /// The issuers; the key is a name of your choice.
    pub issuers: BTreeMap<String, RawIssuer>,
}

/// An issuer of JSON Web Tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawIssuer {
    /// The `iss` claim of its tokens.
    pub issuer: String,
    /// Accepted values of `aud`; a token needs one of them.
    #[schemars(with = "shape::StringList")]
    pub audience: TextList<String>,
    /// The address of its JSON Web Key Set; if omitted, OpenID Connect Discovery finds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// A file with its keys, instead of an address: a JSON Web Key Set, or a public key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<String>,
    /// A PEM file with the CAs to trust for this issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Accepted values of `alg`, the signature algorithm.
    #[schemars(with = "shape::StringList")]
    pub algorithms: TextList<String>,
    /// The required value of `typ`, such as `at+jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// Clock-skew leeway.
    #[schemars(with = "shape::Duration")]
    pub leeway: String,
    /// The claims that identify a session; the first claim that is present is used.
    #[schemars(with = "shape::StringList")]
    pub session_claims: TextList<String>,
    /// The reason why `iat` may replace `auth_time` as the start of a session. Without a reason, tokens without
    /// `auth_time` are rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_iat: Option<String>,
    /// The claim with the subject.
    pub subject_claim: String,
    /// The claim with the subject's groups.
    pub groups_claim: String,
    /// The claim with the subject's email address.
    pub email_claim: String,
    /// The home policy of sessions from this issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Default for RawJwt {
    fn default() -> Self {
        Self {
            bearer: true,
            cookie: None,
            refresh: "5m".to_owned(),
            stale: "1d".to_owned(),
            timeout: "5s".to_owned(),
            front_channel_logout: false,
            issuers: BTreeMap::new(),
        }
    }
}

impl Default for RawIssuer {
    fn default() -> Self {
        let texts = |texts: &[&str]| TextList(texts.iter().map(|&text| text.to_owned()).collect());
        Self {
            issuer: String::new(),
            audience: texts(&[]),
            jwks_url: None,
            jwks_file: None,
            ca_file: None,
            algorithms: texts(&["RS256"]),
            typ: None,
            leeway: "30s".to_owned(),
            session_claims: texts(&["sid"]),
            accept_iat: None,
            subject_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            email_claim: "email".to_owned(),
            policy: None,
        }
    }
}
