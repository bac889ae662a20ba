//! The order in which routers choose a rule (Gateway API, HTTPRouteRule): the more exact host, an exact path, the longer
//! prefix, a method, and then the older route.

use std::cmp::Reverse;

use crate::policy::{HostPattern, PathPattern};
use crate::routes::{RoutePath, RouteRule};

/// A key by which entries are sorted. `host` is the host of the rule, and `part` is the part of it that the entry is for. The
/// entry of a smaller part, and an entry that applies only to some requests, come before the entry for all of them.
pub(super) fn key<'a>(
    rule: &'a RouteRule,
    host: &'a HostPattern,
    part: &HostPattern,
) -> impl Ord + use<'a> {
    let path_rank = match &rule.path {
        // It can be any path of the host.
        RoutePath::Unknown => (0, Reverse(0)),
        RoutePath::Pattern(PathPattern::Exact(_)) => (1, Reverse(0)),
        RoutePath::Pattern(PathPattern::Prefix(path)) => (2, Reverse(path.len())),
        RoutePath::Pattern(PathPattern::Glob(_) | PathPattern::Ambiguous) => (3, Reverse(0)),
        RoutePath::Any => (4, Reverse(0)),
    };
    (
        host_rank(host),
        path_rank,
        host_rank(part),
        rule.is_certain,
        rule.method.is_none(),
        &*rule.created,
        &*rule.route,
    )
}

fn host_rank(host: &HostPattern) -> (u8, Reverse<usize>) {
    match host {
        HostPattern::Exact(_) => (0, Reverse(0)),
        HostPattern::Subdomains(domain) => (1, Reverse(domain.len())),
    }
}
