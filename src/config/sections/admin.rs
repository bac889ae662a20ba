mod console;
mod kubernetes;
mod tokens;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::AdminConfig;
use crate::config::mistakes::{Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::{TextList, public_url};

pub use console::RawConsole;
pub use kubernetes::RawKubernetes;
pub use tokens::{AdminTokenList, RawAdminToken, RawNamedToken};

/// The admin API and the console.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAdmin {
    /// The admin tokens: SHA-256 hashes in hexadecimal, each alone or with a name and rights.
    #[schemars(with = "schema_types::AdminTokens")]
    pub token_hashes: AdminTokenList,
    /// A file with more admin tokens, one per line: a hash, or a hash, a name and rights; `#` starts a
    /// comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_hashes_file: Option<String>,
    /// Authorization of Kubernetes users with RBAC.
    pub kubernetes: RawKubernetes,
    /// Whether the API may age sessions, for tests.
    pub allow_ageing: bool,
    /// The limits of an operator's session in the console.
    pub console: RawConsole,
    /// The number of trusted proxies in front of the listener that append to `client_address.header`; with 0, the
    /// client address is the address of the connection.
    pub trusted_proxies: usize,
    /// Groups whose members may use the console after sign-in with a provider of `login.providers`.
    #[schemars(with = "schema_types::StringList")]
    pub groups: TextList<String>,
    /// The public address of the console; with `https://`, its cookie is `Secure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl RawAdmin {
    /// Parses the section. `has_providers` is true if people can sign in with a provider, and `is_embedded` if the
    /// store is in this process.
    pub(in crate::config) fn parse(
        &self,
        has_providers: bool,
        is_embedded: bool,
        mistakes: &mut Mistakes,
    ) -> Valid<AdminConfig> {
        let tokens = tokens::parse(self, is_embedded, mistakes);
        if !self.groups.is_empty() && (self.url.is_none() || !has_providers) {
            mistakes.add(
                "admin.groups",
                "needs admin.url (providers redirect the browser to this address) and login.providers (the providers \
                 that supply the groups)",
            );
        }
        let url = match &self.url {
            None => Ok(None),
            Some(url) => {
                let url = public_url(url).filter(|url| {
                    matches!(url.scheme(), "http" | "https")
                        && url.path() == "/"
                        && url.query().is_none()
                });
                let message = "must be the address of a host without a path, such as https://curfew.example.com";
                mistakes
                    .record_error("admin.url", url.ok_or(message))
                    .map(Some)
            }
        };
        let kubernetes = self.kubernetes.parse(mistakes);
        if self.trusted_proxies > 100 {
            mistakes.add(
                "admin.trusted_proxies",
                "must be the number of your proxies in front of the admin listener, and at most 100",
            );
        }
        Ok(AdminConfig {
            tokens: tokens?,
            kubernetes: kubernetes?,
            allow_ageing: self.allow_ageing,
            url: url?,
            groups: self.groups.0.clone(),
            proxies: self.trusted_proxies,
        })
    }
}

impl Section for RawAdmin {
    // Errors do not show these values. A hash is not secret, but a user can paste the token itself by mistake.
    const SECRETS: &'static [&'static str] = &["token_hashes"];
    // Errors may show these values, because it is unlikely that a user pastes a token into these keys.
    const NOT_SECRET: &'static [&'static str] = &["token_hashes.*.name", "token_hashes.*.allow"];
}
