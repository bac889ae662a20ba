//! Credentials: the key ring, the cookie, and access to the admin API.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::admin_tokens;
use crate::config::AdminConfig;
use crate::config::mistakes::{HOUR, Mistakes, Valid, lines_without_comments};
use crate::config::sections::{RawAdmin, RawCookie, RawKubernetes, RawToken};
use crate::contract::CookieSettings;
use crate::credential::{KeyError, KeyRing, SigningKey};
use crate::kubernetes::KubernetesSettings;

/// The key ring; `None` to generate one, which is allowed with the embedded store only.
pub(super) fn key_ring(
    raw: &RawToken,
    embedded: bool,
    mistakes: &mut Mistakes,
) -> Valid<Option<KeyRing>> {
    let (key, lines) = match (&raw.keys_file, raw.keys.is_empty()) {
        (Some(_), false) => {
            return mistakes.reject("token.keys_file", "conflicts with token.keys: set only one");
        }
        (Some(path), true) => (
            "token.keys_file",
            mistakes.read_text("token.keys_file", path)?,
        ),
        (None, false) => {
            let lines: Vec<&str> = raw.keys.0.iter().map(|key| key.expose().as_str()).collect();
            ("token.keys", lines.join("\n"))
        }
        (None, true) if embedded => return Ok(None),
        (None, true) => {
            return mistakes.reject(
                "token.keys",
                "is missing: sessions in Redis outlive this process, so the key that signs their \
                 tokens must as well. Make one with `curfew keygen` and give it in token.keys, \
                 token.keys_file or CURFEW__TOKEN__KEYS, the same to every replica",
            );
        }
    };
    let keys: Result<Vec<SigningKey>, KeyError> = lines_without_comments(&lines)
        .map(SigningKey::parse)
        .collect();
    mistakes.take(key, keys.and_then(KeyRing::new)).map(Some)
}

pub(super) fn cookie(raw: &RawCookie, mistakes: &mut Mistakes) -> Valid<CookieSettings> {
    let name = &raw.name;
    if !is_token(name) {
        mistakes.note(
            "cookie.name",
            "must be 1 to 128 letters, digits or !#$%&'*+-.^_`|~ (RFC 6265 section 4.1.1)",
        );
    }
    let same_site = match raw.same_site.to_ascii_lowercase().as_str() {
        "strict" => Ok(cookie::SameSite::Strict),
        "lax" => Ok(cookie::SameSite::Lax),
        "none" if raw.secure => Ok(cookie::SameSite::None),
        "none" => Err("`none` needs cookie.secure: browsers refuse it otherwise"),
        _ => Err("must be `strict`, `lax` or `none`"),
    };
    let same_site = mistakes.take("cookie.same_site", same_site);
    if !raw.path.starts_with('/') || !is_attribute(&raw.path) {
        mistakes.note(
            "cookie.path",
            "must begin with / and hold no ; , control or white space",
        );
    }
    if raw
        .domain
        .as_deref()
        .is_some_and(|domain| domain.is_empty() || !is_attribute(domain))
    {
        mistakes.note("cookie.domain", "must be a host name such as example.com");
    }
    // Browsers compare these prefixes case-insensitively (RFC 6265bis section 5.6).
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("__host-") && (!raw.secure || raw.path != "/" || raw.domain.is_some()) {
        mistakes.note(
            "cookie.name",
            "a name with __Host- needs cookie.secure = true, cookie.path = \"/\" and no \
             cookie.domain: browsers refuse the cookie otherwise. Use a name with __Secure- \
             for a cookie of several hosts",
        );
    }
    if lower.starts_with("__secure-") && !raw.secure {
        mistakes.note(
            "cookie.name",
            "a name with __Secure- needs cookie.secure = true",
        );
    }
    Ok(CookieSettings {
        name: name.clone(),
        domain: raw.domain.clone(),
        path: raw.path.clone(),
        secure: raw.secure,
        same_site: same_site?,
        persistent: raw.persistent,
    })
}

/// A token as in RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_attribute(text: &str) -> bool {
    text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b";,\"\\".contains(&b))
}

pub(super) fn admin(
    raw: &RawAdmin,
    login: bool,
    embedded: bool,
    mistakes: &mut Mistakes,
) -> Valid<AdminConfig> {
    let tokens = admin_tokens::parse(raw, embedded, mistakes);
    if !raw.groups.is_empty() && (raw.url.is_none() || !login) {
        mistakes.note(
            "admin.groups",
            "needs admin.url, where providers redirect people back to, and login.providers, which supply \
             the groups",
        );
    }
    let url = match &raw.url {
        None => Ok(None),
        Some(url) => {
            let url = Url::parse(url).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.path() == "/"
                    && url.query().is_none()
            });
            let wrong =
                "must be the address of a host without a path, such as https://curfew.example.com";
            mistakes.take("admin.url", url.ok_or(wrong)).map(Some)
        }
    };
    let kubernetes = kubernetes(&raw.kubernetes, mistakes);
    if raw.trusted_proxies > 100 {
        mistakes.note(
            "admin.trusted_proxies",
            "must be at most 100: how many proxies of yours stand in front of the listener",
        );
    }
    Ok(AdminConfig {
        tokens: tokens?,
        kubernetes: kubernetes?,
        allow_ageing: raw.allow_ageing,
        url: url?,
        groups: raw.groups.0.clone(),
        proxies: raw.trusted_proxies,
    })
}

fn kubernetes(raw: &RawKubernetes, mistakes: &mut Mistakes) -> Valid<Option<KubernetesSettings>> {
    if !raw.enabled {
        return Ok(None);
    }
    let url = Url::parse(&raw.url).ok();
    let url = url.filter(|url| url.scheme() == "https" && url.has_host());
    let wrong =
        "must be the https:// address of the API server, such as https://kubernetes.default.svc";
    let url = mistakes.take("admin.kubernetes.url", url.ok_or(wrong));
    let authorities = mistakes.read("admin.kubernetes.ca_file", &raw.ca_file);
    let keep = mistakes.duration(
        "admin.kubernetes.cache",
        &raw.cache,
        Duration::ZERO,
        HOUR / 12,
    );
    // Requests read the token file again; here, only check that it exists.
    let token = mistakes.read("admin.kubernetes.token_file", &raw.token_file);
    token?;
    Ok(Some(KubernetesSettings {
        url: url?,
        token_file: PathBuf::from(&raw.token_file),
        authorities: Some(authorities?),
        audiences: raw.audiences.0.clone(),
        keep: keep?,
    }))
}
