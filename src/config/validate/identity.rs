//! Identity headers and assertions for the backend.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderName;

use crate::config::mistakes::{HOUR, Mistakes, Valid};
use crate::config::sections::{RawAssertion, RawIdentity};
use crate::config::text::TextList;
use crate::identity::{AssertionKey, AssertionSigner, IdentityHeaders};

/// A set of header names: one list for each identity attribute.
struct Preset {
    name: &'static str,
    user: &'static str,
    groups: &'static [&'static str],
    group_lines: &'static [&'static str],
    email: &'static [&'static str],
    display_name: &'static [&'static str],
    preferred_username: &'static [&'static str],
    id: &'static [&'static str],
    policy: &'static [&'static str],
}

const EMPTY_PRESET: Preset = Preset {
    name: "",
    user: "",
    groups: &[],
    group_lines: &[],
    email: &[],
    display_name: &[],
    preferred_username: &[],
    id: &[],
    policy: &[],
};

const PRESETS: [Preset; 6] = [
    Preset {
        name: "x-session",
        user: "x-session-user",
        groups: &["x-session-groups"],
        email: &["x-session-email"],
        id: &["x-session-id"],
        policy: &["x-session-policy"],
        ..EMPTY_PRESET
    },
    // The headers of oauth2-proxy with --set-xauthrequest.
    Preset {
        name: "x-auth-request",
        user: "x-auth-request-user",
        groups: &["x-auth-request-groups"],
        email: &["x-auth-request-email"],
        preferred_username: &["x-auth-request-preferred-username"],
        ..EMPTY_PRESET
    },
    // The headers of Authelia.
    Preset {
        name: "remote",
        user: "remote-user",
        groups: &["remote-groups"],
        email: &["remote-email"],
        display_name: &["remote-name"],
        ..EMPTY_PRESET
    },
    // The headers of oauth2-proxy with --pass-user-headers.
    Preset {
        name: "x-forwarded",
        user: "x-forwarded-user",
        groups: &["x-forwarded-groups"],
        email: &["x-forwarded-email"],
        preferred_username: &["x-forwarded-preferred-username"],
        ..EMPTY_PRESET
    },
    // The headers that the Kubernetes API server accepts from an authenticating proxy.
    Preset {
        name: "kubernetes",
        user: "x-remote-user",
        group_lines: &["x-remote-group"],
        ..EMPTY_PRESET
    },
    // The headers that the Kubernetes API server accepts from a client with the right to
    // impersonate.
    Preset {
        name: "impersonate",
        user: "impersonate-user",
        group_lines: &["impersonate-group"],
        ..EMPTY_PRESET
    },
];

/// Headers with a meaning in HTTP or for Curfew, which cannot carry identity.
const RESERVED_HEADERS: [&str; 18] = [
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-session-reason",
];

/// Parses the name of an identity header; rejects reserved headers.
pub(super) fn header(key: &str, text: &str, mistakes: &mut Mistakes) -> Valid<HeaderName> {
    let name = HeaderName::try_from(text).ok();
    let name = mistakes.take(key, name.ok_or("not the name of a header"))?;
    if RESERVED_HEADERS.contains(&name.as_str()) {
        return mistakes.reject(key, format!("`{name}` is a reserved header"));
    }
    Ok(name)
}

pub(super) fn headers(raw: &RawIdentity, mistakes: &mut Mistakes) -> Valid<IdentityHeaders> {
    let mut presets = Vec::new();
    for name in &raw.presets.0 {
        match PRESETS.iter().find(|preset| preset.name == name) {
            Some(preset) => presets.push(preset),
            None => {
                let known = PRESETS.map(|preset| preset.name).join(", ");
                mistakes.note("identity.presets", format!("must be one of {known}"));
            }
        }
    }
    let mut used = HashMap::new();
    let mut names =
        |field: &str, given: &TextList<String>, of: fn(&Preset) -> Vec<&'static str>| {
            let key = format!("identity.{field}");
            let by_presets = presets.iter().flat_map(|preset| of(preset));
            let all = by_presets.chain(given.0.iter().map(String::as_str));
            let mut found: Vec<HeaderName> = Vec::new();
            for text in all {
                let Ok(name) = header(&key, text, mistakes) else {
                    continue;
                };
                match used.insert(name.clone(), field.to_owned()) {
                    Some(other) if other != field => {
                        mistakes.note(&*key, format!("`{name}` is also in identity.{other}"));
                    }
                    Some(_) => {}
                    None => found.push(name),
                }
            }
            found
        };
    Ok(IdentityHeaders {
        user: names("user", &raw.user, |preset| vec![preset.user]),
        groups: names("groups", &raw.groups, |preset| preset.groups.to_vec()),
        group_lines: names("group_lines", &raw.group_lines, |it| {
            it.group_lines.to_vec()
        }),
        email: names("email", &raw.email, |preset| preset.email.to_vec()),
        name: names("name", &raw.name, |preset| preset.display_name.to_vec()),
        preferred_username: names("preferred_username", &raw.preferred_username, |preset| {
            preset.preferred_username.to_vec()
        }),
        id: names("id", &raw.id, |preset| preset.id.to_vec()),
        policy: names("policy", &raw.policy, |preset| preset.policy.to_vec()),
        relayed: Vec::new(),
    })
}

/// The signer of identity assertions; `None` if no key is configured.
pub(super) fn assertion(
    raw: &RawAssertion,
    mistakes: &mut Mistakes,
) -> Valid<Option<AssertionSigner>> {
    let key = "assertion.key_files";
    let least = Duration::from_secs(1);
    let lifetime = mistakes.duration("assertion.lifetime", &raw.lifetime, least, HOUR);
    if raw.issuer.is_empty() {
        mistakes.note("assertion.issuer", "is missing");
    }
    let read = |path: &String| {
        let pem = mistakes.read(key, path)?;
        let parsed = AssertionKey::from_pem(&pem);
        mistakes.take(key, parsed.map_err(|error| format!("{path}: {error}")))
    };
    let keys: Vec<Valid<AssertionKey>> = raw.key_files.0.iter().map(read).collect();
    let mut keys = keys.into_iter().collect::<Valid<Vec<_>>>()?.into_iter();
    let Some(first) = keys.next() else {
        return Ok(None);
    };
    Ok(Some(AssertionSigner {
        issuer: raw.issuer.clone(),
        lifetime: lifetime?,
        key: first,
        others: keys.collect(),
    }))
}
