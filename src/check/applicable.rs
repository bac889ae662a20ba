use http::{HeaderMap, Method};

use super::{Detail, Original};
use crate::policy::{
    Access, Activity, AmbiguousPath, AppliedPolicy, BindingMismatch, Client, Contract,
    OnStoreFailure, PassiveReason, Policy, RequestTarget, Rule, RuleActivity, Rulebook,
    StreamSettings, Terms, classify, is_preflight,
};
use crate::session::{DenyReason, Limits, PolicyName, Session, Timestamp, Verdict, decide};

/// The rule and the policies that apply to a request, before its session is loaded. Checks and `explain` both use it.
#[derive(Clone, Copy, Debug)]
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
    /// Whether the request needs no session.
    pub public: bool,
}

/// Why no rule can be chosen for a request. Curfew denies such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// The proxy names a policy that is not configured.
    #[error("the policy that the proxy names is not configured")]
    UnknownPolicy,
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
            Self::UnknownPolicy | Self::Path(_) => DenyReason::MalformedRequest,
        }
    }

    /// The detail for the operator. For an ambiguous path, the detail depends on how the contract sends the path.
    #[must_use]
    pub fn detail(self, contract: Contract, path: &[u8]) -> Detail {
        match self {
            Self::UnknownPolicy => Detail::UnknownPolicy,
            Self::UnknownHost => Detail::UnknownHost,
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
        if !rulebook.hosts.admit(original.url.host) {
            return Err(MatchError::UnknownHost);
        }
        let find_policy = |name: &str| rulebook.policies.get(name);
        let proxy_policy = match policy {
            Some(name) => Some(find_policy(name).ok_or(MatchError::UnknownPolicy)?),
            None => None,
        };
        let found = rulebook.rules.find(&RequestTarget {
            host: original.url.host,
            path: original.url.path,
            method: original.method,
            contract,
        })?;
        let terms = found.terms;
        let rule_policy = match &terms.policy {
            Some(name) => Some(find_policy(name.as_str()).ok_or(MatchError::UnknownPolicy)?),
            None => None,
        };
        let public = terms.access == Access::Public
            || (terms.cors_preflight == Access::Public && is_preflight(original.method, headers));
        Ok(Self {
            rulebook,
            rule: found.rule,
            terms,
            proxy_policy,
            rule_policy,
            public,
        })
    }

    /// The name of the policy that the proxy requests, or else of the policy that the rule requests.
    #[must_use]
    pub fn requested_policy(&self) -> Option<&'a PolicyName> {
        self.proxy_policy.or(self.rule_policy).map(|(name, _)| name)
    }

    /// The policy that the proxy names and the policy that the rule names.
    fn policies(&self) -> impl Iterator<Item = &'a Policy> {
        let policies = [self.proxy_policy, self.rule_policy].into_iter();
        policies.flatten().map(|(_, policy)| policy)
    }

    /// The limits of the session for this request: the strictest of its home policy and the policies that apply.
    #[must_use]
    pub fn limits(&self, home: &AppliedPolicy<'_>, session: &Session) -> Limits {
        self.policies().fold(home.limits, |limits, policy| {
            limits.strictest(policy.limits_for(session))
        })
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
        let by_rule = self.terms.stream_activity.unwrap_or(settings.activity);
        StreamSettings {
            activity: settings.activity.min(by_rule),
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
        let groups = &self.terms.groups;
        if !groups.is_empty() && !session.attributes.is_in_any_group(groups) {
            return without_mismatch(Verdict::Deny(DenyReason::Forbidden));
        }
        without_mismatch(verdict)
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
        let kind = self.policies().fold(home.policy.activity, |kind, policy| {
            kind.strictest(policy.activity)
        });
        classify(kind, &self.rulebook.background, method, headers)
    }
}
