//! The emergency revocations (revocation rules) in the memory of a replica. While there are none, a check does only one
//! atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::revocation::{RevocationConditions, RevocationRule};
use crate::session::{Session, Timestamp};

/// The largest number of revocation rules, in Redis and in each replica.
pub const MAX_REVOCATION_RULES: usize = 100;

/// The revocation rules in force. A replica keeps a revocation rule until it calls [`RevocationRules::forget`], even if
/// the store loses it.
pub(super) struct RevocationRules {
    has_rules: AtomicBool,
    rules: ArcSwap<Vec<RevocationRule>>,
    write_lock: Mutex<()>,
}

impl RevocationRules {
    pub(super) fn new() -> Self {
        Self {
            has_rules: AtomicBool::new(false),
            rules: ArcSwap::default(),
            write_lock: Mutex::new(()),
        }
    }

    /// Returns whether a revocation rule ends this session.
    pub(super) fn ends(&self, session: &Session) -> bool {
        self.has_rules.load(Ordering::Acquire)
            && self.rules.load().iter().any(|rule| rule.ends(session))
    }

    /// Returns the revocation rules, sorted by their times, oldest first.
    pub(super) fn all(&self) -> Arc<Vec<RevocationRule>> {
        self.rules.load_full()
    }

    /// Returns whether this revocation rule can be added: there is space for it, or another one already covers it.
    pub(super) fn has_space_for(&self, rule: &RevocationRule) -> bool {
        let rules = self.rules.load();
        let remaining_count = rules
            .iter()
            .filter(|existing| !rule.covers(existing))
            .count();
        remaining_count < MAX_REVOCATION_RULES || rules.iter().any(|existing| existing.covers(rule))
    }

    /// Adds revocation rules, except those that another one covers. If there are more than [`MAX_REVOCATION_RULES`],
    /// one revocation rule for all sessions replaces the two oldest.
    pub(super) fn add(&self, new_rules: impl IntoIterator<Item = RevocationRule>) {
        let _guard = self.write_lock.lock();
        let before = self.rules.load_full();
        let mut rules = (*before).clone();
        for rule in new_rules {
            if rules.iter().any(|existing| existing.covers(&rule)) {
                continue;
            }
            rules.retain(|existing| !rule.covers(existing));
            rules.push(rule);
            rules.sort_by_key(|rule| rule.before);
            if rules.len() > MAX_REVOCATION_RULES {
                // The second oldest applies to all sessions from now on, so it also covers the oldest.
                rules.remove(0);
                rules[0].conditions = RevocationConditions::default();
            }
        }
        if rules != *before {
            self.replace(rules);
        }
    }

    /// Removes the revocation rules whose time is not later than `until`.
    pub(super) fn forget(&self, until: Timestamp) {
        let _guard = self.write_lock.lock();
        let before = self.rules.load_full();
        if before.iter().any(|rule| rule.before <= until) {
            let remaining = before.iter().filter(|rule| rule.before > until);
            self.replace(remaining.cloned().collect());
        }
    }

    fn replace(&self, rules: Vec<RevocationRule>) {
        let has_rules = !rules.is_empty();
        self.rules.store(Arc::new(rules));
        self.has_rules.store(has_rules, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{START, session_of};

    fn rule(policy: Option<&str>, seconds: u64) -> RevocationRule {
        RevocationRule {
            conditions: RevocationConditions {
                policy: policy.map(str::to_owned),
                ..RevocationConditions::default()
            },
            before: START.plus(Duration::from_secs(seconds)),
        }
    }

    #[test]
    fn rules_are_added_covered_and_forgotten() {
        let rules = RevocationRules::new();
        let session = session_of("alice", START);
        assert!(!rules.ends(&session));
        rules.add([rule(Some("strict"), 5)]);
        assert!(!rules.ends(&session));
        rules.add([rule(Some("default"), 0)]);
        assert!(
            !rules.ends(&session),
            "a rule should not end a session that started at the time of the rule"
        );
        rules.add([rule(Some("default"), 1), rule(Some("default"), 0)]);
        assert!(rules.ends(&session));
        assert_eq!(
            *rules.all(),
            [rule(Some("default"), 1), rule(Some("strict"), 5)]
        );
        rules.add([rule(None, 3)]);
        assert_eq!(*rules.all(), [rule(None, 3), rule(Some("strict"), 5)]);
        rules.forget(START.plus(Duration::from_secs(3)));
        assert_eq!(*rules.all(), [rule(Some("strict"), 5)]);
        assert!(!rules.ends(&session));
    }

    #[test]
    fn above_the_limit_a_rule_for_everybody_replaces_the_oldest_rules() {
        let rules = RevocationRules::new();
        for number in 0..MAX_REVOCATION_RULES as u64 {
            rules.add([rule(Some(&format!("policy-{number}")), number + 1)]);
        }
        assert!(!rules.has_space_for(&rule(Some("one-more"), 7)));
        assert!(rules.has_space_for(&rule(None, 7)));
        assert!(rules.has_space_for(&rule(Some("policy-3"), 9)));
        rules.add([rule(Some("one-more"), 500)]);
        assert_eq!(rules.all().len(), MAX_REVOCATION_RULES);
        assert!(
            rules.ends(&session_of("alice", START)),
            "the merged rule should end sessions of all policies"
        );
        let later = START.plus(Duration::from_secs(50));
        assert!(!rules.ends(&session_of("alice", later)));
    }
}
