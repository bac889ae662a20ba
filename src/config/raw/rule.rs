use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use super::text::OneOrMany;

/// A rule: which requests it is for, and what applies to them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRule {
    /// The host, or `*.` and a domain for all below it.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub host: OneOrMany,
    /// The very path.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub path: OneOrMany,
    /// A path and all below it.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub path_prefix: OneOrMany,
    /// A glob over the path: `*` within a segment, `**` over segments.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub path_glob: OneOrMany,
    /// Paths that could be read in two ways, which no other condition on paths matches.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_ambiguous: bool,
    /// What these applications ask for by themselves, in the background.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub pollers: OneOrMany,
    /// The method.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub method: OneOrMany,
    /// How the proxy asks: `auth-request`, `forward-auth`, `ext-authz`, `ext-authz-grpc`, `spoe`, `layer`.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub contract: OneOrMany,
    /// The policy whose limits must be met, besides those of the session's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `protected`, or `public` for what needs no session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub access: Option<String>,
    /// `touch`, or `passive` for what is never activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["touch", "passive"]))]
    pub activity: Option<String>,
    /// Groups, one of which is needed.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub groups: OneOrMany,
    /// `protected`, or `public` where CORS preflights need no session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub cors_preflight: Option<String>,
}
