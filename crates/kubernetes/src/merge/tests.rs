use proptest::prelude::*;

use super::*;
use crate::session::Limits;

fn seconds(value: u64) -> Duration {
    Duration::from_secs(value)
}

/// The fields of one object of any kind.
fn any_object() -> impl Strategy<Value = Merged> {
    prop_oneof![any_fields(), any_bounds()]
}

fn any_fields() -> impl Strategy<Value = Merged> {
    let limit = || proptest::option::of((1_u64..9).prop_map(seconds));
    let activity = proptest::option::of(prop_oneof![
        Just(ActivityKind::Any),
        Just(ActivityKind::Navigation),
        Just(ActivityKind::Explicit)
    ]);
    let stream_activity = proptest::option::of(prop_oneof![
        Just(StreamActivity::Off),
        Just(StreamActivity::ClientData)
    ]);
    let groups = proptest::collection::vec("[xyz]", 0..3);
    let paths = proptest::sample::subsequence(vec!["/a".to_owned(), "/b/**".to_owned()], 0..=2);
    (
        limit(),
        limit(),
        limit(),
        activity,
        stream_activity,
        groups,
        paths,
        "[a-c]",
    )
        .prop_map(
            |(idle, absolute, max_auth_age, activity, stream_activity, groups, paths, from)| {
                let fields = Fields {
                    idle,
                    absolute,
                    max_auth_age,
                    activity,
                    passive_paths: paths,
                    require_groups: groups,
                    stream_activity,
                    policy: None,
                };
                Merged::of_fields(&fields, &from.into())
            },
        )
}

fn any_bounds() -> impl Strategy<Value = Merged> {
    let bounds = || {
        let limit = || proptest::option::of((1_u64..9).prop_map(seconds));
        (limit(), limit()).prop_map(|(idle, absolute)| Bounds {
            idle,
            absolute,
            max_auth_age: None,
        })
    };
    let forbid = proptest::sample::subsequence(
        vec![Forbidden::PublicRules, Forbidden::StreamActivity],
        0..=2,
    );
    (bounds(), bounds(), bounds(), forbid, "[d-f]").prop_map(
        |(ceiling, floor, defaults, forbid, from)| {
            let policy = ClusterPolicy {
                ceilings: vec![ceiling],
                floor,
                defaults,
                forbid,
                ..ClusterPolicy::default()
            };
            Merged::of_cluster_policy(&policy, &from.into())
        },
    )
}

/// Whether nothing in `after` is looser than in `before`.
fn is_no_looser(before: &Merged, after: &Merged) -> bool {
    let (before, after) = (before.terms(), after.terms());
    let (a, b) = (before.limits(), after.limits());
    let paths_stay = ["/a", "/b/x", "/c"].into_iter().all(|path| {
        !before.passive_paths.contain(path.as_bytes())
            || after.passive_paths.contain(path.as_bytes())
    });
    let any = StreamActivity::ClientData;
    b.strictest(a) == b
        && after.groups.is_superset(&before.groups)
        && paths_stay
        && after.activity.strictest(before.activity) == after.activity
        && after.stream_activity.unwrap_or(any) <= before.stream_activity.unwrap_or(any)
        && (before.forbids_public.is_none() || after.forbids_public.is_some())
}

/// The same fields without floors and defaults.
fn without_floors_and_defaults(merged: &Merged) -> Merged {
    let without = |limit: &MergedLimit| MergedLimit {
        floor: None,
        default: None,
        ..limit.clone()
    };
    Merged {
        idle: without(&merged.idle),
        absolute: without(&merged.absolute),
        max_auth_age: without(&merged.max_auth_age),
        ..merged.clone()
    }
}

proptest! {
    #[test]
    fn the_order_of_the_objects_has_no_effect(a in any_object(), b in any_object(), c in any_object()) {
        prop_assert_eq!(a.join(&b), b.join(&a));
        prop_assert_eq!(a.join(&b).join(&c), a.join(&b.join(&c)));
        prop_assert_eq!(a.join(&a), a.clone());
        prop_assert_eq!(a.join(&Merged::default()), a);
    }

    /// A floor raises a value, and a value replaces a default. Without these two, nothing loosens.
    #[test]
    fn a_further_object_never_loosens(objects in proptest::collection::vec(any_object(), 0..5), further in any_object()) {
        let objects = objects.iter().map(without_floors_and_defaults);
        let before = objects.fold(Merged::default(), |all, object| all.join(&object));
        let after = before.join(&without_floors_and_defaults(&further));
        prop_assert!(is_no_looser(&before, &after), "{before:?} {after:?}");
    }

    /// Whatever else is there, a ceiling holds.
    #[test]
    fn a_ceiling_holds(objects in proptest::collection::vec(any_object(), 0..5), ceiling in 1_u64..9) {
        let policy = ClusterPolicy {
            ceilings: vec![Bounds { idle: Some(seconds(ceiling)), ..Bounds::default() }],
            ..ClusterPolicy::default()
        };
        let bound = Merged::of_cluster_policy(&policy, &"corporate".into());
        let all = objects.iter().fold(bound, |all, object| all.join(object));
        prop_assert!(all.terms().limits().idle.unwrap() <= seconds(ceiling));
    }

    /// A floor raises what was asked for, up to the ceiling, and never sets a limit itself.
    #[test]
    fn a_floor_raises_up_to_the_ceiling(merged in (any_fields(), any_bounds()).prop_map(|(a, b)| a.join(&b))) {
        let limit = &merged.idle;
        let value = |limit: &Limit| limit.as_ref().map(|limit| limit.value);
        let wanted = value(&limit.requested).or(value(&limit.default));
        let raised = wanted.map(|wanted| wanted.max(value(&limit.floor).unwrap_or_default()));
        let expected = raised.into_iter().chain(value(&limit.ceiling)).min();
        prop_assert_eq!(value(&limit.effective().limit), expected);
    }
}

fn requested(idle: u64, from: &str) -> Merged {
    let fields = Fields {
        idle: Some(seconds(idle)),
        ..Fields::default()
    };
    Merged::of_fields(&fields, &from.into())
}

#[test]
fn a_clamped_value_names_both_objects() {
    let policy = ClusterPolicy {
        ceilings: vec![Bounds {
            idle: Some(seconds(900)),
            ..Bounds::default()
        }],
        floor: Bounds {
            idle: Some(seconds(1200)),
            ..Bounds::default()
        },
        ..ClusterPolicy::default()
    };
    let bound = Merged::of_cluster_policy(&policy, &"ClusterSessionPolicy corporate".into());
    let effective = requested(1800, "SessionPolicy a/b")
        .join(&bound)
        .idle
        .effective();
    assert_eq!(
        crate::status::describe_override("idle", &effective).unwrap(),
        "idle 30m of SessionPolicy a/b is 15m because of ClusterSessionPolicy corporate."
    );
    assert!(effective.conflicting_floor.is_some());
    let within = requested(1800, "x")
        .join(&requested(300, "y"))
        .idle
        .effective();
    assert_eq!(within.limit.unwrap().from.as_ref(), "y");
    assert_eq!(within.overridden, None);
}

#[test]
fn forbidding_wins_over_everything() {
    let fields = Fields {
        stream_activity: Some(StreamActivity::ClientData),
        ..Fields::default()
    };
    let policy = ClusterPolicy {
        forbid: vec![Forbidden::StreamActivity, Forbidden::PublicRules],
        ..ClusterPolicy::default()
    };
    let merged = Merged::of_fields(&fields, &"a".into())
        .join(&Merged::of_cluster_policy(&policy, &"corporate".into()));
    let terms = merged.terms();
    assert_eq!(terms.stream_activity, Some(StreamActivity::Off));
    assert_eq!(terms.forbids_public.as_deref(), Some("corporate"));
    assert_eq!(terms.limits(), Limits::NONE);
}
