use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TextList, shape};

/// The admin API.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAdmin {
    /// SHA-256 hashes, in hexadecimal, of the tokens that open it.
    #[schemars(with = "shape::Texts")]
    pub token_hashes: TextList<String>,
    /// A file with more of them, a hash a line; `#` begins a comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_hashes_file: Option<String>,
    /// Kubernetes, whose roles say who may use the API.
    pub kubernetes: RawKubernetes,
    /// Whether sessions may be aged.
    pub allow_ageing: bool,
    /// Groups whose members may use the console, signed in by one of `login.providers`.
    #[schemars(with = "shape::Texts")]
    pub groups: TextList<String>,
    /// Where browsers find the console; with `https://` its cookie is for TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Kubernetes, asked who may use the admin API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawKubernetes {
    /// Whether it is asked.
    pub enabled: bool,
    /// The API server.
    pub url: String,
    /// The token that Curfew shows it.
    pub token_file: String,
    /// PEM certificates of the authorities to trust.
    pub ca_file: String,
    /// For whom a token must be made.
    #[schemars(with = "shape::Texts")]
    pub audiences: TextList<String>,
    /// How long an answer is gone by.
    #[schemars(with = "shape::Duration")]
    pub cache: String,
}

impl Default for RawKubernetes {
    fn default() -> Self {
        let mounted = |name| format!("/var/run/secrets/kubernetes.io/serviceaccount/{name}");
        Self {
            enabled: false,
            url: "https://kubernetes.default.svc".to_owned(),
            token_file: mounted("token"),
            ca_file: mounted("ca.crt"),
            audiences: TextList(vec!["curfew".to_owned()]),
            cache: "10s".to_owned(),
        }
    }
}
