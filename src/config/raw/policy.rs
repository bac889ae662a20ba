use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use super::text::{OneOrMany, TextList};

/// A policy. What is left out is taken from its preset, if it has one, or from the defaults of
/// `docs/configuration.md`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawPolicy {
    /// The ceilings of a standard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Why a limit is above its preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation_reason: Option<String>,
    /// The longest time between two activities, or `off`.
    #[schemars(with = "Option<shape::DurationOrOff>")]
    pub idle: Option<String>,
    /// The longest time from sign-in to end.
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
    /// The longest time since sign-in with which a request is still served.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub max_auth_age: Option<String>,
    /// How long activities are gathered before one is written.
    #[schemars(with = "Option<shape::Duration>")]
    pub touch_interval: Option<String>,
    /// `any` or `navigation`.
    #[schemars(extend("enum" = ["any", "navigation", "explicit"]))]
    pub activity: Option<String>,
    /// How many sessions a subject can have at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<usize>,
    /// `deny` or `end_oldest`: what becomes of a sign-in beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["deny", "end_oldest"]))]
    pub beyond_max_sessions: Option<String>,
    /// What a session is bound to: `address`, `user_agent`.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "shape::Texts")]
    pub bind: TextList<String>,
    /// How many bits of an IPv4 address it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_ipv4_bits: Option<u8>,
    /// How many bits of an IPv6 address it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_ipv6_bits: Option<u8>,
    /// `deny` or `known`.
    #[schemars(extend("enum" = ["deny", "known"]))]
    pub on_store_failure: Option<String>,
    /// How long a session is known, with `known`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub store_failure_grace: Option<String>,
    /// The limits of those who asked to be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember: Option<RawRemember>,
    /// What is tighter for some groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<RawVariant>,
}

/// The limits of those who asked to be remembered.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRemember {
    /// The longest time between two activities, or `off`; must be said.
    #[schemars(with = "Option<shape::DurationOrOff>")]
    pub idle: Option<String>,
    /// The longest time from sign-in to end; must be said.
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
}

/// What is tighter for the members of some groups.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawVariant {
    /// The groups; one of them is enough.
    #[schemars(with = "shape::Texts")]
    pub groups: OneOrMany,
    /// The longest time between two activities.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub idle: Option<String>,
    /// The longest time from sign-in to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub absolute: Option<String>,
    /// The longest time since sign-in with which a request is still served.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Duration>")]
    pub max_auth_age: Option<String>,
}
