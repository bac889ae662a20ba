//! Access to the admin API.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::admin_tokens;
use crate::config::AdminConfig;
use crate::config::mistakes::{HOUR, Mistakes, Valid};
use crate::config::sections::{RawAdmin, RawKubernetes};
use crate::kubernetes::KubernetesSettings;

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
