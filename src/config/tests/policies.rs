//! Policies: presets, "remember me", variants, the number of sessions and bindings.

use super::*;
use crate::policy::{BindSettings, MaxSessions, NetworkBits, OnSessionLimit, Policy};
use crate::session::Limits;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Loads the default policy from `text`.
fn load_policy(text: &str) -> Policy {
    let loaded = load_yaml(&format!("policies: {{default: {text}}}")).unwrap();
    let (_, policy) = loaded.config.rulebook.policies.get("default").unwrap();
    policy.clone()
}

/// Returns the problems of the default policy `text`, without the file name and the key prefix.
fn problems_of_policy(text: &str) -> String {
    let errors = problems(&format!("policies: {{default: {text}}}"));
    errors.replace("curfew.yaml: policies.default", "")
}

fn limits(idle: Duration, absolute: Duration) -> Limits {
    Limits {
        idle: Some(idle),
        absolute,
        max_auth_age: None,
    }
}

#[test]
fn a_preset_sets_the_default_limits() {
    for (text, expected) in [
        ("{}", limits(15 * MINUTE, 12 * HOUR)),
        ("{preset: pci-dss}", limits(15 * MINUTE, 12 * HOUR)),
        ("{preset: nist-aal2}", limits(HOUR, 24 * HOUR)),
        ("{preset: nist-aal2-rev3}", limits(30 * MINUTE, 12 * HOUR)),
        ("{preset: owasp-high}", limits(5 * MINUTE, 4 * HOUR)),
        // The standard requires no idle limit, but the default idle limit still applies.
        ("{preset: nist-aal1}", limits(15 * MINUTE, 30 * 24 * HOUR)),
        (
            "{preset: nist-aal2, idle: 10m}",
            limits(10 * MINUTE, 24 * HOUR),
        ),
    ] {
        assert_eq!(load_policy(text).limits, expected, "{text}");
    }
    let off = load_policy("{preset: nist-aal1, idle: off}");
    assert_eq!(off.limits.idle, None);
    assert_eq!(off.preset.unwrap().name, "nist-aal1");
}

#[test]
fn a_limit_above_its_preset_needs_a_reason() {
    let expected_error = "is looser than the preset pci-dss allows (15m; PCI DSS 4.0.1, 8.2.8: idle 15 minutes; absolute: convention): shorten it, or give the reason in deviation_reason";
    assert_eq!(
        problems_of_policy("{preset: pci-dss, idle: 16m}"),
        format!(".idle = \"16m\": {expected_error}")
    );
    assert_eq!(
        problems_of_policy("{preset: pci-dss, idle: off}"),
        format!(".idle = \"off\": {expected_error}")
    );
    let both = problems_of_policy("{preset: owasp-high, idle: 1h, absolute: 5h}");
    assert_eq!(both.lines().count(), 2, "{both}");
    let remembered = problems_of_policy("{preset: pci-dss, remember: {idle: 7d, absolute: 30d}}");
    assert!(
        remembered.starts_with(".remember.idle = \"7d\": is looser"),
        "{remembered}"
    );
    let deviating = load_policy("{preset: pci-dss, idle: 16m, deviation_reason: a kiosk}");
    assert_eq!(deviating.limits.idle, Some(16 * MINUTE));
    assert_eq!(deviating.deviation_reason.as_deref(), Some("a kiosk"));
    // A short absolute limit also ends unused sessions within the idle limit of the preset.
    let short = load_policy("{preset: pci-dss, idle: off, absolute: 15m}");
    assert_eq!(short.limits.absolute, 15 * MINUTE);
    for (text, expected) in [
        (
            "{preset: pcidss}",
            ".preset = \"pcidss\": is not one of the presets: nist-aal1, nist-aal2, nist-aal2-rev3, nist-aal3, asvs4-l2, asvs4-l3, pci-dss, fedramp-moderate, fedramp-high, owasp-high, owasp-low, hipaa",
        ),
        (
            "{deviation_reason: because}",
            ".deviation_reason = \"because\": needs policies.default.preset",
        ),
        (
            "{preset: pci-dss, idle: 1h, deviation_reason: ' '}",
            ".deviation_reason = \" \": is empty: give the reason for the looser limits; the compliance report prints this reason",
        ),
    ] {
        assert_eq!(problems_of_policy(text), expected);
    }
}

#[test]
fn remember_needs_both_limits() {
    let remembering = load_policy("{remember: {idle: 14d, absolute: 30d}, max_auth_age: 1h}");
    let expected = Limits {
        max_auth_age: Some(HOUR),
        ..limits(14 * 24 * HOUR, 30 * 24 * HOUR)
    };
    assert_eq!(remembering.remember, Some(expected));
    let remembering_without_idle = load_policy("{remember: {idle: off, absolute: 30d}}");
    assert_eq!(remembering_without_idle.remember.unwrap().idle, None);
    for (text, expected) in [
        (
            "{remember: {absolute: 30d}}",
            ".remember.idle: is missing: set the idle limit of remembered sessions, or `off`",
        ),
        (
            "{remember: {idle: 1d}}",
            ".remember.absolute: is missing: set the absolute limit of remembered sessions",
        ),
        (
            "{remember: {idle: 5m, absolute: 30d}}",
            ".remember.idle = \"5m\": must not be shorter than the policy's own limit (15m)",
        ),
        (
            "{remember: {idle: 1h, absolute: 2h}}",
            ".remember.absolute = \"2h\": must not be shorter than the policy's own limit (12h)",
        ),
        (
            "{idle: off, remember: {idle: 1h, absolute: 20h}}",
            ".remember.idle = \"1h\": must not be shorter than the policy's own limit (off)",
        ),
        (
            "{remember: {idle: 31d, absolute: 30d}}",
            ".remember.idle = \"31d\": is longer than policies.default.remember.absolute (30days), so it would never end a session",
        ),
        (
            "{remember: {idle: 1d, absolute: for ever}}",
            ".remember.absolute = \"for ever\": not a duration; write one like \"15m\", \"12h\" or \"1h 30m\"",
        ),
    ] {
        assert!(
            problems_of_policy(text).contains(expected),
            "{text}: {}",
            problems_of_policy(text)
        );
    }
}

#[test]
fn a_variant_only_tightens() {
    let with_variants = load_policy(
        "{idle: 1h, variants: [{groups: admins, idle: 10m}, {groups: [a, b], absolute: 2h, max_auth_age: 1h}]}",
    );
    let [admins, ab] = &*with_variants.variants else {
        panic!("the policy should have two variants");
    };
    assert_eq!(admins.groups, ["admins"]);
    assert_eq!(
        admins.limits,
        Limits {
            idle: Some(10 * MINUTE),
            ..Limits::NONE
        }
    );
    assert_eq!((ab.groups.len(), ab.limits.absolute), (2, 2 * HOUR));
    assert_eq!(
        with_variants.touch_interval,
        Duration::from_secs(10),
        "a sixtieth of the shortest idle limit"
    );
    for (text, expected) in [
        (
            "{variants: [{groups: a, idle: 15m}]}",
            ".variants.0.idle = \"15m\": must be shorter than policies.default.idle (15m): a variant can only shorten limits",
        ),
        (
            "{variants: [{groups: a, idle: 1m}, {groups: b, absolute: 13h}]}",
            ".variants.1.absolute = \"13h\": must be shorter than policies.default.absolute (12h): a variant can only shorten limits",
        ),
        (
            "{variants: [{idle: 1m}]}",
            ".variants.0.groups: is missing: set the groups of this variant",
        ),
        (
            "{variants: [{groups: a}]}",
            ".variants.0: has no limit: set idle, absolute or max_auth_age",
        ),
        (
            "{variants: [{groups: a, idle: off}]}",
            ".variants.0.idle = \"off\": not a duration",
        ),
        (
            "{touch_interval: 5s, variants: [{groups: a, idle: 10s}]}",
            ".touch_interval = \"5s\": must be less than half of the shortest idle limit (5s)",
        ),
    ] {
        assert!(
            problems_of_policy(text).contains(expected),
            "{text}: {}",
            problems_of_policy(text)
        );
    }
    // If the policy has no idle limit, every idle limit of a variant is shorter.
    load_policy("{idle: off, variants: [{groups: a, idle: 3h}]}");
}

#[test]
fn the_session_limit_and_the_binding_are_read() {
    let max_sessions = |count, on_limit| Some(MaxSessions { count, on_limit });
    for (text, expected) in [
        ("{}", None),
        ("{max_sessions: 3}", max_sessions(3, OnSessionLimit::Deny)),
        (
            "{max_sessions: 1, on_session_limit: end_oldest}",
            max_sessions(1, OnSessionLimit::EndOldest),
        ),
    ] {
        assert_eq!(load_policy(text).max_sessions, expected, "{text}");
    }
    let bound = |bits: Option<(u8, u8)>, user_agent| BindSettings {
        network: bits.map(|(ipv4, ipv6)| NetworkBits { ipv4, ipv6 }),
        user_agent,
    };
    for (text, expected) in [
        ("{}", bound(None, false)),
        ("{bind: user_agent}", bound(None, true)),
        ("{bind: address}", bound(Some((24, 64)), false)),
        ("{bind: 'address, user_agent'}", bound(Some((24, 64)), true)),
        (
            "{bind: [address], bind_ipv4_bits: 32, bind_ipv6_bits: 48}",
            bound(Some((32, 48)), false),
        ),
    ] {
        assert_eq!(load_policy(text).bind, expected, "{text}");
    }
    for (text, expected) in [
        (
            "{max_sessions: 0}",
            ".max_sessions = \"0\": must be between 1 and 1000",
        ),
        (
            "{on_session_limit: deny}",
            ".on_session_limit = \"deny\": needs policies.default.max_sessions",
        ),
        (
            "{max_sessions: 1, on_session_limit: ask}",
            ".on_session_limit = \"ask\": must be `deny` or `end_oldest`",
        ),
        (
            "{bind: cookie}",
            ".bind = \"cookie\": must be `address`, `user_agent` or both",
        ),
        (
            "{bind: user_agent, bind_ipv4_bits: 24}",
            ".bind_ipv4_bits = \"24\": needs policies.default.bind = \"address\"",
        ),
        (
            "{bind: address, bind_ipv4_bits: 33}",
            ".bind_ipv4_bits = \"33\": must be between 1 and 32",
        ),
        (
            "{bind: address, bind_ipv6_bits: 0}",
            ".bind_ipv6_bits = \"0\": must be between 1 and 128",
        ),
    ] {
        assert!(
            problems_of_policy(text).contains(expected),
            "{text}: {}",
            problems_of_policy(text)
        );
    }
}
