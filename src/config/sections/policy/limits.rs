use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{format_limit, parse_idle_or_off, parse_limit, parse_optional_limit};
use crate::config::mistakes::{Invalid, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::text::OneOrMany;
use crate::policy::{Preset, Variant};
use crate::session::Limits;

/// The limits of sessions with "remember me".
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawRemember {
    /// The idle limit, or `off`; required.
    #[schemars(with = "Option<schema_types::DurationOrOff>")]
    pub idle: Option<String>,
    /// The absolute limit; required.
    #[schemars(with = "Option<schema_types::Duration>")]
    pub absolute: Option<String>,
}

/// Shorter limits for the members of some groups.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawVariant {
    /// The groups; membership in one of them is enough.
    #[schemars(with = "schema_types::StringList")]
    pub groups: OneOrMany,
    /// The idle limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub idle: Option<String>,
    /// The absolute limit: the longest time since the sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub absolute: Option<String>,
    /// The maximum age of the sign-in for a request; an older sign-in is denied with
    /// `reauthentication_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub max_auth_age: Option<String>,
}

/// Rejects limits that are longer than the absolute limit, and therefore never apply.
pub(in crate::config) fn reject_unreachable(key: &str, limits: &Limits, mistakes: &mut Mistakes) {
    let absolute = format_limit(limits.absolute);
    if limits.idle.is_some_and(|idle| idle > limits.absolute) {
        mistakes.add(
            format!("{key}.idle"),
            format!("is longer than {key}.absolute ({absolute}), so it would never end a session"),
        );
    }
    if limits.max_auth_age.is_some_and(|age| age > limits.absolute) {
        mistakes.add(
            format!("{key}.max_auth_age"),
            format!("is longer than {key}.absolute ({absolute}), so it would never be reached"),
        );
    }
}

/// Rejects limits above the preset.
pub(in crate::config) fn check_preset(
    key: &str,
    preset: &Preset,
    limits: &Limits,
    mistakes: &mut Mistakes,
) {
    let name = preset.name;
    let hint = "shorten it, or give the reason in deviation_reason";
    if !preset.allows_idle(limits) {
        let ceiling = preset.idle.map_or_else(String::new, format_limit);
        mistakes.add(
            format!("{key}.idle"),
            format!(
                "is looser than the preset {name} allows ({ceiling}; {}): {hint}",
                preset.source
            ),
        );
    }
    if !preset.allows_absolute(limits) {
        let ceiling = format_limit(preset.absolute);
        mistakes.add(
            format!("{key}.absolute"),
            format!(
                "is looser than the preset {name} allows ({ceiling}; {}): {hint}",
                preset.source
            ),
        );
    }
}

/// Parses the limits of sessions with "remember me"; `None` if the policy has none. Both limits are required, so that
/// a forgotten key does not disable a limit.
pub(super) fn parse_remember(
    key: &str,
    raw: Option<&RawRemember>,
    policy_limits: &Limits,
    mistakes: &mut Mistakes,
) -> Valid<Option<Limits>> {
    let Some(raw) = raw else { return Ok(None) };
    let key = format!("{key}.remember");
    let idle_key = format!("{key}.idle");
    let idle = match raw.idle.clone() {
        Some(mut text) => parse_idle_or_off(&idle_key, &mut text, mistakes),
        None => mistakes.reject(
            &idle_key,
            "is missing: set the idle limit of remembered sessions, or `off`",
        ),
    };
    let absolute_key = format!("{key}.absolute");
    let absolute = match &raw.absolute {
        Some(text) => parse_limit(&absolute_key, text, mistakes),
        None => mistakes.reject(
            &absolute_key,
            "is missing: set the absolute limit of remembered sessions",
        ),
    };
    let limits = Limits {
        idle: idle?,
        absolute: absolute?,
        max_auth_age: policy_limits.max_auth_age,
    };
    reject_unreachable(&key, &limits, mistakes);
    let shorter = |limit: Option<Duration>, own: Option<Duration>| match (limit, own) {
        (Some(limit), Some(own)) => limit < own,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if shorter(limits.idle, policy_limits.idle) {
        let own = policy_limits
            .idle
            .map_or_else(|| "off".to_owned(), format_limit);
        mistakes.add(
            idle_key,
            format!("must not be shorter than the policy's own limit ({own})"),
        );
    }
    if limits.absolute < policy_limits.absolute {
        let own = format_limit(policy_limits.absolute);
        mistakes.add(
            absolute_key,
            format!("must not be shorter than the policy's own limit ({own})"),
        );
    }
    Ok(Some(limits))
}

/// Parses the shorter limits for some groups.
pub(super) fn parse_variants(
    key: &str,
    raw: &[RawVariant],
    policy_limits: &Limits,
    mistakes: &mut Mistakes,
) -> Valid<Vec<Variant>> {
    let variants: Vec<Valid<Variant>> = raw
        .iter()
        .enumerate()
        .map(|(index, raw)| {
            parse_variant(
                &format!("{key}.variants.{index}"),
                key,
                raw,
                policy_limits,
                mistakes,
            )
        })
        .collect();
    variants.into_iter().collect()
}

fn parse_variant(
    key: &str,
    policy_key: &str,
    raw: &RawVariant,
    policy_limits: &Limits,
    mistakes: &mut Mistakes,
) -> Valid<Variant> {
    if raw.groups.is_empty() {
        mistakes.add(
            format!("{key}.groups"),
            "is missing: set the groups of this variant",
        );
    }
    let mut parse_tighter = |name: &str, text: Option<&str>, own: Option<Duration>| {
        let key = format!("{key}.{name}");
        let limit = parse_optional_limit(&key, text, mistakes)?;
        if let (Some(limit), Some(own)) = (limit, own)
            && limit >= own
        {
            let own = format_limit(own);
            mistakes.add(
                key,
                format!(
                    "must be shorter than {policy_key}.{name} ({own}): a variant can only shorten limits"
                ),
            );
        }
        Ok::<_, Invalid>(limit)
    };
    let idle = parse_tighter("idle", raw.idle.as_deref(), policy_limits.idle);
    let absolute = parse_tighter(
        "absolute",
        raw.absolute.as_deref(),
        Some(policy_limits.absolute),
    );
    let max_auth_age = parse_tighter(
        "max_auth_age",
        raw.max_auth_age.as_deref(),
        policy_limits.max_auth_age,
    );
    if (&raw.idle, &raw.absolute, &raw.max_auth_age) == (&None, &None, &None) {
        mistakes.add(key, "has no limit: set idle, absolute or max_auth_age");
    }
    Ok(Variant {
        groups: raw.groups.0.clone(),
        limits: Limits {
            idle: idle?,
            absolute: absolute?.unwrap_or(Limits::NONE.absolute),
            max_auth_age: max_auth_age?,
        },
    })
}
