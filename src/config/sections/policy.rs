mod limits;
mod sessions;
mod streams;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RawConfig;
use crate::config::mistakes::{DAY, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::text::{OneOrMany, TextList};
use crate::policy::{ActivityKind, OnStoreFailure, Policies, Policy, Preset};
use crate::session::{Limits, MAX_COOKIE_AGE, PolicyName};

pub use limits::{RawRemember, RawVariant};
pub(super) use limits::{check_preset, reject_unreachable};
pub(super) use streams::{parse_heartbeats, parse_stream_activity, reject_heartbeats};

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
    #[schemars(with = "Option<schema_types::DurationOrOff>")]
    pub idle: Option<String>,
    /// The absolute limit: the longest time since the sign-in.
    #[schemars(with = "Option<schema_types::Duration>")]
    pub absolute: Option<String>,
    /// The maximum age of the sign-in for a request; an older sign-in is denied with
    /// `reauthentication_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub max_auth_age: Option<String>,
    /// How long touches are collected before one is written.
    #[schemars(with = "Option<schema_types::Duration>")]
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
    #[schemars(with = "schema_types::StringList")]
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
    #[schemars(with = "Option<schema_types::Duration>")]
    pub store_failure_grace: Option<String>,
    /// `client_data` if data from the client inside an open stream counts as activity, or `off`.
    #[schemars(extend("enum" = ["off", "client_data"]))]
    pub stream_activity: Option<String>,
    /// The messages of a WebSocket that never count as activity: names of applications, or regular expressions between
    /// slashes.
    #[serde(skip_serializing_if = "OneOrMany::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub stream_heartbeats: OneOrMany,
    /// How long a stream stays open while Curfew cannot learn whether its session has ended.
    #[schemars(with = "Option<schema_types::Duration>")]
    pub stream_grace: Option<String>,
    /// Whether the last event of an event stream tells the client why the stream ends.
    pub stream_end_event: Option<bool>,
    /// The limits of sessions with "remember me".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember: Option<RawRemember>,
    /// Shorter limits for some groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<RawVariant>,
}

/// The default idle limit (PCI DSS 4, 8.2.8: 15 minutes or less).
const DEFAULT_IDLE: &str = "15m";
/// The default absolute limit (NIST SP 800-63B revision 3, AAL2 and AAL3: 12 hours).
const DEFAULT_ABSOLUTE: &str = "12h";

/// The shortest limit that can be configured.
pub(super) const MIN_LIMIT: Duration = Duration::from_secs(1);

pub(in crate::config) fn parse(raw: &mut RawConfig, mistakes: &mut Mistakes) -> Valid<Policies> {
    if raw.policies.is_empty() {
        raw.policies
            .insert(raw.default_policy.clone(), RawPolicy::default());
    }
    let mut policies = BTreeMap::new();
    for (name, policy) in &mut raw.policies {
        let key = format!("policies.{name}");
        let name = PolicyName::new(name.clone()).map_err(|error| error.to_string());
        let name = name.and_then(|name| match name.is_console() {
            true => Err(
                "is the policy of the console: choose another name; admin.console sets its limits"
                    .to_owned(),
            ),
            false => Ok(name),
        });
        let name = mistakes.record_error(&key, name);
        let policy = parse_policy(&key, policy, mistakes);
        policies.insert(name?, policy?);
    }
    let names: Vec<String> = policies.keys().map(ToString::to_string).collect();
    let default = PolicyName::new(raw.default_policy.clone()).ok();
    let console = raw.admin.console.parse(mistakes)?;
    let parsed = default.and_then(|default| Policies::new(policies, default));
    let parsed = parsed.map(|policies| policies.with_console(console));
    mistakes.record_error(
        "default_policy",
        parsed.ok_or_else(|| format!("is not one of the policies: {}", names.join(", "))),
    )
}

/// Parses the home policy of sessions from an issuer, a provider or a service; `None` stands for the default policy.
pub(super) fn parse_home_policy(
    key: &str,
    name: Option<&str>,
    policies: Valid<&Policies>,
    mistakes: &mut Mistakes,
) -> Valid<Option<PolicyName>> {
    let Some(name) = name else { return Ok(None) };
    let policy_name = policies?.get(name).map(|(name, _)| Some(name.clone()));
    mistakes.record_error(key, policy_name.ok_or("is not one of the policies"))
}

fn parse_policy(key: &str, raw: &mut RawPolicy, mistakes: &mut Mistakes) -> Valid<Policy> {
    let preset = parse_preset(
        key,
        raw.preset.as_deref(),
        raw.deviation_reason.as_deref(),
        mistakes,
    );
    let ceilings = preset.unwrap_or_default();
    let default_idle = ceilings.and_then(|preset| preset.idle);
    let default_idle = default_idle.map_or_else(|| DEFAULT_IDLE.to_owned(), format_limit);
    let idle_text = raw.idle.get_or_insert(default_idle);
    let idle_key = format!("{key}.idle");
    let idle = parse_idle_or_off(&idle_key, idle_text, mistakes);
    let default_absolute = ceilings.map(|preset| preset.absolute);
    let default_absolute =
        default_absolute.map_or_else(|| DEFAULT_ABSOLUTE.to_owned(), format_limit);
    let absolute_text = raw.absolute.get_or_insert(default_absolute);
    let absolute_key = format!("{key}.absolute");
    let absolute = parse_limit(&absolute_key, absolute_text, mistakes);
    let age_key = format!("{key}.max_auth_age");
    let max_auth_age = parse_optional_limit(&age_key, raw.max_auth_age.as_deref(), mistakes);
    let activity_text = raw
        .activity
        .get_or_insert_with(|| ActivityKind::Any.as_str().to_owned());
    let activity = match activity_text.as_str() {
        "any" => Ok(ActivityKind::Any),
        "navigation" => Ok(ActivityKind::Navigation),
        "explicit" => Ok(ActivityKind::Explicit),
        _ => Err("must be `any`, `navigation` or `explicit`"),
    };
    let activity = mistakes.record_error(&format!("{key}.activity"), activity);
    let max_sessions = sessions::parse_max_sessions(key, raw, mistakes);
    let bind = sessions::parse_bind(key, raw, mistakes);
    let limits = Limits {
        idle: idle?,
        absolute: absolute?,
        max_auth_age: max_auth_age?,
    };
    reject_unreachable(key, &limits, mistakes);
    let remember = limits::parse_remember(key, raw.remember.as_ref(), &limits, mistakes);
    let variants = limits::parse_variants(key, &raw.variants, &limits, mistakes);
    if let Some(preset) = ceilings
        && raw.deviation_reason.is_none()
    {
        check_preset(key, &preset, &limits, mistakes);
        if let Ok(Some(remember)) = &remember {
            check_preset(&format!("{key}.remember"), &preset, remember, mistakes);
        }
    }
    let variants = variants?;
    let shortest = variants.iter().fold(limits, |shortest, variant| {
        shortest.strictest(variant.limits)
    });
    let shortest = shortest.idle.unwrap_or(shortest.absolute);
    let touch_interval = parse_touch_interval(key, raw, shortest, mistakes);
    let on_store_failure = parse_on_store_failure(key, raw, mistakes);
    let streams = streams::parse_streams(key, raw, mistakes);
    Ok(Policy {
        limits,
        remember: remember?,
        variants,
        activity: activity?,
        touch_interval: touch_interval?,
        max_sessions: max_sessions?,
        bind: bind?,
        on_store_failure: on_store_failure?,
        streams: streams?,
        preset: preset?,
        deviation_reason: raw.deviation_reason.clone(),
    })
}

/// Formats a limit as configuration text.
pub(super) fn format_limit(limit: Duration) -> String {
    humantime::format_duration(limit).to_string()
}

/// Returns the preset; `None` if no preset is set.
pub(super) fn parse_preset(
    key: &str,
    preset: Option<&str>,
    deviation_reason: Option<&str>,
    mistakes: &mut Mistakes,
) -> Valid<Option<Preset>> {
    let reason_key = format!("{key}.deviation_reason");
    if deviation_reason.is_some_and(|reason| reason.trim().is_empty()) {
        mistakes.add(
            &reason_key,
            "is empty: give the reason for the looser limits; the compliance report prints this reason",
        );
    }
    let Some(name) = preset else {
        if deviation_reason.is_some() {
            mistakes.add(reason_key, format!("needs {key}.preset"));
        }
        return Ok(None);
    };
    let parsed = Preset::from_name(name).map(Some);
    mistakes.record_error(
        &format!("{key}.preset"),
        parsed.ok_or_else(|| {
            let names: Vec<&str> = Preset::ALL.iter().map(|preset| preset.name).collect();
            format!("is not one of the presets: {}", names.join(", "))
        }),
    )
}

fn parse_limit(key: &str, text: &str, mistakes: &mut Mistakes) -> Valid<Duration> {
    mistakes.parse_duration(key, text, MIN_LIMIT, MAX_COOKIE_AGE)
}

/// Parses an idle limit; `None` if it is off.
fn parse_idle_or_off(
    key: &str,
    text: &mut String,
    mistakes: &mut Mistakes,
) -> Valid<Option<Duration>> {
    if matches!(text.as_str(), "off" | "false") {
        *text = "off".to_owned();
        return Ok(None);
    }
    parse_limit(key, text, mistakes).map(Some)
}

/// Parses an optional limit.
fn parse_optional_limit(
    key: &str,
    text: Option<&str>,
    mistakes: &mut Mistakes,
) -> Valid<Option<Duration>> {
    text.map(|text| parse_limit(key, text, mistakes))
        .transpose()
}

/// The default of `store_failure_grace`.
const DEFAULT_GRACE: &str = "1m";

fn parse_on_store_failure(
    key: &str,
    raw: &mut RawPolicy,
    mistakes: &mut Mistakes,
) -> Valid<OnStoreFailure> {
    let word = raw
        .on_store_failure
        .get_or_insert_with(|| "deny".to_owned());
    match (word.as_str(), &raw.store_failure_grace) {
        ("deny", None) => Ok(OnStoreFailure::Deny),
        ("deny", Some(_)) => mistakes.reject(
            format!("{key}.store_failure_grace"),
            format!("needs {key}.on_store_failure = \"known\""),
        ),
        ("known", _) => {
            let text = raw
                .store_failure_grace
                .get_or_insert_with(|| DEFAULT_GRACE.to_owned());
            let key = format!("{key}.store_failure_grace");
            let grace = mistakes.parse_duration(&key, text, MIN_LIMIT, DAY)?;
            Ok(OnStoreFailure::Known { grace })
        }
        _ => mistakes.reject(
            format!("{key}.on_store_failure"),
            "must be `deny` or `known`",
        ),
    }
}

/// Parses the touch interval (for how long touches are collected before one is written), or returns its default. The
/// interval must be less than half of the shortest idle limit.
fn parse_touch_interval(
    key: &str,
    raw: &mut RawPolicy,
    idle: Duration,
    mistakes: &mut Mistakes,
) -> Valid<Duration> {
    let key = format!("{key}.touch_interval");
    let Some(text) = &raw.touch_interval else {
        let interval = Policy::default_touch_interval(idle);
        raw.touch_interval = Some(humantime::format_duration(interval).to_string());
        return Ok(interval);
    };
    let interval = mistakes.parse_duration(&key, text, Duration::from_millis(1), DAY)?;
    if interval >= idle / 2 {
        let half = humantime::format_duration(idle / 2);
        return mistakes.reject(
            key,
            format!(
                "must be less than half of the shortest idle limit ({half}), because a session can end earlier than its \
                 idle limit by up to the touch interval"
            ),
        );
    }
    Ok(interval)
}
