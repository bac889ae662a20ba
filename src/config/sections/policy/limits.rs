use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{format_limit, idle_or_off, limit, optional_limit};
use crate::config::mistakes::{Invalid, Mistakes, Valid};
use crate::config::shape;
use crate::config::text::OneOrMany;
use crate::policy::{Preset, Variant};
use crate::session::Limits;

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

/// Rejects limits that are longer than the absolute limit, and therefore never apply.
pub(in crate::config) fn reject_unreachable(key: &str, limits: &Limits, mistakes: &mut Mistakes) {
    let absolute = format_limit(limits.absolute);
    if limits.idle.is_some_and(|idle| idle > limits.absolute) {
        mistakes.note(
            format!("{key}.idle"),
            format!("is longer than {key}.absolute ({absolute}), so it would never end a session"),
        );
    }
    if limits.max_auth_age.is_some_and(|age| age > limits.absolute) {
        mistakes.note(
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
        mistakes.note(
            format!("{key}.idle"),
            format!(
                "is looser than the preset {name} allows ({ceiling}; {}): {hint}",
                preset.source
            ),
        );
    }
    if !preset.allows_absolute(limits) {
        let ceiling = format_limit(preset.absolute);
        mistakes.note(
            format!("{key}.absolute"),
            format!(
                "is looser than the preset {name} allows ({ceiling}; {}): {hint}",
                preset.source
            ),
        );
    }
}

/// Parses the limits of sessions with "remember me"; `None` if the policy has none. Both limits are required, so that
/// nobody disables a limit by mistake.
pub(super) fn remember(
    key: &str,
    raw: Option<&RawRemember>,
    usual: &Limits,
    mistakes: &mut Mistakes,
) -> Valid<Option<Limits>> {
    let Some(raw) = raw else { return Ok(None) };
    let key = format!("{key}.remember");
    let idle_key = format!("{key}.idle");
    let idle = match raw.idle.clone() {
        Some(mut text) => idle_or_off(&idle_key, &mut text, mistakes),
        None => mistakes.reject(
            &idle_key,
            "is missing: set the idle limit of remembered sessions, or `off`",
        ),
    };
    let absolute_key = format!("{key}.absolute");
    let absolute = match &raw.absolute {
        Some(text) => limit(&absolute_key, text, mistakes),
        None => mistakes.reject(
            &absolute_key,
            "is missing: set the absolute limit of remembered sessions",
        ),
    };
    let limits = Limits {
        idle: idle?,
        absolute: absolute?,
        max_auth_age: usual.max_auth_age,
    };
    reject_unreachable(&key, &limits, mistakes);
    let shorter = |limit: Option<Duration>, usual: Option<Duration>| match (limit, usual) {
        (Some(limit), Some(usual)) => limit < usual,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if shorter(limits.idle, usual.idle) {
        let usual = usual.idle.map_or_else(|| "off".to_owned(), format_limit);
        mistakes.note(
            idle_key,
            format!("must not be shorter than the policy's own limit ({usual})"),
        );
    }
    if limits.absolute < usual.absolute {
        let usual = format_limit(usual.absolute);
        mistakes.note(
            absolute_key,
            format!("must not be shorter than the policy's own limit ({usual})"),
        );
    }
    Ok(Some(limits))
}

/// Parses the shorter limits for some groups.
pub(super) fn variants(
    key: &str,
    raw: &[RawVariant],
    usual: &Limits,
    mistakes: &mut Mistakes,
) -> Valid<Vec<Variant>> {
    let numbered = raw.iter().enumerate();
    let variants: Vec<Valid<Variant>> = numbered
        .map(|(index, raw)| {
            variant(
                &format!("{key}.variants.{index}"),
                key,
                raw,
                usual,
                mistakes,
            )
        })
        .collect();
    variants.into_iter().collect()
}

fn variant(
    key: &str,
    policy: &str,
    raw: &RawVariant,
    usual: &Limits,
    mistakes: &mut Mistakes,
) -> Valid<Variant> {
    if raw.groups.is_empty() {
        mistakes.note(
            format!("{key}.groups"),
            "is missing: set the groups of this variant",
        );
    }
    let mut tighter = |name: &str, text: Option<&str>, usual: Option<Duration>| {
        let key = format!("{key}.{name}");
        let limit = optional_limit(&key, text, mistakes)?;
        if let (Some(limit), Some(usual)) = (limit, usual)
            && limit >= usual
        {
            let usual = format_limit(usual);
            mistakes.note(
                key,
                format!("must be shorter than {policy}.{name} ({usual}): a variant only tightens"),
            );
        }
        Ok::<_, Invalid>(limit)
    };
    let idle = tighter("idle", raw.idle.as_deref(), usual.idle);
    let absolute = tighter("absolute", raw.absolute.as_deref(), Some(usual.absolute));
    let max_auth_age = tighter(
        "max_auth_age",
        raw.max_auth_age.as_deref(),
        usual.max_auth_age,
    );
    if (&raw.idle, &raw.absolute, &raw.max_auth_age) == (&None, &None, &None) {
        mistakes.note(key, "has no limit: set idle, absolute or max_auth_age");
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
