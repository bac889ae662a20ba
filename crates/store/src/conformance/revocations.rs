//! Tests for cut-offs, revocation rules and [`SessionWalk`].

use super::{MINUTE, created, random_id, session};
use crate::revocation::{RevocationConditions, RevocationRule};
use crate::session::{PolicyName, Session, Subject, Timestamp};
use crate::{Batch, CutOffStore, MAX_REVOCATION_RULES, RuleAdded, SessionStore, SessionWalk};

/// Tests cut-offs.
///
/// # Panics
/// If the store fails a test.
pub async fn run_cut_offs(store: &dyn CutOffStore, now: Timestamp) {
    let subject = |name: &str| Subject::new(format!("{name} {}", random_id())).unwrap();
    let (alice, bob) = (subject("alice"), subject("bob"));
    assert_eq!(store.cut_off(&alice).await.unwrap(), None);
    assert_eq!(store.known_cut_off(&alice), None);
    let forget = now.minus(600 * MINUTE);
    for (at, expected) in [(5, 5), (3, 5), (5, 5), (7, 7)] {
        let at = now.plus(at * MINUTE);
        store.set_cut_off(&alice, at, forget).await.unwrap();
        let expected = Some(now.plus(expected * MINUTE));
        assert_eq!(store.cut_off(&alice).await.unwrap(), expected);
        assert_eq!(store.known_cut_off(&alice), expected);
    }
    assert_eq!(store.cut_off(&bob).await.unwrap(), None);
    assert_eq!(store.known_cut_off(&bob), None);
    let before = store.usage().entries;
    let many: Vec<Subject> = (0..300).map(|_| subject("one of many")).collect();
    for (minutes, subject) in (0..).zip(&many) {
        let at = now.plus(minutes * MINUTE);
        store.set_cut_off(subject, at, forget).await.unwrap();
    }
    for (minutes, subject) in (0..).zip(&many) {
        let expected = Some(now.plus(minutes * MINUTE));
        assert_eq!(store.cut_off(subject).await.unwrap(), expected);
        assert_eq!(store.known_cut_off(subject), expected);
    }
    assert_eq!(store.usage().entries, before + many.len());
    assert!(store.usage().entries <= store.usage().max);
}

/// Tests revocation rules, and a walk over all sessions.
///
/// # Panics
/// If the store fails a test.
pub async fn run_rules<S: SessionStore + CutOffStore + SessionWalk>(store: &S, now: Timestamp) {
    let policy = format!("policy-{}", random_id());
    let of = |name: &str| Session {
        policy: PolicyName::new(name).unwrap(),
        ..session(random_id(), now)
    };
    let (meant, other) = (of(&policy), of("another"));
    let rule = |minutes, name: &str| RevocationRule {
        conditions: RevocationConditions {
            policy: Some(name.to_owned()),
            ..RevocationConditions::default()
        },
        before: now.plus(minutes * MINUTE),
    };
    let forget = now.minus(600 * MINUTE);
    assert!(!store.is_ended_by_rule(&meant));
    let add = async |rule: &RevocationRule| store.add_rule(rule, forget).await.unwrap();
    assert!(matches!(
        add(&rule(0, &policy)).await,
        RuleAdded::Added { .. }
    ));
    assert!(
        !store.is_ended_by_rule(&meant),
        "a rule should not end a session that started at the time of the rule"
    );
    assert!(matches!(
        add(&rule(1, &policy)).await,
        RuleAdded::Added { .. }
    ));
    assert!(store.is_ended_by_rule(&meant));
    add(&rule(0, &policy)).await;
    assert!(
        store.is_ended_by_rule(&meant),
        "the time of a rule should only move forward"
    );
    assert!(!store.is_ended_by_rule(&other));
    let own = || {
        let rules = store.rules();
        let own = rules
            .iter()
            .filter(|it| it.conditions == rule(0, &policy).conditions);
        own.cloned().collect::<Vec<_>>()
    };
    assert_eq!(own(), [rule(1, &policy)]);
    let there = store.rules().len();
    for number in there..MAX_REVOCATION_RULES {
        let one_more = rule(2, &format!("policy-{number}"));
        assert!(matches!(add(&one_more).await, RuleAdded::Added { .. }));
    }
    assert_eq!(add(&rule(2, "one-too-many")).await, RuleAdded::TooMany);
    assert!(matches!(
        add(&rule(3, &policy)).await,
        RuleAdded::Added { .. }
    ));
    let everybody = RevocationRule {
        conditions: RevocationConditions::default(),
        before: now.plus(4 * MINUTE),
    };
    assert!(matches!(add(&everybody).await, RuleAdded::Added { .. }));
    assert_eq!(
        *store.rules(),
        [everybody],
        "a later rule for all sessions should replace all other rules"
    );
    assert!(store.is_ended_by_rule(&other));

    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(created(store, now).await.0);
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
