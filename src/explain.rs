//! Why a request is answered as it is: which rule and which policies it meets, whether it is
//! activity, and where each of its limits comes from. It goes by the very [`Ruling`] that a check
//! goes by.

mod limits;
mod lines;

use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::check::{Original, Ruling, Undecidable};
use crate::policy::{Activity, Client, Contract, NormalPath, Policies, Rulebook};
use crate::session::{Attributes, Binding, NewSession, Session, Subject, Timestamp, Verdict};

pub use limits::{Limit, LimitsInForce};

/// A request to explain.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// How the proxy asks.
    pub contract: Contract,
    /// The policy that the proxy asks for, if any.
    pub policy: Option<&'a str>,
    /// The request.
    pub original: Original<'a>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Who sends it.
    pub client: Client,
}

/// Why a request is answered as it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// `allow`, or the reason of the denial.
    pub verdict: &'static str,
    /// The path as rules see it; absent where it has no such form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why nothing more can be said: the path could be read in two ways and a rule depends on it,
    /// or the proxy asks for a policy that is not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecidable: Option<String>,
    /// What applies, where that can be said.
    #[serde(flatten)]
    pub terms: Option<TermsExplained>,
}

/// What applies to a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TermsExplained {
    /// The rule that matches, by its key in the configuration; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What that rule is for, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_matches: Option<String>,
    /// `protected` or `public`.
    pub access: &'static str,
    /// The session's own policy.
    pub home_policy: String,
    /// The policies that are asked for besides, each with who asks: `proxy` or `rule`.
    pub asked_policies: Vec<AskedPolicy>,
    /// Groups, one of which is needed; none where it does not matter.
    pub groups_needed: Vec<String>,
    /// `touch` or `passive`.
    pub activity: &'static str,
    /// Why it is passive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_because: Option<&'static str>,
    /// What ends the session.
    pub session_limits: LimitsInForce,
    /// What the session must be within for this request.
    pub request_limits: LimitsInForce,
    /// In what the request differs from what the session is bound to: `address`, `user_agent`, or
    /// `address_unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<&'static str>,
}

/// A policy that is asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AskedPolicy {
    /// Its name.
    pub name: String,
    /// `proxy` or `rule`.
    pub by: &'static str,
}

/// Explains the answer to a request on a session at `now`. Whether its credential is good, and
/// whether all sessions of its subject were revoked, is not looked at.
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
    let ruling = match Ruling::on(book, contract, policy, &original, headers) {
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
        elsewhere: elsewhere.map(crate::policy::Elsewhere::as_str),
    };
    Explanation {
        verdict: verdict.as_str(),
        path,
        undecidable: None,
        terms: Some(terms),
    }
}

/// A session that begins `now` under a policy, to explain requests on; `None` where there is no such policy.
#[must_use]
pub fn imagine(
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

fn unexplained(path: Option<String>, undecidable: Undecidable) -> Explanation {
    Explanation {
        verdict: undecidable.reason().as_str(),
        path,
        undecidable: Some(undecidable.to_string()),
        terms: None,
    }
}

#[cfg(test)]
mod tests;
