use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::{TextList, public_url};
use crate::contract::{ReturnHost, SignInSettings};

/// The sign-in page that browsers are redirected to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawSignIn {
    /// The address of the sign-in page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The query parameter of the sign-in page that receives the return address.
    pub return_parameter: String,
    /// Hosts that a return address may have.
    #[schemars(with = "schema_types::StringList")]
    pub allowed_hosts: TextList<String>,
}

impl Default for RawSignIn {
    fn default() -> Self {
        Self {
            url: None,
            return_parameter: "rd".to_owned(),
            allowed_hosts: TextList::default(),
        }
    }
}

impl RawSignIn {
    pub(in crate::config) fn parse(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<SignInSettings>> {
        let Some(text) = &self.url else {
            if !self.allowed_hosts.is_empty() {
                mistakes.add("sign_in.allowed_hosts", "needs sign_in.url");
            }
            return Ok(None);
        };
        let url = public_url(text).filter(is_page);
        let url = mistakes.record_error(
            "sign_in.url",
            url.ok_or("not an absolute address such as https://login.example.com/"),
        );
        let parameter = &self.return_parameter;
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if parameter.is_empty() || parameter == "reason" || !parameter.bytes().all(is_valid) {
            mistakes.add(
                "sign_in.return_parameter",
                "must be letters, digits, `-`, `.` or `_`, and not `reason`",
            );
        }
        if self.allowed_hosts.is_empty() {
            mistakes.add(
                "sign_in.allowed_hosts",
                "is missing: list the hosts that a return address may have, such as \
                 app.example.com, app.example.com:8443 or *.example.com",
            );
        }
        let hosts: Option<Vec<ReturnHost>> = self
            .allowed_hosts
            .0
            .iter()
            .map(|host| parse_return_host(host))
            .collect();
        let hosts = mistakes.record_error(
            "sign_in.allowed_hosts",
            hosts.ok_or(
                "must be hosts such as app.example.com, app.example.com:8443 or *.example.com",
            ),
        );
        Ok(Some(SignInSettings {
            url: url?,
            return_parameter: parameter.clone(),
            allowed_hosts: hosts?,
        }))
    }
}

impl Section for RawSignIn {}

/// Whether the URL can be a redirect target for browsers.
fn is_page(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.fragment().is_none()
}

fn parse_return_host(text: &str) -> Option<ReturnHost> {
    let text = text.to_ascii_lowercase();
    if let Some(domain) = text.strip_prefix("*.") {
        // Reject a top-level domain, because its subdomains belong to many owners.
        let has_parent_domain =
            domain.contains('.') && matches!(Host::parse(domain), Ok(Host::Domain(_)));
        return (has_parent_domain && !domain.contains(':'))
            .then(|| ReturnHost::Below(format!(".{domain}")));
    }
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    // Reject a host that the parser changes (normalizes), because browsers send the normalized host.
    let normalized = match (url.host_str()?, url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    (normalized == text && !text.contains('*')).then_some(ReturnHost::Exact(text))
}
