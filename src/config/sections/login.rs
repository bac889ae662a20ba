mod provider;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::RawSignIn;
use crate::config::mistakes::{DAY, HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::public_url;
use crate::contract::{CookieSettings, ReturnHost, SignInSettings};
use crate::jwks::Freshness;
use crate::login::{LoginSettings, ProviderSettings};
use crate::policy::{MaxAge, Policies};

pub use provider::RawProvider;

/// Sign-in with OpenID Connect, with Curfew as the client.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLogin {
    /// The public address of Curfew. Requests for its path `/.curfew/` must go to the `browser` listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The maximum age of the authentication at the provider when a session starts: `idle` for the
    /// idle limit, a duration, or `off`.
    pub max_age: String,
    /// The interval at which Curfew asks the provider whether the person of a session in use may still be signed in,
    /// such as `5m`; `off` to never ask.
    pub revalidate: String,
    /// The timeout for one request to a provider.
    #[schemars(with = "schema_types::Duration")]
    pub timeout: String,
    /// The providers; the key is a name of your choice.
    pub providers: BTreeMap<String, RawProvider>,
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

impl RawLogin {
    /// Parses the sign-in settings; `None` if Curfew does not sign people in.
    pub(in crate::config) fn parse(
        &self,
        freshness: Freshness,
        policies: Valid<&Policies>,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<LoginSettings>> {
        let max_age = parse_max_age("login.max_age", &self.max_age, mistakes);
        let revalidate = parse_revalidate(&self.revalidate, mistakes);
        let min = Duration::from_millis(10);
        let timeout = mistakes.parse_duration("login.timeout", &self.timeout, min, HOUR / 60);
        let Some(url) = &self.url else {
            if !self.providers.is_empty() {
                mistakes.add(
                    "login.url",
                    "is missing: set it to the public address of Curfew, such as https://app.example.com",
                );
            }
            return Ok(None);
        };
        if self.providers.is_empty() {
            mistakes.add(
                "login.providers",
                "is empty: login.url needs at least one provider",
            );
        }
        let url = public_url(url)
            .filter(is_origin)
            .ok_or("must be the address of a host without a path, such as https://app.example.com");
        let url = mistakes.record_error("login.url", url);
        let providers: Vec<Valid<ProviderSettings>> = self
            .providers
            .iter()
            .map(|(name, raw)| raw.parse(name, timeout?, freshness, policies, mistakes))
            .collect();
        Ok(Some(LoginSettings {
            url: url?,
            max_age: max_age?,
            revalidation_interval: revalidate?,
            providers: providers.into_iter().collect::<Valid<_>>()?,
        }))
    }
}

impl Section for RawLogin {
    const SECRETS: &'static [&'static str] = &["providers.*.client_secret"];
}

fn is_origin(url: &Url) -> bool {
    let has_only_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    has_only_origin && matches!(url.scheme(), "http" | "https")
}

/// Parses the maximum age of an authentication.
pub(in crate::config) fn parse_max_age(
    key: &str,
    text: &str,
    mistakes: &mut Mistakes,
) -> Valid<MaxAge> {
    match text {
        "idle" => Ok(MaxAge::Idle),
        "off" | "false" => Ok(MaxAge::Any),
        text => {
            let Ok(age) = humantime::parse_duration(text) else {
                return mistakes.reject(key, "must be `idle`, `off` or a duration such as 8h");
            };
            if age < Duration::from_secs(1) || age > DAY * 365 {
                return mistakes.reject(key, "must be between 1s and 365days");
            }
            Ok(MaxAge::Of(age))
        }
    }
}

fn parse_revalidate(text: &str, mistakes: &mut Mistakes) -> Valid<Option<Duration>> {
    const KEY: &str = "login.revalidate";
    if matches!(text, "off" | "false") {
        return Ok(None);
    }
    if humantime::parse_duration(text).is_err() {
        return mistakes.reject(
            KEY,
            format!("`{text}` is not `off` or a duration such as 5m"),
        );
    }
    mistakes
        .parse_duration(KEY, text, Duration::from_secs(1), DAY)
        .map(Some)
}

/// If `login.url` is set, makes Curfew's own page `/.curfew/login` the sign-in page.
pub(in crate::config) fn set_sign_in_page(
    login: &RawLogin,
    sign_in: &mut RawSignIn,
    mistakes: &mut Mistakes,
) {
    let Some(base) = &login.url else {
        return;
    };
    if sign_in.url.is_some() {
        mistakes.add(
            "sign_in.url",
            "conflicts with login.url: with login.url, Curfew is the sign-in page",
        );
        return;
    }
    if sign_in.return_parameter != "rd" {
        mistakes.add(
            "sign_in.return_parameter",
            "must be `rd` if login.url is set",
        );
    }
    let base = base.trim_end_matches('/');
    if sign_in.allowed_hosts.is_empty()
        && let Ok(url) = Url::parse(base)
    {
        sign_in.allowed_hosts.0.push(host_and_port(&url));
    }
    sign_in.url = Some(format!("{base}/.curfew/login"));
}

/// Checks that browsers send the cookie to every host that a return address can have.
pub(in crate::config) fn check_cookie_scope(
    login: &LoginSettings,
    sign_in: &SignInSettings,
    cookie: &CookieSettings,
    mistakes: &mut Mistakes,
) {
    let host = login.url.host_str().unwrap_or_default();
    if cookie.secure && login.url.scheme() != "https" {
        mistakes.add(
            "login.url",
            "must be https://… while cookie.secure is on: otherwise browsers reject the cookies",
        );
    }
    let domain = cookie
        .domain
        .as_deref()
        .map(|it| it.trim_start_matches('.').to_ascii_lowercase());
    let is_in_scope = |name: &str| match &domain {
        Some(domain) => {
            name == domain
                || name
                    .strip_suffix(&**domain)
                    .is_some_and(|it| it.ends_with('.'))
        }
        None => name == host,
    };
    if !is_in_scope(host) {
        mistakes.add(
            "login.url",
            "the host of this URL is not within cookie.domain: set cookie.domain to this host or to a parent domain",
        );
    }
    for pattern in &sign_in.allowed_hosts {
        let is_covered = match pattern {
            ReturnHost::Exact(name) => is_in_scope(name.split(':').next().unwrap_or_default()),
            ReturnHost::Below(below) => {
                domain.is_some() && is_in_scope(below.trim_start_matches('.'))
            }
        };
        if !is_covered {
            mistakes.add(
                "sign_in.allowed_hosts",
                "has a host to which browsers do not send the session cookie: set cookie.domain to a common parent \
                 domain of all hosts, and use a cookie.name that begins with __Secure-",
            );
            return;
        }
    }
}

/// Returns the host of a URL, with its port unless it is the default port.
fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
