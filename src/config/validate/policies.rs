use std::collections::BTreeMap;
use std::time::Duration;

use super::{DAY, Mistakes};
use crate::config::raw::{RawConfig, RawPolicy};
use crate::policy::{ActivityKind, OnStoreFailure, Policies, Policy};
use crate::session::{LONGEST_LIFE, Limits, PolicyName};

/// PCI DSS 4 8.2.8: 15 minutes or less.
const DEFAULT_IDLE: &str = "15m";
/// NIST SP 800-63B rev 3, AAL2 and AAL3: 12 hours.
const DEFAULT_ABSOLUTE: &str = "12h";

/// The shortest limit: one second.
const LEAST: Duration = Duration::from_secs(1);

pub(super) fn parse(raw: &mut RawConfig, mistakes: &mut Mistakes) -> Option<Policies> {
    if raw.policies.is_empty() {
        raw.policies
            .insert(raw.default_policy.clone(), RawPolicy::default());
    }
    let mut policies = BTreeMap::new();
    for (name, policy) in &mut raw.policies {
        let key = format!("policies.{name}");
        let name = mistakes.take(&key, PolicyName::new(name.clone()));
        let policy = parse_policy(&key, policy, mistakes);
        policies.insert(name?, policy?);
    }
    let names: Vec<String> = policies.keys().map(ToString::to_string).collect();
    let default = PolicyName::new(raw.default_policy.clone()).ok();
    let parsed = default.and_then(|default| Policies::new(policies, default));
    mistakes.take(
        "default_policy",
        parsed.ok_or_else(|| format!("is not one of the policies: {}", names.join(", "))),
    )
}

fn parse_policy(key: &str, raw: &mut RawPolicy, mistakes: &mut Mistakes) -> Option<Policy> {
    let idle_text = raw.idle.get_or_insert_with(|| DEFAULT_IDLE.to_owned());
    let idle_key = format!("{key}.idle");
    let idle = match idle_text.as_str() {
        "off" | "false" => {
            *idle_text = "off".to_owned();
            Some(None)
        }
        text => mistakes
            .duration(&idle_key, text, LEAST, LONGEST_LIFE)
            .map(Some),
    };
    let absolute_text = raw
        .absolute
        .get_or_insert_with(|| DEFAULT_ABSOLUTE.to_owned());
    let absolute = mistakes.duration(
        &format!("{key}.absolute"),
        absolute_text,
        LEAST,
        LONGEST_LIFE,
    );
    let age_key = format!("{key}.max_auth_age");
    let max_auth_age = match &raw.max_auth_age {
        Some(text) => mistakes
            .duration(&age_key, text, LEAST, LONGEST_LIFE)
            .map(Some),
        None => Some(None),
    };
    let activity_text = raw
        .activity
        .get_or_insert_with(|| ActivityKind::Any.as_str().to_owned());
    let activity = match activity_text.as_str() {
        "any" => Ok(ActivityKind::Any),
        "navigation" => Ok(ActivityKind::Navigation),
        _ => Err("must be `any` or `navigation`"),
    };
    let activity = mistakes.take(&format!("{key}.activity"), activity);
    let (idle, absolute, max_auth_age) = (idle?, absolute?, max_auth_age?);
    if let Some(idle) = idle
        && idle > absolute
    {
        let absolute = humantime::format_duration(absolute);
        mistakes.note(
            idle_key,
            format!("is longer than {key}.absolute ({absolute}), so it would never end a session"),
        );
    }
    if max_auth_age.is_some_and(|age| age > absolute) {
        let absolute = humantime::format_duration(absolute);
        mistakes.note(
            age_key,
            format!("is longer than {key}.absolute ({absolute}), so it would never be reached"),
        );
    }
    let touch_interval = touch_interval(key, raw, idle.unwrap_or(absolute), mistakes);
    let on_store_failure = on_store_failure(key, raw, mistakes);
    Some(Policy {
        limits: Limits {
            idle,
            absolute,
            max_auth_age,
        },
        activity: activity?,
        touch_interval: touch_interval?,
        on_store_failure: on_store_failure?,
    })
}

/// How long sessions are known by default, where they are served without the store.
const DEFAULT_GRACE: &str = "1m";

fn on_store_failure(
    key: &str,
    raw: &mut RawPolicy,
    mistakes: &mut Mistakes,
) -> Option<OnStoreFailure> {
    let word = raw
        .on_store_failure
        .get_or_insert_with(|| "deny".to_owned());
    match (word.as_str(), &raw.store_failure_grace) {
        ("deny", None) => Some(OnStoreFailure::Deny),
        ("deny", Some(_)) => {
            mistakes.note(
                format!("{key}.store_failure_grace"),
                format!("is for {key}.on_store_failure = \"known\""),
            );
            None
        }
        ("known", _) => {
            let text = raw
                .store_failure_grace
                .get_or_insert_with(|| DEFAULT_GRACE.to_owned());
            let key = format!("{key}.store_failure_grace");
            let grace = mistakes.duration(&key, text, LEAST, DAY)?;
            Some(OnStoreFailure::Known { grace })
        }
        _ => {
            mistakes.note(
                format!("{key}.on_store_failure"),
                "must be `deny` or `known`",
            );
            None
        }
    }
}

/// A sixtieth of the idle limit, between 1 s and 15 s, but less than half of it in any case.
fn touch_interval(
    key: &str,
    raw: &mut RawPolicy,
    idle: Duration,
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    let key = format!("{key}.touch_interval");
    let Some(text) = &raw.touch_interval else {
        let usual = (idle / 60).clamp(Duration::from_secs(1), Duration::from_secs(15));
        let interval = Duration::from_millis(u64::try_from(usual.min(idle / 4).as_millis()).ok()?);
        raw.touch_interval = Some(humantime::format_duration(interval).to_string());
        return Some(interval);
    };
    let interval = mistakes.duration(&key, text, Duration::from_millis(1), DAY)?;
    if interval >= idle / 2 {
        let half = humantime::format_duration(idle / 2);
        mistakes.note(
            key,
            format!("must be less than half the idle limit ({half}): a session may end too early by as much"),
        );
        return None;
    }
    Some(interval)
}
