use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::session::{Attributes, PolicyName};
use crate::testing::{MINUTE, START, policy_name, session_of};

fn limits(idle: Option<u32>, absolute: u32, max_auth_age: Option<u32>) -> Limits {
    Limits {
        idle: idle.map(|minutes| minutes * MINUTE),
        absolute: absolute * MINUTE,
        max_auth_age: max_auth_age.map(|minutes| minutes * MINUTE),
    }
}

fn attributes_with_groups(groups: &[&str]) -> Attributes {
    let groups = groups.iter().map(|&group| group.to_owned()).collect();
    Attributes::new(BTreeMap::from([("groups".to_owned(), groups)])).unwrap()
}

fn variant(groups: &[&str], limits: Limits) -> Variant {
    Variant {
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        limits,
    }
}

#[test]
fn the_stricter_store_failure_behaviour_wins() {
    let known = |minutes: u32| OnStoreFailure::Known {
        grace: minutes * MINUTE,
    };
    assert_eq!(known(5).strictest(known(3)), known(3));
    let deny = OnStoreFailure::Deny;
    assert_eq!(known(5).strictest(deny), deny);
    assert_eq!(deny.strictest(known(5)), deny);
}

#[test]
fn a_removed_policy_is_replaced_by_the_strictest_combination() {
    let (mut long, mut short) = (
        Policy::of(limits(Some(30), 60, None)),
        Policy::of(limits(Some(15), 90, None)),
    );
    long.on_store_failure = OnStoreFailure::Known { grace: MINUTE };
    long.remember = Some(limits(Some(600), 6000, None));
    short.on_store_failure = OnStoreFailure::Known { grace: 2 * MINUTE };
    short.variants = vec![variant(&["admin"], limits(Some(1), 80, None))];
    let all = BTreeMap::from([
        (policy_name("long"), long.clone()),
        (policy_name("short"), short),
    ]);
    let policies = Policies::new(all.clone(), policy_name("long")).unwrap();
    let mut session = session_of("alice", START);
    session.policy = policy_name("long");
    assert_eq!(policies.home(&session).policy, &long);
    session.policy = policy_name("renamed");
    session.remembered = true;
    let replaced = policies.home(&session);
    assert_eq!(replaced.limits, limits(Some(15), 60, None));
    let grace = OnStoreFailure::Known { grace: MINUTE };
    assert_eq!(replaced.policy.on_store_failure, grace);
    session.attributes = attributes_with_groups(&["admin"]);
    assert_eq!(policies.home(&session).limits, limits(Some(1), 60, None));
    assert_eq!(
        policies.longest_absolute_limit(),
        6000 * MINUTE,
        "with `remember`"
    );
    assert!(Policies::new(all, policy_name("renamed")).is_none());
}

#[test]
fn the_strictest_variant_that_matches_wins() {
    let policy = Policy {
        remember: Some(limits(Some(1000), 2000, None)),
        variants: vec![
            variant(&["viewer", "guest"], limits(Some(20), 9999, None)),
            variant(&["admin"], limits(Some(5), 60, Some(30))),
            variant(&["auditor"], limits(None, 90, Some(10))),
        ],
        ..Policy::of(limits(Some(30), 480, None))
    };
    for (remembered, groups, expected) in [
        (false, &[][..], limits(Some(30), 480, None)),
        (false, &["other"], limits(Some(30), 480, None)),
        (false, &["viewers"], limits(Some(30), 480, None)),
        (false, &["Admin"], limits(Some(30), 480, None)),
        (false, &["guest"], limits(Some(20), 480, None)),
        (false, &["viewer", "admin"], limits(Some(5), 60, Some(30))),
        (false, &["auditor", "admin"], limits(Some(5), 60, Some(10))),
        (false, &["auditor"], limits(Some(30), 90, Some(10))),
        (true, &[], limits(Some(1000), 2000, None)),
        (true, &["guest"], limits(Some(20), 2000, None)),
        (true, &["admin"], limits(Some(5), 60, Some(30))),
    ] {
        let found = policy.limits_for_sign_in(remembered, &attributes_with_groups(groups));
        assert_eq!(found, expected, "{groups:?}, remembered: {remembered}");
    }
    // The provider did not send the groups, so the subject may be in any group.
    let state = [vec![Attributes::UNKNOWN]];
    let unknown =
        Attributes::from_sorted(std::iter::once(Attributes::GROUPS_STATE).zip(state)).unwrap();
    let found = policy.limits_for_sign_in(false, &unknown);
    assert_eq!(found, limits(Some(5), 60, Some(10)));
    let without_remember = Policy {
        remember: None,
        ..policy
    };
    let found = without_remember.limits_for_sign_in(true, &attributes_with_groups(&[]));
    assert_eq!(found, limits(Some(30), 480, None));
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let minutes = 1_u32..100;
    (
        proptest::option::of(minutes.clone()),
        minutes.clone(),
        proptest::option::of(minutes),
    )
        .prop_map(|(idle, absolute, age)| limits(idle, absolute, age))
}

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

fn any_groups() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(GROUPS.to_vec(), 0..=GROUPS.len())
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let variants = proptest::collection::vec((any_groups(), any_limits()), 0..4);
    (any_limits(), proptest::option::of(any_limits()), variants).prop_map(
        |(limits, remember, variants)| Policy {
            remember,
            variants: variants
                .iter()
                .map(|(groups, limits)| variant(groups, *limits))
                .collect(),
            ..Policy::of(limits)
        },
    )
}

/// Whether no limit in `a` is longer than the same limit in `b`.
fn is_at_least_as_strict(a: Limits, b: Limits) -> bool {
    let is_within = |a: Option<Duration>, b: Option<Duration>| match (a, b) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(a), Some(b)) => a <= b,
    };
    is_within(a.idle, b.idle)
        && a.absolute <= b.absolute
        && is_within(a.max_auth_age, b.max_auth_age)
}

proptest! {
    /// Each limit is the smallest value that applies. The test computes the expected values without the functions
    /// that it tests.
    #[test]
    fn each_limit_is_the_smallest_that_applies(
        policy in any_policy(), groups in any_groups(), remembered in any::<bool>(),
    ) {
        let base = if remembered { policy.remember.unwrap_or(policy.limits) } else { policy.limits };
        let mut applicable_limits = vec![base];
        for variant in &policy.variants {
            if variant.groups.iter().any(|group| groups.contains(&group.as_str())) {
                applicable_limits.push(variant.limits);
            }
        }
        let found = policy.limits_for_sign_in(remembered, &attributes_with_groups(&groups));
        prop_assert_eq!(found.idle, applicable_limits.iter().filter_map(|limits| limits.idle).min());
        prop_assert_eq!(Some(found.absolute), applicable_limits.iter().map(|limits| limits.absolute).min());
        let age = applicable_limits.iter().filter_map(|limits| limits.max_auth_age).min();
        prop_assert_eq!(found.max_auth_age, age);
    }

    /// Membership in another group never loosens a limit.
    #[test]
    fn more_groups_only_tighten_limits(
        policy in any_policy(), groups in any_groups(), more in any_groups(), remembered in any::<bool>(),
    ) {
        let all: Vec<&str> = groups.iter().chain(&more).copied().collect();
        let limits_of_all = policy.limits_for_sign_in(remembered, &attributes_with_groups(&all));
        let limits_of_fewer = policy.limits_for_sign_in(remembered, &attributes_with_groups(&groups));
        prop_assert!(is_at_least_as_strict(limits_of_all, limits_of_fewer));
    }

    /// If the home policy is not configured, the limits are at least as strict as the limits of every policy.
    #[test]
    fn the_strictest_combination_is_no_looser_than_any_policy(
        policies in proptest::collection::vec(any_policy(), 1..4), groups in any_groups(),
    ) {
        let names = ["x", "y", "z"].map(policy_name);
        let by_name: BTreeMap<PolicyName, Policy> =
            names.into_iter().zip(policies.clone()).collect();
        let all = Policies::new(by_name, policy_name("x")).unwrap();
        let mut session = session_of("alice", START);
        session.attributes = attributes_with_groups(&groups);
        session.policy = policy_name("renamed");
        let found = all.home(&session).limits;
        for policy in &policies {
            prop_assert!(is_at_least_as_strict(found, policy.limits_for_sign_in(false, &session.attributes)));
        }
    }
}
