use http::{HeaderMap, Method};

use super::{Detail, Original};
use crate::policy::{
    Access, Activity, AmbiguousPath, AppliedPolicy, BindingMismatch, Client, Contract,
    OnStoreFailure, Passivity, Policy, Rule, RuleActivity, Rulebook, Target, Terms, classify,
    is_preflight,
};
use crate::session::{DenyReason, Limits, PolicyName, Session, Timestamp, Verdict, decide};

/// What applies to a request, before its session is looked at. A check and its explanation go by
/// the same.
#[derive(Clone, Copy, Debug)]
pub struct RuleMatch<'a> {
    book: &'a Rulebook,
    /// The rule that matches, if any.
    pub rule: Option<&'a Rule>,
    /// What applies by it.
    pub terms: &'a Terms,
    /// The policy that the proxy asks for.
    pub by_proxy: Option<(&'a PolicyName, &'a Policy)>,
    /// The policy that the rule asks for.
    pub by_rule: Option<(&'a PolicyName, &'a Policy)>,
    /// Whether no session is needed.
    pub public: bool,
}

/// Why nothing can be said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// The proxy asks for a policy that is not configured.
    #[error("the proxy asks for a policy that is not configured")]
    UnknownPolicy,
    /// The configuration names hosts, and the request is for another.
    #[error("the configuration names hosts, and the request is for another")]
    UnknownHost,
    /// The rules depend on its path, and that could be read in two ways.
    #[error("its path can be read in two ways, and a rule depends on it: {0}")]
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

    /// The same for the operator, with what to look at for this contract.
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

/// What is said of a request on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// Why the request is not taken for the session's own, where that is the reason.
    pub elsewhere: Option<BindingMismatch>,
}

impl<'a> RuleMatch<'a> {
    /// What applies to a request, for which the proxy asks for a policy or for none.
    ///
    /// # Errors
    /// [`MatchError`] when that can't be said.
    pub fn on(
        book: &'a Rulebook,
        contract: Contract,
        policy: Option<&str>,
        original: &Original<'_>,
        headers: &HeaderMap,
    ) -> Result<Self, MatchError> {
        if !book.hosts.admit(original.url.host) {
            return Err(MatchError::UnknownHost);
        }
        let named = |name: &str| book.policies.get(name);
        let by_proxy = match policy {
            Some(name) => Some(named(name).ok_or(MatchError::UnknownPolicy)?),
            None => None,
        };
        let found = book.rules.find(&Target {
            host: original.url.host,
            path: original.url.path,
            method: original.method,
            contract,
        })?;
        let terms = found.terms;
        let by_rule = match &terms.policy {
            Some(name) => Some(named(name.as_str()).ok_or(MatchError::UnknownPolicy)?),
            None => None,
        };
        let public = terms.access == Access::Public
            || (terms.cors_preflight == Access::Public && is_preflight(original.method, headers));
        Ok(Self {
            book,
            rule: found.rule,
            terms,
            by_proxy,
            by_rule,
            public,
        })
    }

    /// The name of the policy that is asked for, if any.
    #[must_use]
    pub fn asked(&self) -> Option<&'a PolicyName> {
        self.by_proxy.or(self.by_rule).map(|(name, _)| name)
    }

    /// The policies that are asked for.
    fn policies(&self) -> impl Iterator<Item = &'a Policy> {
        let both = [self.by_proxy, self.by_rule].into_iter();
        both.flatten().map(|(_, policy)| policy)
    }

    /// The limits that a session must be within for this request.
    #[must_use]
    pub fn limits(&self, home: &AppliedPolicy<'_>, session: &Session) -> Limits {
        self.policies().fold(home.limits, |limits, policy| {
            limits.strictest(policy.limits_for(session))
        })
    }

    /// What becomes of the request while the store can't be asked.
    #[must_use]
    pub fn on_store_failure(&self, home: &AppliedPolicy<'_>) -> OnStoreFailure {
        let home = home.policy.on_store_failure;
        self.policies()
            .fold(home, |all, policy| all.strictest(policy.on_store_failure))
    }

    /// Decides on a request of `client` on a session. What ends the session comes first, then
    /// whether it is used from where it belongs, whether its subject may do this at all, and only
    /// then whether its sign-in is recent enough.
    #[must_use]
    pub fn judge(
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
        let plain = |verdict| Decision {
            verdict,
            elsewhere: None,
        };
        let lives = matches!(
            verdict,
            Verdict::Allow | Verdict::Deny(DenyReason::ReauthenticationRequired)
        );
        if !lives {
            return plain(verdict);
        }
        if !session.binding.is_unbound()
            && let Err(elsewhere) = client().is_at(&session.binding)
        {
            let reason = match elsewhere {
                // Another sign-in makes a session of its own there.
                BindingMismatch::Address | BindingMismatch::UserAgent => {
                    DenyReason::ReauthenticationRequired
                }
                BindingMismatch::AddressUnknown => DenyReason::MalformedRequest,
            };
            return Decision {
                verdict: Verdict::Deny(reason),
                elsewhere: Some(elsewhere),
            };
        }
        let groups = &self.terms.groups;
        if !groups.is_empty() && !session.attributes.in_any_of(groups) {
            return plain(Verdict::Deny(DenyReason::Forbidden));
        }
        plain(verdict)
    }

    /// Whether the request, once allowed, counts as activity.
    #[must_use]
    pub fn activity(
        &self,
        home: &AppliedPolicy<'_>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Activity {
        if self.terms.activity == RuleActivity::Passive {
            return Activity::Passive(Passivity::Rule);
        }
        let kind = self.policies().fold(home.policy.activity, |kind, policy| {
            kind.strictest(policy.activity)
        });
        classify(kind, &self.book.background, method, headers)
    }
}
