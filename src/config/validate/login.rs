//! Sign-in with OpenID Connect, and consistency of its addresses with the cookie.

use std::time::Duration;

use url::Url;

use super::jwt;
use crate::config::mistakes::{DAY, HOUR, Mistakes, Valid};
use crate::config::sections::{RawConfig, RawLogin, RawProvider};
use crate::contract::{CookieSettings, ReturnHost, SignInSettings};
use crate::credential::jwt::{Claims, Issuer};
use crate::jwks::{FetchSettings, Freshness, Location};
use crate::jwks::{IssuerSettings, KeySource};
use crate::login::{LoginSettings, ProviderSettings};
use crate::policy::{MaxAge, Policies};
use crate::secret::Secret;

/// The sign-in settings; `None` if Curfew does not sign people in.
pub(super) fn parse(
    raw: &RawLogin,
    freshness: Freshness,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<Option<LoginSettings>> {
    let max_age = max_age("login.max_age", &raw.max_age, mistakes);
    let revalidate = revalidate(&raw.revalidate, mistakes);
    let least = Duration::from_millis(10);
    let timeout = mistakes.duration("login.timeout", &raw.timeout, least, HOUR / 60);
    let Some(url) = &raw.url else {
        if !raw.providers.is_empty() {
            mistakes.note(
                "login.url",
                "is missing: the public address of Curfew, such as \
                 https://app.example.com",
            );
        }
        return Ok(None);
    };
    if raw.providers.is_empty() {
        mistakes.note(
            "login.providers",
            "is empty: login.url needs at least one provider",
        );
    }
    let url = Url::parse(url)
        .ok()
        .filter(is_origin)
        .ok_or("must be the address of a host without a path, such as https://app.example.com");
    let url = mistakes.take("login.url", url);
    let providers: Vec<Valid<ProviderSettings>> = raw
        .providers
        .iter()
        .map(|(name, raw)| provider(name, raw, timeout?, freshness, policies, mistakes))
        .collect();
    Ok(Some(LoginSettings {
        url: url?,
        max_age: max_age?,
        revalidate: revalidate?,
        providers: providers.into_iter().collect::<Valid<_>>()?,
    }))
}

fn is_origin(url: &Url) -> bool {
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    bare && matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
}

/// Parses the maximum age of an authentication.
pub(super) fn max_age(key: &str, text: &str, mistakes: &mut Mistakes) -> Valid<MaxAge> {
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

fn revalidate(text: &str, mistakes: &mut Mistakes) -> Valid<Option<Duration>> {
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
        .duration(KEY, text, Duration::from_secs(1), DAY)
        .map(Some)
}

fn provider(
    name: &str,
    raw: &RawProvider,
    timeout: Duration,
    freshness: Freshness,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<ProviderSettings> {
    let at = format!("login.providers.{name}");
    let key = |part: &str| format!("{at}.{part}");
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        mistakes.note(
            &at,
            "a provider's name is part of a URL: use 1 to 64 characters of a-z, 0-9, `-` and `_`",
        );
    }
    if raw.client_id.is_empty() {
        mistakes.note(
            key("client_id"),
            "is missing: the OAuth client ID of Curfew at this provider",
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
    let authorities = mistakes.read_optional(&key("ca_file"), raw.ca_file.as_ref());
    let leeway = mistakes.duration(&key("leeway"), &raw.leeway, Duration::ZERO, HOUR / 6);
    let policy = super::policy_name(&key("policy"), raw.policy.as_deref(), policies, mistakes);
    let (issuer, authorities) = (issuer?, authorities?);
    Ok(ProviderSettings {
        issuer: IssuerSettings {
            name: name.to_owned(),
            issuer: Issuer {
                issuer: raw.issuer.clone(),
                audiences: vec![raw.client_id.clone()],
                algorithms,
                typ: None,
                leeway: leeway?,
                // This is for bearer credentials only; sign-in has its own check of `auth_time`.
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

fn secret(at: &str, raw: &RawProvider, mistakes: &mut Mistakes) -> Valid<Option<Secret<String>>> {
    let key = format!("{at}.client_secret_file");
    match (&raw.client_secret, &raw.client_secret_file) {
        (Some(_), Some(_)) => mistakes.reject(key, "conflicts with client_secret: set only one"),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(path)) => {
            let text = mistakes.read_text(&key, path)?;
            let text = text.trim();
            if text.is_empty() {
                return mistakes.reject(key, "the file is empty");
            }
            Ok(Some(Secret::new(text.to_owned())))
        }
        (None, None) => Ok(None),
    }
}

/// With `login.url`, sets the sign-in page to Curfew itself.
pub(super) fn set_sign_in_page(raw: &mut RawConfig, mistakes: &mut Mistakes) {
    let Some(base) = &raw.login.url else {
        return;
    };
    if raw.sign_in.url.is_some() {
        mistakes.note(
            "sign_in.url",
            "conflicts with login.url: with login.url, Curfew is the sign-in page",
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

/// Checks that browsers send the cookie to every host of a return address.
pub(super) fn check_cookie_reach(
    login: &LoginSettings,
    sign_in: &SignInSettings,
    cookie: &CookieSettings,
    mistakes: &mut Mistakes,
) {
    let host = login.url.host_str().unwrap_or_default();
    if cookie.secure && login.url.scheme() != "https" {
        mistakes.note(
            "login.url",
            "must be https://… while cookie.secure is on: otherwise browsers reject the cookies",
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

/// The host, with its port unless it is the default port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
