//! Explains the answer to a request: the matching rule, the policies, whether it is activity, and
//! the origin of each limit. It uses the same [`RuleMatch`] as a check.

mod limits;
mod lines;

use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::check::{MatchError, Original, RuleMatch};
use crate::policy::{Activity, Client, Contract, NormalPath, Policies, Rulebook};
use crate::session::{Attributes, Binding, NewSession, Session, Subject, Timestamp, Verdict};

pub use limits::{Limit, LimitsInForce};

/// A request to explain.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The contract of the proxy.
    pub contract: Contract,
    /// The policy that the proxy adds, if any.
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
    /// The normalized path that rules match; absent if the path is ambiguous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why the request cannot be evaluated: the path is ambiguous and a rule depends on it, or the
    /// proxy names a policy that is not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecidable: Option<String>,
    /// What applies to the request; absent if it cannot be evaluated.
    #[serde(flatten)]
    pub terms: Option<TermsExplained>,
}

/// What applies to a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TermsExplained {
    /// The key of the matching rule in the configuration; absent if no rule matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The conditions of that rule, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_matches: Option<String>,
    /// `protected` or `public`.
    pub access: &'static str,
    /// The home policy of the session.
    pub home_policy: String,
    /// Additional policies that apply, each with its origin: `proxy` or `rule`.
    pub asked_policies: Vec<AskedPolicy>,
    /// The subject must be a member of one of these groups; empty if no group is required.
    pub groups_needed: Vec<String>,
    /// `touch` or `passive`.
    pub activity: &'static str,
    /// The reason if the request is passive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_because: Option<&'static str>,
    /// The limits that end the session.
    pub session_limits: LimitsInForce,
    /// The limits that the session must meet for this request.
    pub request_limits: LimitsInForce,
    /// The binding that the request does not match: `address`, `user_agent` or `address_unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<&'static str>,
}

/// A policy that applies in addition to the home policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AskedPolicy {
    /// The policy's name.
    pub name: String,
    /// Who adds the policy: `proxy` or `rule`.
    pub by: &'static str,
}

/// Explains the answer to a request with a session at `now`. It checks neither the credential nor
/// revocations.
#[must_use]
pub fn explain(
    book: &Rulebook,
    question: &Question<'_>,
    session: &Session,
    now: Timestamp,
) -> Explanation {
    let Question {
        contract,
        policy,
        original,
        headers,
        client,
    } = *question;
    let path = NormalPath::new(original.url.path).ok();
    let path = path.map(|path| path.as_str().to_owned());
    let ruling = match RuleMatch::on(book, contract, policy, &original, headers) {
        Ok(ruling) => ruling,
        Err(undecidable) => return unexplained(path, undecidable),
    };
    let home = book.policies.home(session);
    let judgement = ruling.judge(&home, session, || client, now);
    let (verdict, elsewhere) = if ruling.public {
        (Verdict::Allow, None)
    } else {
        (judgement.verdict, judgement.elsewhere)
    };
    let (activity, passive_because) = match ruling.activity(&home, original.method, headers) {
        _ if ruling.public => ("passive", Some("public access needs no session")),
        Activity::Touch => ("touch", None),
        Activity::Passive(passivity) => ("passive", Some(passivity.describe())),
    };
    let asked = [(ruling.by_proxy, "proxy"), (ruling.by_rule, "rule")];
    let asked_policies = asked.into_iter().filter_map(|(asked, by)| {
        let (name, _) = asked?;
        let name = name.to_string();
        Some(AskedPolicy { name, by })
    });
    let terms = TermsExplained {
        rule: ruling.rule.map(|rule| format!("rules.{}", rule.index)),
        rule_matches: ruling.rule.map(|rule| rule.conditions.to_string()),
        access: if ruling.public { "public" } else { "protected" },
        home_policy: session.policy.to_string(),
        asked_policies: asked_policies.collect(),
        groups_needed: ruling.terms.groups.clone(),
        activity,
        passive_because,
        session_limits: limits::of_session(book, session),
        request_limits: limits::of_request(book, &ruling, session),
        elsewhere: elsewhere.map(crate::policy::BindingMismatch::as_str),
    };
    Explanation {
        verdict: verdict.as_str(),
        path,
        undecidable: None,
        terms: Some(terms),
    }
}

/// A sample session that starts `now` under a policy; `None` if the policy does not exist.
#[must_use]
pub fn sample_session(
    policies: &Policies,
    name: &str,
    remembered: bool,
    attributes: Attributes,
    now: Timestamp,
) -> Option<Session> {
    let (name, policy) = policies.get(name)?;
    let limits = policy.limits_of(remembered, &attributes);
    let new = NewSession {
        subject: Subject::new("somebody").ok()?,
        attributes,
        policy: name.clone(),
        remembered,
        binding: Binding::default(),
    };
    Some(Session::start(new, &limits, limits.absolute, now))
}

fn unexplained(path: Option<String>, undecidable: MatchError) -> Explanation {
    Explanation {
        verdict: undecidable.reason().as_str(),
        path,
        undecidable: Some(undecidable.to_string()),
        terms: None,
    }
}

#[cfg(test)]
mod tests;
