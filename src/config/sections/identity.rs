use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::shape;
use crate::config::text::TextList;

/// Names of the identity headers for the backend.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawIdentity {
    /// Sets of header names: `x-session`, `x-auth-request`, `remote`, `x-forwarded`, `kubernetes`,
    /// `impersonate`.
    #[schemars(with = "shape::StringList")]
    pub presets: TextList<String>,
    /// Additional headers with the subject.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub user: TextList<String>,
    /// Additional headers with the groups, separated by commas.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub groups: TextList<String>,
    /// Additional headers with the groups; the header repeats for each group.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub group_lines: TextList<String>,
    /// Additional headers with the email address.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub email: TextList<String>,
    /// Additional headers with the display name.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub name: TextList<String>,
    /// Additional headers with the preferred username.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub preferred_username: TextList<String>,
    /// Additional headers with the session ID.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub id: TextList<String>,
    /// Additional headers with the home policy.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub policy: TextList<String>,
}

/// Signed identity assertions for applications.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAssertion {
    /// PEM files with private keys; the first key signs.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub key_files: TextList<String>,
    /// The `iss` claim of assertions.
    pub issuer: String,
    /// How long an assertion is valid.
    #[schemars(with = "shape::Duration")]
    pub lifetime: String,
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

impl Default for RawAssertion {
    fn default() -> Self {
        Self {
            key_files: TextList::default(),
            issuer: "curfew".to_owned(),
            lifetime: "1m".to_owned(),
        }
    }
}
