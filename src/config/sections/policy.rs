use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::shape;
use crate::config::text::{OneOrMany, TextList};

/// A policy. A limit that is not set comes from the preset, if there is one, or from the defaults
/// in `docs/configuration.md`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawPolicy {
    /// The preset of a standard: upper bounds for the limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The reason why a limit exceeds the preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation_reason: Option<String>,
    /// The idle limit: the longest time without activity, or `off`.
    #[schemars(with = "Option<shape::DurationOrOff>")]
    pub idle: Option<String>,
    /// The absolute limit: the longest time since the sign-in.
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
    /// The maximum age of the sign-in for a request; an older sign-in is denied with
    /// `reauthentication_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub max_auth_age: Option<String>,
    /// How long touches are collected before one is written.
    #[schemars(with = "Option<shape::Duration>")]
    pub touch_interval: Option<String>,
    /// Which requests count as activity: `any`, `navigation` or `explicit`.
    #[schemars(extend("enum" = ["any", "navigation", "explicit"]))]
    pub activity: Option<String>,
    /// The maximum number of concurrent sessions per subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<usize>,
    /// `deny` or `end_oldest`: what happens at a sign-in above `max_sessions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["deny", "end_oldest"]))]
    pub on_session_limit: Option<String>,
    /// What a session is bound to: `address`, `user_agent`.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::StringList")]
    pub bind: TextList<String>,
    /// The number of bits of an IPv4 address that must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_ipv4_bits: Option<u8>,
    /// The number of bits of an IPv6 address that must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_ipv6_bits: Option<u8>,
    /// Behaviour when the store is unavailable: `deny`, or `known` to serve sessions that this
    /// replica checked recently.
    #[schemars(extend("enum" = ["deny", "known"]))]
    pub on_store_failure: Option<String>,
    /// With `known`: how long a session is served after the store last confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub store_failure_grace: Option<String>,
    /// The limits of sessions with "remember me".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember: Option<RawRemember>,
    /// Shorter limits for some groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<RawVariant>,
}

/// The limits of sessions with "remember me".
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRemember {
    /// The idle limit, or `off`; required.
    #[schemars(with = "Option<shape::DurationOrOff>")]
    pub idle: Option<String>,
    /// The absolute limit; required.
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
}

/// Shorter limits for the members of some groups.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawVariant {
    /// The groups; membership in one of them is enough.
    #[schemars(with = "shape::StringList")]
    pub groups: OneOrMany,
    /// The idle limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub idle: Option<String>,
    /// The absolute limit: the longest time since the sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
    /// The maximum age of the sign-in for a request; an older sign-in is denied with
    /// `reauthentication_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub max_auth_age: Option<String>,
}
