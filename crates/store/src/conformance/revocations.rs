//! Tests for cut-offs, revocation rules and [`SessionWalk`].

use super::{MINUTE, create_session, new_session, random_id};
use crate::revocation::{RevocationConditions, RevocationRule};
use crate::session::{PolicyName, Session, Subject, Timestamp};
use crate::{AddRuleOutcome, Batch, CutOffStore, MAX_REVOCATION_RULES, SessionStore, SessionWalk};

/// Tests cut-offs.
///
/// # Panics
/// If the store fails a test.
pub async fn run_cut_offs(store: &dyn CutOffStore, now: Timestamp) {
    let subject = |name: &str| Subject::new(format!("{name} {}", random_id())).unwrap();
    let (alice, bob) = (subject("alice"), subject("bob"));
    assert_eq!(store.cut_off(&alice).await.unwrap(), None);
    assert_eq!(store.known_cut_off(&alice), None);
    let forget_until = now.minus(600 * MINUTE);
    for (at, expected) in [(5, 5), (3, 5), (5, 5), (7, 7)] {
        let at = now.plus(at * MINUTE);
        store.set_cut_off(&alice, at, forget_until).await.unwrap();
        let expected = Some(now.plus(expected * MINUTE));
        assert_eq!(store.cut_off(&alice).await.unwrap(), expected);
        assert_eq!(store.known_cut_off(&alice), expected);
    }
    assert_eq!(store.cut_off(&bob).await.unwrap(), None);
    assert_eq!(store.known_cut_off(&bob), None);
    let before = store.usage().entries;
    let subjects: Vec<Subject> = (0..300).map(|_| subject("one of many")).collect();
    for (minutes, subject) in (0..).zip(&subjects) {
        let at = now.plus(minutes * MINUTE);
        store.set_cut_off(subject, at, forget_until).await.unwrap();
    }
    for (minutes, subject) in (0..).zip(&subjects) {
        let expected = Some(now.plus(minutes * MINUTE));
        assert_eq!(store.cut_off(subject).await.unwrap(), expected);
        assert_eq!(store.known_cut_off(subject), expected);
    }
    assert_eq!(store.usage().entries, before + subjects.len());
    assert!(store.usage().entries <= store.usage().max);
}

/// Tests revocation rules, and a walk over all sessions.
///
/// # Panics
/// If the store fails a test.
pub async fn run_rules<S: SessionStore + CutOffStore + SessionWalk>(store: &S, now: Timestamp) {
    let policy = format!("policy-{}", random_id());
    let session_with_policy = |name: &str| Session {
        policy: PolicyName::new(name).unwrap(),
        ..new_session(random_id(), now)
    };
    let (matching, other) = (session_with_policy(&policy), session_with_policy("another"));
    let rule = |minutes, name: &str| RevocationRule {
        conditions: RevocationConditions {
            policy: Some(name.to_owned()),
            ..RevocationConditions::default()
        },
        before: now.plus(minutes * MINUTE),
    };
    let forget_until = now.minus(600 * MINUTE);
    assert!(!store.is_ended_by_rule(&matching));
    let add = async |rule: &RevocationRule| store.add_rule(rule, forget_until).await.unwrap();
    assert!(matches!(
        add(&rule(0, &policy)).await,
        AddRuleOutcome::Added { .. }
    ));
    assert!(
        !store.is_ended_by_rule(&matching),
        "a rule should not end a session that started at the time of the rule"
    );
    assert!(matches!(
        add(&rule(1, &policy)).await,
        AddRuleOutcome::Added { .. }
    ));
    assert!(store.is_ended_by_rule(&matching));
    add(&rule(0, &policy)).await;
    assert!(
        store.is_ended_by_rule(&matching),
        "the time of a rule should only move forward"
    );
    assert!(!store.is_ended_by_rule(&other));
    let rules_of_policy = || {
        let rules = store.rules();
        let matching_rules = rules
            .iter()
            .filter(|it| it.conditions == rule(0, &policy).conditions);
        matching_rules.cloned().collect::<Vec<_>>()
    };
    assert_eq!(rules_of_policy(), [rule(1, &policy)]);
    let rule_count = store.rules().len();
    for number in rule_count..MAX_REVOCATION_RULES {
        let one_more = rule(2, &format!("policy-{number}"));
        assert!(matches!(add(&one_more).await, AddRuleOutcome::Added { .. }));
    }
    assert_eq!(add(&rule(2, "one-too-many")).await, AddRuleOutcome::TooMany);
    assert!(matches!(
        add(&rule(3, &policy)).await,
        AddRuleOutcome::Added { .. }
    ));
    let rule_for_everybody = RevocationRule {
        conditions: RevocationConditions::default(),
        before: now.plus(4 * MINUTE),
    };
    assert!(matches!(
        add(&rule_for_everybody).await,
        AddRuleOutcome::Added { .. }
    ));
    assert_eq!(
        *store.rules(),
        [rule_for_everybody],
        "a later rule for all sessions should replace all other rules"
    );
    assert!(store.is_ended_by_rule(&other));

    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create_session(store, now).await.0);
    }
    let (sender, mut batches) = tokio::sync::mpsc::channel::<Batch>(1);
    let receiving = async {
        let mut found = Vec::new();
        while let Some(batch) = batches.recv().await {
            found.extend(batch.sessions.into_iter().map(|(id, _)| id));
        }
        found
    };
    let (found, walked) = tokio::join!(receiving, store.walk(sender));
    walked.unwrap();
    assert!(
        ids.iter().all(|id| found.contains(id)),
        "the walk should find every session"
    );
}
