use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::shape;
use crate::config::text::OneOrMany;

/// A rule: conditions on requests, and what applies to requests that meet them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRule {
    /// The host, or `*.` and a domain for all subdomains.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub host: OneOrMany,
    /// The exact path.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub path: OneOrMany,
    /// A path, and all paths below it.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub path_prefix: OneOrMany,
    /// A glob for the path: `*` matches within a segment, `**` across segments.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub path_glob: OneOrMany,
    /// Matches ambiguous paths, which no other path condition matches.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub path_ambiguous: bool,
    /// Background requests of these known applications, such as polling.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub pollers: OneOrMany,
    /// The HTTP method.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub method: OneOrMany,
    /// The contract of the check: `auth-request`, `forward-auth`, `ext-authz`, `ext-authz-grpc`, `spoe`,
    /// `layer`.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub contract: OneOrMany,
    /// A policy whose limits apply in addition to the home policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `protected`, or `public` if no session is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub access: Option<String>,
    /// `touch`, or `passive` if these requests are never activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["touch", "passive"]))]
    pub activity: Option<String>,
    /// Groups; the subject must be a member of at least one.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub groups: OneOrMany,
    /// `protected`, or `public` if CORS preflights need no session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["protected", "public"]))]
    pub cors_preflight: Option<String>,
}
