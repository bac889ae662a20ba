//! Explains the answer to a request: the matching rule, the policies, whether the request is activity, and the origin
//! of each limit. Checks use the same [`RuleMatch`], so they find the same rule.

mod limits;
mod summary;

use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::check::{MatchError, Original, RuleMatch};
use crate::policy::{Activity, Client, Contract, NormalPath, Policies, Rulebook};
use crate::session::{Attributes, Binding, NewSession, Session, Subject, Timestamp, Verdict};

pub use limits::{Limit, LimitsInForce};

/// A request to explain.
#[derive(Clone, Copy, Debug)]
pub struct ExplainedRequest<'a> {
    /// The contract of the proxy.
    pub contract: Contract,
    /// The name of the policy that the proxy requests, if any.
    pub policy: Option<&'a str>,
    /// The original request: method and URL.
    pub original: Original<'a>,
    /// The headers of the request.
    pub headers: &'a HeaderMap,
    /// The client: its address and user agent, for bindings.
    pub client: Client,
}

/// The explanation of an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// `allow`, or the reason of the denial.
    pub verdict: &'static str,
    /// The normalized path, which is compared with the rules; absent if the path is ambiguous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why the request cannot be evaluated: a rule depends on an ambiguous path, or the host or the policy name is not
    /// configured. Absent if the request can be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_error: Option<String>,
    /// The rule, policies and limits that apply; absent if the request cannot be evaluated.
    #[serde(flatten)]
    pub terms: Option<TermsExplained>,
}

/// The rule, policies and limits that apply to a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TermsExplained {
    /// The key of the matching rule in the configuration; absent if no rule matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// A summary of the conditions of the matching rule; absent if no rule matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_matches: Option<String>,
    /// `protected` or `public`.
    pub access: &'static str,
    /// The home policy of the session, which was fixed at the sign-in.
    pub home_policy: String,
    /// Additional policies that apply, each with its origin: `proxy`, `rule` or `route`.
    pub requested_policies: Vec<RequestedPolicy>,
    /// The subject must be a member of one of these groups; empty if the rule requires no group.
    pub required_groups: Vec<String>,
    /// The subject must also be a member of one group of each of these lists, which objects of the cluster require.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route_groups: Vec<RouteGroups>,
    /// `touch` if the request counts as activity, or `passive`.
    pub activity: &'static str,
    /// Why the request is passive; absent if it counts as activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_reason: Option<&'static str>,
    /// The limits that end the session.
    pub session_limits: LimitsInForce,
    /// The limits that the session must meet for this request.
    pub request_limits: LimitsInForce,
    /// The part of the binding that the request does not match: `address`, `user_agent` or `address_unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding_mismatch: Option<&'static str>,
}

/// A policy that applies in addition to the home policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RequestedPolicy {
    /// The policy's name.
    pub name: String,
    /// Who adds the policy: `proxy`, `rule` or `route`.
    pub by: &'static str,
}

/// Groups that an object of the cluster requires.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RouteGroups {
    /// The subject must be a member of one of these groups.
    pub groups: Vec<String>,
    /// The object that requires them.
    pub from: String,
}

/// Explains the answer to a request with this session at `now`. The explanation considers neither credentials nor
/// revocations.
#[must_use]
pub fn explain(
    rulebook: &Rulebook,
    request: &ExplainedRequest<'_>,
    session: &Session,
    now: Timestamp,
) -> Explanation {
    let ExplainedRequest {
        contract,
        policy,
        original,
        headers,
        client,
    } = *request;
    let path = NormalPath::new(original.url.path).ok();
    let path = path.map(|path| path.as_str().to_owned());
    let rule_match = match RuleMatch::find(rulebook, contract, policy, &original, headers) {
        Ok(rule_match) => rule_match,
        Err(match_error) => return explain_match_error(path, match_error),
    };
    let home = rulebook.policies.home(session);
    let decision = rule_match.decide(&home, session, || client, now);
    let (verdict, mismatch) = if rule_match.public {
        (Verdict::Allow, None)
    } else {
        (decision.verdict, decision.binding_mismatch)
    };
    let (activity, passive_reason) = match rule_match.activity(&home, original.method, headers) {
        _ if rule_match.public => ("passive", Some("public access needs no session")),
        Activity::Touch => ("touch", None),
        Activity::Passive(passivity) => ("passive", Some(passivity.describe())),
    };
    let requested = [
        (rule_match.proxy_policy, "proxy"),
        (rule_match.rule_policy, "rule"),
    ];
    let requested_policies = requested.into_iter().filter_map(|(requested, by)| {
        let (name, _) = requested?;
        let name = name.to_string();
        Some(RequestedPolicy { name, by })
    });
    let route_policies = rule_match
        .route_policies()
        .map(|(name, _)| RequestedPolicy {
            name: name.to_string(),
            by: "route",
        });
    let requested_policies = requested_policies.chain(route_policies);
    let route_groups = rule_match.route.iter().flat_map(|route| &route.groups);
    let terms = TermsExplained {
        rule: rule_match.rule.map(|rule| format!("rules.{}", rule.index)),
        rule_matches: rule_match.rule.map(|rule| rule.conditions.to_string()),
        access: if rule_match.public {
            "public"
        } else {
            "protected"
        },
        home_policy: session.policy.to_string(),
        requested_policies: requested_policies.collect(),
        required_groups: rule_match.terms.groups.clone(),
        route_groups: route_groups
            .map(|groups| RouteGroups {
                groups: groups.value.clone(),
                from: groups.from.to_string(),
            })
            .collect(),
        activity,
        passive_reason,
        session_limits: limits::session_limits(rulebook, session),
        request_limits: limits::request_limits(rulebook, &rule_match, session),
        binding_mismatch: mismatch.map(crate::policy::BindingMismatch::as_str),
    };
    Explanation {
        verdict: verdict.as_str(),
        path,
        match_error: None,
        terms: Some(terms),
    }
}

/// Creates a sample session that starts at the time `now` under a policy. Returns `None` if the policy does not
/// exist.
#[must_use]
pub fn sample_session(
    policies: &Policies,
    name: &str,
    remembered: bool,
    attributes: Attributes,
    now: Timestamp,
) -> Option<Session> {
    let (name, policy) = policies.get(name)?;
    let limits = policy.limits_for_sign_in(remembered, &attributes);
    let new = NewSession {
        subject: Subject::new("somebody").ok()?,
        attributes,
        policy: name.clone(),
        remembered,
        binding: Binding::default(),
    };
    Some(Session::start(new, &limits, limits.absolute, now))
}

fn explain_match_error(path: Option<String>, match_error: MatchError) -> Explanation {
    Explanation {
        verdict: match_error.reason().as_str(),
        path,
        match_error: Some(match_error.to_string()),
        terms: None,
    }
}

#[cfg(test)]
mod tests;
