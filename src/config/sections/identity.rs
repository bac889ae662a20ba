use std::collections::HashMap;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::TextList;
use crate::identity::IdentityHeaders;

/// Names of the identity headers for the backend.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawIdentity {
    /// Sets of header names: `x-session`, `x-auth-request`, `remote`, `x-forwarded`, `kubernetes`,
    /// `impersonate`.
    #[schemars(with = "schema_types::StringList")]
    pub presets: TextList<String>,
    /// Additional headers with the subject.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub user: TextList<String>,
    /// Additional headers with the groups, separated by commas.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub groups: TextList<String>,
    /// Additional headers with the groups; the header repeats for each group.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub group_lines: TextList<String>,
    /// Additional headers with the email address.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub email: TextList<String>,
    /// Additional headers with the display name.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub name: TextList<String>,
    /// Additional headers with the preferred username.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub preferred_username: TextList<String>,
    /// Additional headers with the session ID.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub id: TextList<String>,
    /// Additional headers with the home policy.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub policy: TextList<String>,
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self {
            presets: TextList(vec!["x-session".to_owned()]),
            user: TextList::default(),
            groups: TextList::default(),
            group_lines: TextList::default(),
            email: TextList::default(),
            name: TextList::default(),
            preferred_username: TextList::default(),
            id: TextList::default(),
            policy: TextList::default(),
        }
    }
}

impl RawIdentity {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<IdentityHeaders> {
        let mut presets = Vec::new();
        for name in &self.presets.0 {
            match PRESETS.iter().find(|preset| preset.name == name) {
                Some(preset) => presets.push(preset),
                None => {
                    let known = PRESETS.map(|preset| preset.name).join(", ");
                    mistakes.add("identity.presets", format!("must be one of {known}"));
                }
            }
        }
        let mut used = HashMap::new();
        let mut collect_names =
            |field: &str,
             additional: &TextList<String>,
             preset_names: fn(&Preset) -> Vec<&'static str>| {
                let key = format!("identity.{field}");
                let by_presets = presets.iter().flat_map(|preset| preset_names(preset));
                let all = by_presets.chain(additional.0.iter().map(String::as_str));
                let mut found: Vec<HeaderName> = Vec::new();
                for text in all {
                    let Ok(name) = parse_unreserved_header(&key, text, mistakes) else {
                        continue;
                    };
                    match used.insert(name.clone(), field.to_owned()) {
                        Some(other) if other != field => {
                            mistakes.add(&*key, format!("`{name}` is also in identity.{other}"));
                        }
                        Some(_) => {}
                        None => found.push(name),
                    }
                }
                found
            };
        Ok(IdentityHeaders {
            user: collect_names("user", &self.user, |preset| vec![preset.user]),
            groups: collect_names("groups", &self.groups, |preset| preset.groups.to_vec()),
            group_lines: collect_names("group_lines", &self.group_lines, |it| {
                it.group_lines.to_vec()
            }),
            email: collect_names("email", &self.email, |preset| preset.email.to_vec()),
            name: collect_names("name", &self.name, |preset| preset.display_name.to_vec()),
            preferred_username: collect_names(
                "preferred_username",
                &self.preferred_username,
                |preset| preset.preferred_username.to_vec(),
            ),
            id: collect_names("id", &self.id, |preset| preset.id.to_vec()),
            policy: collect_names("policy", &self.policy, |preset| preset.policy.to_vec()),
            relayed: Vec::new(),
        })
    }
}

impl Section for RawIdentity {}

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
    // The headers that the Kubernetes API server accepts from a client that may impersonate users.
    Preset {
        name: "impersonate",
        user: "impersonate-user",
        group_lines: &["impersonate-group"],
        ..EMPTY_PRESET
    },
];

/// Headers that cannot carry identity, because they have another meaning in HTTP or for Curfew.
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
pub(super) fn parse_unreserved_header(
    key: &str,
    text: &str,
    mistakes: &mut Mistakes,
) -> Valid<HeaderName> {
    let name = HeaderName::try_from(text).ok();
    let name = mistakes.record_error(key, name.ok_or("not the name of a header"))?;
    if RESERVED_HEADERS.contains(&name.as_str()) {
        return mistakes.reject(key, format!("`{name}` is a reserved header"));
    }
    Ok(name)
}
