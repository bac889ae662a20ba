use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::config::text::public_url;
use crate::kubernetes::ClusterSettings;

/// Session limits as Kubernetes resources.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawKubernetesPolicies {
    /// Whether Curfew reads SessionPolicies, ClusterSessionPolicies and annotations of routes.
    pub policies: bool,
    /// Whether Curfew denies every check until it has read all policies.
    pub required: bool,
    /// The address of the API server.
    pub url: String,
    /// The file with Curfew's own service account token.
    pub token_file: String,
    /// A file with PEM certificates of the CAs to trust for the API server.
    pub ca_file: String,
    /// The namespace of Curfew, in which its replicas share a lease; without it, the namespace of the service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl Default for RawKubernetesPolicies {
    fn default() -> Self {
        let service_account_file =
            |name| format!("/var/run/secrets/kubernetes.io/serviceaccount/{name}");
        Self {
            policies: false,
            required: true,
            url: "https://kubernetes.default.svc".to_owned(),
            token_file: service_account_file("token"),
            ca_file: service_account_file("ca.crt"),
            namespace: None,
        }
    }
}

impl RawKubernetesPolicies {
    /// Returns the namespace, or else that of the service account, which is in a file beside the token.
    fn namespace(&self) -> String {
        let of_account = || {
            let file = Path::new(&self.token_file).with_file_name("namespace");
            let text = std::fs::read_to_string(file).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let namespace = self.namespace.clone().or_else(of_account);
        namespace.unwrap_or_else(|| "default".to_owned())
    }

    pub(in crate::config) fn parse(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<ClusterSettings>> {
        if !self.policies {
            return Ok(None);
        }
        mistakes.need_kubernetes_feature("kubernetes.policies")?;
        let url = public_url(&self.url).filter(|url| match url.scheme() {
            "https" => url.has_host(),
            // For `kubectl proxy`.
            "http" => matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost")),
            _ => false,
        });
        let message = "must be the https:// address of the API server, such as https://kubernetes.default.svc, or an \
                       http:// address of this machine";
        let url = mistakes.record_error("kubernetes.url", url.ok_or(message))?;
        let is_encrypted = url.scheme() == "https";
        // Only check that the files can be read, because the client reads them again.
        if is_encrypted {
            let token = mistakes.read_file("kubernetes.token_file", &self.token_file);
            let authorities = mistakes.read_file("kubernetes.ca_file", &self.ca_file);
            token?;
            authorities?;
        }
        let file = |path: &str| is_encrypted.then(|| PathBuf::from(path));
        Ok(Some(ClusterSettings {
            url,
            token_file: file(&self.token_file),
            ca_file: file(&self.ca_file),
            namespace: self.namespace(),
            required: self.required,
        }))
    }
}

impl Section for RawKubernetesPolicies {
    fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
        let Self {
            policies,
            required,
            url,
            token_file,
            ca_file,
            namespace,
        } = self;
        let changes = [
            ("kubernetes.policies", *policies != before.policies),
            ("kubernetes.required", *required != before.required),
            ("kubernetes.url", *url != before.url),
            ("kubernetes.token_file", *token_file != before.token_file),
            ("kubernetes.ca_file", *ca_file != before.ca_file),
            ("kubernetes.namespace", *namespace != before.namespace),
        ];
        let changes = changes.into_iter();
        changes
            .filter_map(|(key, has_changed)| has_changed.then_some(key))
            .collect()
    }
}
