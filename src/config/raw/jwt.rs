use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use super::text::TextList;

/// The tokens of identity providers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawJwt {
    /// Whether they are taken from `Authorization: Bearer`.
    pub bearer: bool,
    /// A cookie that they are taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// How often the keys of an issuer are fetched.
    #[schemars(with = "shape::Duration")]
    pub refresh: String,
    /// How long they are used after the last fetch that succeeded.
    #[schemars(with = "shape::Duration")]
    pub stale: String,
    /// The most time for one request to an issuer.
    #[schemars(with = "shape::Duration")]
    pub timeout: String,
    /// Whether OpenID Connect Front-Channel Logout is taken, which nobody signs.
    pub front_channel_logout: bool,
    /// The issuers, each by a name of your own.
    pub issuers: BTreeMap<String, RawIssuer>,
}

/// An identity provider.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawIssuer {
    /// `iss`: the issuer as its tokens name it.
    pub issuer: String,
    /// `aud`: for whom tokens must be meant, one of these.
    #[schemars(with = "shape::Texts")]
    pub audience: TextList<String>,
    /// Where its keys are, instead of where its OpenID Connect metadata say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// A file with its keys, instead: a JSON Web Key Set, or a public key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<String>,
    /// A PEM file with the authorities to trust for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// `alg`: the algorithms that it signs with.
    #[schemars(with = "shape::Texts")]
    pub algorithms: TextList<String>,
    /// `typ`: the kind of its tokens, such as `at+jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// By how much clocks may differ.
    #[schemars(with = "shape::Duration")]
    pub leeway: String,
    /// The claims that name a session; the first that is there.
    #[schemars(with = "shape::Texts")]
    pub session_claims: TextList<String>,
    /// Why a session may begin with the `iat` of a token without `auth_time`. Without a reason, such tokens are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_iat: Option<String>,
    /// The claim that is the subject.
    pub subject_claim: String,
    /// The claim that holds its groups.
    pub groups_claim: String,
    /// The claim that holds its email address.
    pub email_claim: String,
    /// The home policy of the sessions that its tokens start.
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
