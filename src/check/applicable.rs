use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use super::{Detail, Original};
use crate::policy::{
    Access, Activity, ActivityKind, AmbiguousPath, AppliedPolicy, BindingMismatch, CheckTimes,
    Client, Contract, OnStoreFailure, PassiveReason, Policy, RequestTarget, RouteTerms, Routes,
    Rule, RuleActivity, Rulebook, StreamSettings, Terms, classify, is_preflight,
};
use crate::session::{DenyReason, Limits, PolicyName, Session, Timestamp, Verdict, decide};

/// The beginning of the paths of Curfew's own pages for browsers. No object of the cluster can close them.
const OWN_PAGES: &str = "/.curfew/";

/// The rule and the policies that apply to a request, before its session is loaded. Checks and `explain` both use it.
#[derive(Clone, Debug)]
pub struct RuleMatch<'a> {
    rulebook: &'a Rulebook,
    /// The rule that matches, if any.
    pub rule: Option<&'a Rule>,
    /// The terms of the rule (such as access and groups), or the default terms if no rule matches.
    pub terms: &'a Terms,
    /// The policy that the proxy names.
    pub proxy_policy: Option<(&'a PolicyName, &'a Policy)>,
    /// The policy that the rule names.
    pub rule_policy: Option<(&'a PolicyName, &'a Policy)>,
    /// The terms of the route in the cluster, if any. They only tighten.
    pub route: Option<Arc<RouteTerms>>,
    /// Whether the path is one of the passive paths of the route.
    is_passive_path: bool,
    /// Whether the request needs no session.
    pub public: bool,
}

/// Why no rule can be chosen for a request. Curfew denies such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// The proxy names a policy that is not configured.
    #[error("the policy that the proxy names is not configured")]
    UnknownPolicy,
    /// The policies of the cluster are not known yet.
    #[error("the policies of the cluster are not known yet")]
    UnknownRoutes,
    /// The configuration names hosts, but not this one.
    #[error("the configuration does not name this host")]
    UnknownHost,
    /// A rule depends on the path, and programs read this path in different ways.
    #[error("a rule depends on the path, and the path is ambiguous: {0}")]
    Path(#[from] AmbiguousPath),
}

impl MatchError {
    /// The reason of the denial.
    #[must_use]
    pub const fn reason(self) -> DenyReason {
        match self {
            Self::UnknownHost => DenyReason::UnknownHost,
            Self::UnknownRoutes => DenyReason::SourceUnavailable,
            Self::UnknownPolicy | Self::Path(_) => DenyReason::MalformedRequest,
        }
    }

    /// The detail for the operator. For an ambiguous path, the detail depends on how the contract sends the path.
    #[must_use]
    pub fn detail(self, contract: Contract, path: &[u8]) -> Detail {
        match self {
            Self::UnknownPolicy => Detail::UnknownPolicy,
            Self::UnknownHost => Detail::UnknownHost,
            Self::UnknownRoutes => Detail::UnknownRoutes,
            Self::Path(AmbiguousPath::DoubleSlash)
                if contract == Contract::ExtAuthz && path.starts_with(b"//") =>
            {
                Detail::PrefixSlash
            }
            Self::Path(ambiguous) => Detail::Path(ambiguous),
        }
    }
}

/// The decision on a request with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The verdict on the request.
    pub verdict: Verdict,
    /// The part of the binding that the client does not match, if this mismatch is the reason of the denial.
    pub binding_mismatch: Option<BindingMismatch>,
}

impl<'a> RuleMatch<'a> {
    /// Finds the rule and the policies for a request. `policy` is the policy name that the proxy sends.
    ///
    /// # Errors
    /// [`MatchError`] for an unknown policy or host, or an ambiguous path.
    pub fn find(
        rulebook: &'a Rulebook,
        contract: Contract,
        policy: Option<&str>,
        original: &Original<'_>,
        headers: &HeaderMap,
    ) -> Result<Self, MatchError> {
        Self::find_for_check(rulebook, contract, policy, original, headers, None)
    }

    /// Finds the same as [`find`](Self::find). Records for the routes of the cluster that a check has arrived at the time
    /// `check`; `None` if no proxy has asked.
    ///
    /// # Errors
    /// [`MatchError`] for an unknown policy or host, or an ambiguous path.
    pub fn find_for_check(
        rulebook: &'a Rulebook,
        contract: Contract,
        policy: Option<&str>,
        original: &Original<'_>,
        headers: &HeaderMap,
        check: Option<Timestamp>,
    ) -> Result<Self, MatchError> {
        if !rulebook.hosts.admit(original.url.host) {
            return Err(MatchError::UnknownHost);
        }
        let find_policy = |name: &str| rulebook.policies.get(name);
        let proxy_policy = match policy {
            Some(name) => Some(find_policy(name).ok_or(MatchError::UnknownPolicy)?),
            None => None,
        };
        let target = RequestTarget {
            host: original.url.host,
            path: original.url.path,
            method: original.method,
            contract,
        };
        let normal = target.normalize().with_route(original.route);
        // The routes come first, because a check with an ambiguous path also shows that the proxy asks.
        let route = match (&*rulebook.routes.current(), check) {
            (Routes::Unknown, _) => None,
            (Routes::Known(routes), None) => Some(routes.find(&normal)),
            (Routes::Known(routes), Some(now)) => {
                Some(routes.find_and_record(&normal, CheckTimes::minute(now)))
            }
        };
        let found = rulebook.rules.find(&normal)?;
        let route = route.ok_or(MatchError::UnknownRoutes)?;
        let terms = found.terms;
        let rule_policy = match &terms.policy {
            Some(name) => Some(find_policy(name.as_str()).ok_or(MatchError::UnknownPolicy)?),
            None => None,
        };
        let is_public_by_rule = terms.access == Access::Public
            || (terms.cors_preflight == Access::Public && is_preflight(original.method, headers));
        let forbids_public = |route: &Arc<RouteTerms>| route.forbids_public.is_some();
        // Otherwise, nobody could sign in where the proxy sends a check for Curfew's own pages too.
        let is_own_page = normal
            .path()
            .is_some_and(|path| path.starts_with(OWN_PAGES));
        let is_forbidden = !is_own_page && route.as_ref().is_some_and(forbids_public);
        let public = is_public_by_rule && !is_forbidden;
        let passive_paths = route.as_ref().map(|route| &route.passive_paths);
        let is_passive_path = passive_paths.is_some_and(|paths| paths.contain(target.path));
        Ok(Self {
            rulebook,
            rule: found.rule,
            terms,
            proxy_policy,
            rule_policy,
            route,
            is_passive_path,
            public,
        })
    }

    /// The name of the policy that the proxy requests, or else of the policy that the rule requests.
    #[must_use]
    pub fn requested_policy(&self) -> Option<&'a PolicyName> {
        self.proxy_policy.or(self.rule_policy).map(|(name, _)| name)
    }

    /// The policy that the proxy names, the policy that the rule names, and the policies that the route names.
    fn policies(&self) -> impl Iterator<Item = &'a Policy> {
        let policies = [self.proxy_policy, self.rule_policy].into_iter();
        let policies = policies.flatten().map(|(_, policy)| policy);
        policies.chain(self.route_policies().map(|(_, policy)| policy))
    }

    /// The policies that the route names, each with the name. For a name that is not configured, the strictest
    /// combination of all policies applies.
    pub fn route_policies(&self) -> impl Iterator<Item = (&PolicyName, &'a Policy)> {
        let policies = &self.rulebook.policies;
        let names = self.route.iter().flat_map(|route| &route.policies);
        names.map(|name| {
            let found = policies.get(name.value.as_str());
            let policy = found.map_or(policies.strictest(), |(_, policy)| policy);
            (&name.value, policy)
        })
    }

    /// The limits of the session for this request: the strictest of its home policy and the policies that apply.
    #[must_use]
    pub fn limits(&self, home: &AppliedPolicy<'_>, session: &Session) -> Limits {
        let by_route = self
            .route
            .as_ref()
            .map_or(Limits::NONE, |route| route.limits());
        let limits = home.limits.strictest(by_route);
        self.policies().fold(limits, |limits, policy| {
            limits.strictest(policy.limits_for(session))
        })
    }

    /// The touch interval for this request: the shortest of all policies that apply, and the default interval for the
    /// idle limit of the route. So the store always knows activity that is recent enough for these limits.
    #[must_use]
    pub fn touch_interval(&self, home: &AppliedPolicy<'_>) -> Duration {
        let intervals = self.policies().map(|policy| policy.touch_interval);
        let route_idle = self.route.as_ref().and_then(|route| route.idle.as_ref());
        let by_route = route_idle.map(|idle| Policy::default_touch_interval(idle.value));
        intervals
            .chain(by_route)
            .fold(home.policy.touch_interval, Ord::min)
    }

    /// The behaviour while the store is unavailable: the strictest of all policies that apply.
    #[must_use]
    pub fn on_store_failure(&self, home: &AppliedPolicy<'_>) -> OnStoreFailure {
        let home = home.policy.on_store_failure;
        self.policies()
            .fold(home, |all, policy| all.strictest(policy.on_store_failure))
    }

    /// The settings for a stream that this request opens: the strictest of all policies that apply, and of the rule.
    #[must_use]
    pub fn stream_settings(&self, home: &AppliedPolicy<'_>) -> StreamSettings {
        let home = home.policy.streams.clone();
        let settings = self
            .policies()
            .fold(home, |all, policy| all.strictest(&policy.streams));
        let by_rule = self.terms.stream_activity;
        let by_route = self.route.as_ref().and_then(|route| route.stream_activity);
        let restrictions = [by_rule, by_route].into_iter().flatten();
        StreamSettings {
            activity: restrictions.fold(settings.activity, Ord::min),
            heartbeats: settings.heartbeats.union(&self.terms.stream_heartbeats),
            ..settings
        }
    }

    /// Decides on a request with a session. Examines, in this order: the limits and the state of the session, the
    /// binding, the groups, the age of the sign-in.
    #[must_use]
    pub fn decide(
        &self,
        home: &AppliedPolicy<'_>,
        session: &Session,
        client: impl FnOnce() -> Client,
        now: Timestamp,
    ) -> Decision {
        let verdict = decide(
            Some(session),
            &home.limits,
            &self.limits(home, session),
            now,
        );
        let without_mismatch = |verdict| Decision {
            verdict,
            binding_mismatch: None,
        };
        let is_live = matches!(
            verdict,
            Verdict::Allow | Verdict::Deny(DenyReason::ReauthenticationRequired)
        );
        if !is_live {
            return without_mismatch(verdict);
        }
        if !session.binding.is_unbound()
            && let Err(mismatch) = client().check_binding(&session.binding)
        {
            let reason = match mismatch {
                // Ask for a new sign-in, because it starts a separate session for this client.
                BindingMismatch::Address | BindingMismatch::UserAgent => {
                    DenyReason::ReauthenticationRequired
                }
                BindingMismatch::AddressUnknown => DenyReason::MalformedRequest,
            };
            return Decision {
                verdict: Verdict::Deny(reason),
                binding_mismatch: Some(mismatch),
            };
        }
        let is_member = |groups: &Vec<String>| session.attributes.is_in_any_group(groups);
        if !self.required_groups().all(is_member) {
            return without_mismatch(Verdict::Deny(DenyReason::Forbidden));
        }
        without_mismatch(verdict)
    }

    /// The required groups: the subject must be in at least one group of each list.
    pub fn required_groups(&self) -> impl Iterator<Item = &Vec<String>> {
        let by_rule = Some(&self.terms.groups).filter(|groups| !groups.is_empty());
        let by_route = self.route.iter().flat_map(|route| &route.groups);
        by_rule
            .into_iter()
            .chain(by_route.map(|groups| &groups.value))
    }

    /// Whether the request counts as activity, if it is allowed.
    #[must_use]
    pub fn activity(
        &self,
        home: &AppliedPolicy<'_>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Activity {
        if self.terms.activity == RuleActivity::Passive {
            return Activity::Passive(PassiveReason::Rule);
        }
        if self.is_passive_path {
            return Activity::Passive(PassiveReason::Route);
        }
        let by_route = self
            .route
            .as_ref()
            .map_or(ActivityKind::Any, |route| route.activity);
        let kind = home.policy.activity.strictest(by_route);
        let kind = self
            .policies()
            .fold(kind, |kind, policy| kind.strictest(policy.activity));
        classify(kind, &self.rulebook.background, method, headers)
    }
}
