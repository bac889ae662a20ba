use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::shape;
use crate::config::text::TextList;
use crate::secret::Secret;

/// Sign-in with OpenID Connect, with Curfew as the client.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLogin {
    /// The public address of Curfew: its path `/.curfew/` must be routed to the `browser` listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The maximum age of the authentication at the provider when a session starts: `idle` for the
    /// idle limit, a duration, or `off`.
    pub max_age: String,
    /// The interval at which Curfew asks the provider whether the person of a session in use may still be signed in,
    /// such as `5m`; `off` to never ask.
    pub revalidate: String,
    /// The timeout for one request to a provider.
    #[schemars(with = "shape::Duration")]
    pub timeout: String,
    /// The providers; the key is a name of your choice.
    pub providers: BTreeMap<String, RawProvider>,
}

/// An OpenID Connect provider that people sign in with.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawProvider {
    /// The issuer; OpenID Connect Discovery supplies its endpoints.
    pub issuer: String,
    /// The OAuth client ID of Curfew.
    pub client_id: String,
    /// The OAuth client secret; if omitted, Curfew is a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<Secret<String>>,
    /// A file with the OAuth client secret; read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<String>,
    /// Display name on the provider chooser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The scopes to request, in addition to `openid`.
    #[schemars(with = "shape::StringList")]
    pub scopes: TextList<String>,
    /// Accepted values of `alg`, the signature algorithm of ID tokens.
    #[schemars(with = "shape::StringList")]
    pub algorithms: TextList<String>,
    /// Clock-skew leeway.
    #[schemars(with = "shape::Duration")]
    pub leeway: String,
    /// The claim with the subject.
    pub subject_claim: String,
    /// The claim with the subject's groups.
    pub groups_claim: String,
    /// The claim with the subject's email address.
    pub email_claim: String,
    /// A PEM file with the CAs to trust for this provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The home policy of sessions from this provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Default for RawLogin {
    fn default() -> Self {
        Self {
            url: None,
            max_age: "idle".to_owned(),
            revalidate: "off".to_owned(),
            timeout: "5s".to_owned(),
            providers: BTreeMap::new(),
        }
    }
}

impl Default for RawProvider {
    fn default() -> Self {
        let texts = |texts: &[&str]| TextList(texts.iter().map(|&text| text.to_owned()).collect());
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            client_secret_file: None,
            title: None,
            scopes: texts(&["profile", "email"]),
            algorithms: texts(&["RS256"]),
            leeway: "30s".to_owned(),
            subject_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            email_claim: "email".to_owned(),
            ca_file: None,
            policy: None,
        }
    }
}
