//! Sign-in by OpenID Connect, and what must fit together for it: the addresses and the cookie.

use std::time::Duration;

use url::Url;

use super::{DAY, HOUR, Mistakes, jwt};
use crate::config::raw::{RawConfig, RawLogin, RawProvider};
use crate::contract::{CookieSettings, ReturnHost, SignInSettings};
use crate::credential::jwt::{Claims, Issuer};
use crate::jwks::{FetchSettings, Freshness, Location};
use crate::jwks::{IssuerSettings, KeySource};
use crate::login::{LoginSettings, ProviderSettings};
use crate::policy::{MaxAge, Policies};
use crate::secret::Secret;

/// What is configured of sign-in; `Some(None)` where Curfew signs nobody in.
pub(super) fn parse(
    raw: &RawLogin,
    freshness: Freshness,
    policies: Option<&Policies>,
    mistakes: &mut Mistakes,
) -> Option<Option<LoginSettings>> {
    let max_age = max_age("login.max_age", &raw.max_age, mistakes);
    let revalidate = revalidate(&raw.revalidate, mistakes);
    let least = Duration::from_millis(10);
    let timeout = mistakes.duration("login.timeout", &raw.timeout, least, HOUR / 60);
    let Some(url) = &raw.url else {
        if !raw.providers.is_empty() {
            mistakes.note(
                "login.url",
                "is missing: the address that browsers find Curfew at, such as \
                 https://app.example.com",
            );
        }
        return Some(None);
    };
    if raw.providers.is_empty() {
        mistakes.note(
            "login.providers",
            "is empty: login.url needs somebody to sign people in",
        );
    }
    let url = Url::parse(url)
        .ok()
        .filter(is_origin)
        .ok_or("not the address of a host, without a path, such as https://app.example.com");
    let url = mistakes.take("login.url", url);
    let providers: Vec<Option<ProviderSettings>> = raw
        .providers
        .iter()
        .map(|(name, raw)| provider(name, raw, timeout?, freshness, policies, mistakes))
        .collect();
    Some(Some(LoginSettings {
        url: url?,
        max_age: max_age?,
        revalidate: revalidate?,
        providers: providers.into_iter().collect::<Option<_>>()?,
    }))
}

fn is_origin(url: &Url) -> bool {
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    bare && matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
}

/// How long ago a person may have authenticated, as the value of this key says.
pub(super) fn max_age(key: &str, text: &str, mistakes: &mut Mistakes) -> Option<MaxAge> {
    match text {
        "idle" => Some(MaxAge::Idle),
        "off" | "false" => Some(MaxAge::Any),
        text => {
            let Ok(age) = humantime::parse_duration(text) else {
                mistakes.note(key, "not `idle`, `off`, nor a duration like 8h");
                return None;
            };
            if age < Duration::from_secs(1) || age > DAY * 365 {
                mistakes.note(key, "must be between 1s and 365days");
                return None;
            }
            Some(MaxAge::Of(age))
        }
    }
}

fn revalidate(text: &str, mistakes: &mut Mistakes) -> Option<Option<Duration>> {
    const KEY: &str = "login.revalidate";
    if matches!(text, "off" | "false") {
        return Some(None);
    }
    if humantime::parse_duration(text).is_err() {
        mistakes.note(
            KEY,
            format!("`{text}` is not `off`, nor a duration like 5m"),
        );
        return None;
    }
    mistakes
        .duration(KEY, text, Duration::from_secs(1), DAY)
        .map(Some)
}

fn provider(
    name: &str,
    raw: &RawProvider,
    timeout: Duration,
    freshness: Freshness,
    policies: Option<&Policies>,
    mistakes: &mut Mistakes,
) -> Option<ProviderSettings> {
    let at = format!("login.providers.{name}");
    let key = |part: &str| format!("{at}.{part}");
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        mistakes.note(
            &at,
            "a provider's name is a part of an address: 1 to 64 characters out of a-z, 0-9, `-` and `_`",
        );
    }
    if raw.client_id.is_empty() {
        mistakes.note(
            key("client_id"),
            "is missing: what the provider calls Curfew",
        );
    }
    let address = Url::parse(&raw.issuer).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let issuer = mistakes.take(
        &key("issuer"),
        address.ok_or("not the address of an issuer such as https://id.example.com"),
    );
    let algorithms = jwt::algorithms(&key("algorithms"), &raw.algorithms.0, mistakes);
    let client_secret = secret(&at, raw, mistakes);
    let authorities = match &raw.ca_file {
        Some(path) => mistakes.read(&key("ca_file"), path).map(Some),
        None => Some(None),
    };
    let leeway = mistakes.duration(&key("leeway"), &raw.leeway, Duration::ZERO, HOUR / 6);
    let policy = super::policy_name(&key("policy"), raw.policy.as_deref(), policies, mistakes);
    let (issuer, authorities) = (issuer?, authorities?);
    Some(ProviderSettings {
        issuer: IssuerSettings {
            name: name.to_owned(),
            issuer: Issuer {
                issuer: raw.issuer.clone(),
                audiences: vec![raw.client_id.clone()],
                algorithms,
                typ: None,
                leeway: leeway?,
                // Of credentials only; a sign-in has rules of its own.
                accepts_iat: false,
                claims: Claims {
                    session: vec!["sid".to_owned()],
                    subject: raw.subject_claim.clone(),
                    groups: raw.groups_claim.clone(),
                    email: raw.email_claim.clone(),
                },
            },
            keys: KeySource::Fetched(FetchSettings {
                location: Location::Discovery { issuer },
                authorities: authorities.clone(),
                timeout,
                freshness,
            }),
            policy: policy?,
        },
        client_id: raw.client_id.clone(),
        client_secret: client_secret?,
        scopes: raw
            .scopes
            .0
            .iter()
            .filter(|it| *it != "openid")
            .cloned()
            .collect(),
        title: raw.title.clone().unwrap_or_else(|| name.to_owned()),
        authorities,
        timeout,
    })
}

fn secret(at: &str, raw: &RawProvider, mistakes: &mut Mistakes) -> Option<Option<Secret<String>>> {
    let key = format!("{at}.client_secret_file");
    match (&raw.client_secret, &raw.client_secret_file) {
        (Some(_), Some(_)) => {
            mistakes.note(key, "and client_secret are both given: keep one");
            None
        }
        (Some(secret), None) => Some(Some(secret.clone())),
        (None, Some(path)) => {
            let text = mistakes.read_text(&key, path)?;
            let text = text.trim();
            if text.is_empty() {
                mistakes.note(key, "the file is empty");
                return None;
            }
            Some(Some(Secret::new(text.to_owned())))
        }
        (None, None) => Some(None),
    }
}

/// Fills in where browsers are sent to sign in, where that is Curfew itself.
pub(super) fn fill_in(raw: &mut RawConfig, mistakes: &mut Mistakes) {
    let Some(base) = &raw.login.url else {
        return;
    };
    if raw.sign_in.url.is_some() {
        mistakes.note(
            "sign_in.url",
            "and login.url are both given: with login.url people sign in at Curfew itself",
        );
        return;
    }
    if raw.sign_in.return_parameter != "rd" {
        mistakes.note("sign_in.return_parameter", "must be `rd` with login.url");
    }
    let base = base.trim_end_matches('/');
    if raw.sign_in.allowed_hosts.is_empty()
        && let Ok(url) = Url::parse(base)
    {
        raw.sign_in.allowed_hosts.0.push(authority(&url));
    }
    raw.sign_in.url = Some(format!("{base}/.curfew/login"));
}

/// The cookie must reach every host that people are sent back to from where it is set.
pub(super) fn fit_together(
    login: &LoginSettings,
    sign_in: &SignInSettings,
    cookie: &CookieSettings,
    mistakes: &mut Mistakes,
) {
    let host = login.url.host_str().unwrap_or_default();
    if cookie.secure && login.url.scheme() != "https" {
        mistakes.note(
            "login.url",
            "must be https://… while cookie.secure is on: browsers would not keep the cookies",
        );
    }
    let domain = cookie
        .domain
        .as_deref()
        .map(|it| it.trim_start_matches('.').to_ascii_lowercase());
    let within = |name: &str| match &domain {
        Some(domain) => {
            name == domain
                || name
                    .strip_suffix(&**domain)
                    .is_some_and(|it| it.ends_with('.'))
        }
        None => name == host,
    };
    if !within(host) {
        mistakes.note("login.url", "its host is not within cookie.domain");
    }
    for pattern in &sign_in.allowed_hosts {
        let reached = match pattern {
            ReturnHost::Exact(name) => within(name.split(':').next().unwrap_or_default()),
            ReturnHost::Below(below) => domain.is_some() && within(below.trim_start_matches('.')),
        };
        if !reached {
            mistakes.note(
                "sign_in.allowed_hosts",
                "holds hosts that a cookie of login.url's host does not reach: set cookie.domain to a \
                 domain of all of them, with a cookie.name that begins with __Secure-",
            );
            return;
        }
    }
}

/// A host, with its port where that is not the usual one.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
