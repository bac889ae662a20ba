//! Which routes have sent a check.

use std::collections::HashMap;
use std::sync::Arc;

use crate::claims::path_name;
use crate::policy::{HostPattern, RouteChecks, RouteIndex, number};
use crate::routes::RouteRule;
use crate::status::Condition;

/// The most routes that a condition names.
const MAX_NAMED: usize = 3;

/// Where checks are recorded for each route, host, path and method.
pub(super) struct Checked {
    known: HashMap<u64, Arc<RouteChecks>>,
}

impl Checked {
    /// Continues the records of an earlier index.
    pub(super) fn new(before: &RouteIndex) -> Self {
        let known = before
            .checks()
            .map(|checks| (checks.id, Arc::clone(checks)));
        Self {
            known: known.collect(),
        }
    }

    /// The record for a rule at one of its hosts.
    pub(super) fn of_rule(&mut self, rule: &RouteRule, host: &HostPattern) -> Arc<RouteChecks> {
        let id = id(rule, host);
        let checks = self.known.entry(id);
        Arc::clone(checks.or_insert_with(|| Arc::new(RouteChecks::new(id))))
    }
}

/// A number that stands for a route, a host, a path and a method. It is the same in every replica and version.
pub(crate) fn id(rule: &RouteRule, host: &HostPattern) -> u64 {
    let key = &rule.route.key;
    let path = path_name(&rule.path).unwrap_or_default();
    let method = rule.method.as_ref().map_or("", http::Method::as_str);
    let host = host.to_string();
    number(&[
        rule.route.kind,
        &key.namespace,
        &key.name,
        &host,
        &path,
        method,
    ])
}

/// Returns the condition about the routes of a policy, each with its name and whether a check has arrived. `None` without
/// routes. `since` is the start of the observation in RFC 3339.
pub(super) fn condition(
    routes: impl Iterator<Item = (String, bool)>,
    since: &str,
) -> Option<Condition> {
    let (mut total, mut unchecked) = (0, Vec::new());
    for (name, has_checks) in routes {
        total += 1;
        if !has_checks {
            unchecked.push(name);
        }
    }
    if total == 0 {
        return None;
    }
    unchecked.sort_unstable();
    unchecked.dedup();
    let named = unchecked.iter().take(MAX_NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(", ");
    let more = unchecked.len().saturating_sub(MAX_NAMED);
    let and_more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let message = if unchecked.is_empty() {
        "A check has arrived for each route.".to_owned()
    } else {
        format!(
            "No check has arrived for {named}{and_more} since {since}. Either nobody uses it, or the proxy does not ask Curfew."
        )
    };
    Some(Condition {
        kind: "ChecksSeen",
        status: unchecked.is_empty(),
        reason: if unchecked.is_empty() {
            "ChecksSeen"
        } else {
            "NoCheckSeen"
        },
        message,
    })
}
