use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::text::{TextList, public_url};
use crate::kubernetes::KubernetesSettings;

/// Authorization of Kubernetes users for the admin API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawKubernetes {
    /// Whether Curfew accepts Kubernetes tokens.
    pub enabled: bool,
    /// The address of the API server.
    pub url: String,
    /// The file with Curfew's own service account token.
    pub token_file: String,
    /// A file with PEM certificates of the CAs to trust for the API server.
    pub ca_file: String,
    /// The accepted audiences of a Kubernetes token.
    #[schemars(with = "schema_types::StringList")]
    pub audiences: TextList<String>,
    /// How long Curfew caches an answer of the API server.
    #[schemars(with = "schema_types::Duration")]
    pub cache: String,
}

impl Default for RawKubernetes {
    fn default() -> Self {
        let service_account_file =
            |name| format!("/var/run/secrets/kubernetes.io/serviceaccount/{name}");
        Self {
            enabled: false,
            url: "https://kubernetes.default.svc".to_owned(),
            token_file: service_account_file("token"),
            ca_file: service_account_file("ca.crt"),
            audiences: TextList(vec!["curfew".to_owned()]),
            cache: "10s".to_owned(),
        }
    }
}

impl RawKubernetes {
    pub(super) fn parse(&self, mistakes: &mut Mistakes) -> Valid<Option<KubernetesSettings>> {
        if !self.enabled {
            return Ok(None);
        }
        mistakes.need_kubernetes_feature("admin.kubernetes.enabled")?;
        let url = public_url(&self.url);
        let url = url.filter(|url| url.scheme() == "https" && url.has_host());
        let message = "must be the https:// address of the API server, such as https://kubernetes.default.svc";
        let url = mistakes.record_error("admin.kubernetes.url", url.ok_or(message));
        let authorities = mistakes.read_file("admin.kubernetes.ca_file", &self.ca_file);
        let cache_duration = mistakes.parse_duration(
            "admin.kubernetes.cache",
            &self.cache,
            Duration::ZERO,
            HOUR / 12,
        );
        // Only check that the files can be read, because the client reads them again.
        let token = mistakes.read_file("admin.kubernetes.token_file", &self.token_file);
        token?;
        authorities?;
        Ok(Some(KubernetesSettings {
            url: url?,
            token_file: PathBuf::from(&self.token_file),
            ca_file: PathBuf::from(&self.ca_file),
            audiences: self.audiences.0.clone(),
            cache_duration: cache_duration?,
        }))
    }
}
