use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use super::text::TextList;
use crate::secret::Secret;

/// Sign-in by OpenID Connect, by Curfew itself.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLogin {
    /// Where browsers find Curfew: the address whose `/.curfew/` is routed to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How long ago a person may have proved to the provider who they are: `idle`, for as long as a
    /// session may be idle, a duration, or `off`.
    pub max_age: String,
    /// How often Curfew asks the provider of a session in use whether the person may still be signed in, such as `5m`;
    /// `off` for never.
    pub revalidate: String,
    /// The most time for one request to a provider.
    #[schemars(with = "shape::Duration")]
    pub timeout: String,
    /// The providers, each by a name of your own.
    pub providers: BTreeMap<String, RawProvider>,
}

/// An identity provider that people sign in at.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawProvider {
    /// Its issuer, whose OpenID Connect metadata say the rest.
    pub issuer: String,
    /// What it calls Curfew.
    pub client_id: String,
    /// By what it knows Curfew; without one, Curfew is a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<Secret<String>>,
    /// A file that holds that; read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<String>,
    /// What people call it, where they have to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is asked for besides `openid`.
    #[schemars(with = "shape::Texts")]
    pub scopes: TextList<String>,
    /// `alg`: the algorithms that it signs with.
    #[schemars(with = "shape::Texts")]
    pub algorithms: TextList<String>,
    /// By how much clocks may differ.
    #[schemars(with = "shape::Duration")]
    pub leeway: String,
    /// The claim that is the subject.
    pub subject_claim: String,
    /// The claim that holds its groups.
    pub groups_claim: String,
    /// The claim that holds its email address.
    pub email_claim: String,
    /// A PEM file with the authorities to trust for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The home policy of its people's sessions.
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
