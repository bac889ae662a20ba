use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use super::text::TextList;

/// Under which names the backend is told who is there.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawIdentity {
    /// Sets of names: `x-session`, `x-auth-request`, `remote`, `x-forwarded`, `kubernetes`,
    /// `impersonate`.
    #[schemars(with = "shape::Texts")]
    pub presets: TextList<String>,
    /// More headers with the subject.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub user: TextList<String>,
    /// More headers with the groups, with commas between them.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub groups: TextList<String>,
    /// More headers with the groups, each in a line of its own.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub group_lines: TextList<String>,
    /// More headers with the email address.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub email: TextList<String>,
    /// More headers with the subject's name for people.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub name: TextList<String>,
    /// More headers with what the subject likes to be called by.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub preferred_username: TextList<String>,
    /// More headers with the session's name.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub id: TextList<String>,
    /// More headers with the session's home policy.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub policy: TextList<String>,
}

/// Who is there, signed for applications.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAssertion {
    /// PEM files with private keys, the signing one first.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub key_files: TextList<String>,
    /// `iss`: who signs.
    pub issuer: String,
    /// How long an assertion is good.
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
