//! The compliance report: compares each policy with the session limits of standards, and gives the reason for each
//! result.

mod streams;

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::policy::standards::{self, ComplianceStatus, LimitRequirement, Requirement, Strength};
use crate::policy::{Access, OnStoreFailure, Policy, Rulebook, SignInSource};
use crate::session::{Limits, PolicyName};

pub use streams::{StreamFinding, StreamReport};

/// The compliance report for one configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ComplianceReport {
    /// The version of this program.
    pub curfew: &'static str,
    /// Every policy.
    pub policies: Vec<PolicyReport>,
    /// The controls about network connections.
    pub streams: StreamReport,
    /// The rules with `access: public`. Each text contains the key and the conditions of the rule.
    pub public: Vec<String>,
}

/// The comparison of one policy with the standards. Durations are texts with units: `15 min`, `12 h`, `30 days`.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    /// The policy's name in the configuration.
    pub policy: String,
    /// Sentences about the policy for an auditor: limits, variants, preset, sign-in.
    pub facts: Vec<String>,
    /// The result for each requirement of [`standards::ALL`], in that order.
    pub findings: Vec<ComplianceFinding>,
}

/// The result of comparing a policy with one requirement.
#[derive(Clone, Debug, Serialize)]
pub struct ComplianceFinding {
    /// The name of the requirement, as in the option `--require`.
    pub requirement: &'static str,
    /// The standard's title and version.
    pub standard: &'static str,
    /// The section of the standard.
    pub section: &'static str,
    /// The address of the standard's text.
    pub url: &'static str,
    /// `met`, `not_met`, `exceeds_recommendation` or `not_verified`. `exceeds_recommendation` means that a limit
    /// exceeds a recommendation (SHOULD). `not_verified` means that the limits meet the requirement, but that a new
    /// authentication is not ensured.
    pub status: &'static str,
    /// The two reasons for the status: the idle limit with its requirement, and the absolute limit with its
    /// requirement.
    pub reasons: [String; 2],
    /// Whether people authenticate again after a timeout: `ensured`, `not ensured`, `not checked`, or
    /// `no requirement`.
    pub reauthentication: &'static str,
}

/// How the report finds out whether people authenticate again after a timeout.
#[derive(Clone, Copy, Debug)]
pub enum Reauthentication<'a> {
    /// The report examines the configured sign-in sources. If there are no sources, applications start all sessions
    /// through the admin API.
    Sources(&'a [SignInSource]),
    /// The report covers only the limits. It does not check whether people authenticate again.
    Ignored,
}

/// Compares every policy of `rulebook` with every requirement of [`standards::ALL`]. `forwarded_hosts` are the hosts whose
/// requests Curfew forwards itself, so that it can end their streams.
#[must_use]
pub fn build_report(
    rulebook: &Rulebook,
    reauthentication: Reauthentication<'_>,
    forwarded_hosts: &[String],
) -> ComplianceReport {
    let policies = rulebook.policies.iter();
    let public = rulebook.rules.as_slice().iter();
    ComplianceReport {
        curfew: env!("CARGO_PKG_VERSION"),
        policies: policies
            .map(|(name, policy)| PolicyReport::new(name, policy, reauthentication))
            .collect(),
        streams: StreamReport::new(&rulebook.policies, forwarded_hosts),
        public: public
            .filter(|rule| rule.terms.access == Access::Public)
            .map(|rule| format!("`rules.{}`: {}", rule.index, rule.conditions))
            .collect(),
    }
}

impl ComplianceReport {
    /// Returns the names of the policies that fail a requirement, in two lists. The first list contains the policies
    /// with a limit above the requirement or recommendation. The second list contains the policies whose limits meet
    /// the requirement, but for which a new authentication is not ensured.
    #[must_use]
    pub fn failing_policies(&self, requirement: &Requirement) -> [Vec<&str>; 2] {
        let (unverified, met) = (
            status_name(ComplianceStatus::NotVerified),
            status_name(ComplianceStatus::Met),
        );
        let [mut limits, mut authentication] = [Vec::new(), Vec::new()];
        for policy in &self.policies {
            let findings = policy.findings.iter();
            let mut status = findings
                .filter(|finding| finding.requirement == requirement.name)
                .map(|finding| finding.status);
            match status.next() {
                Some(word) if word == unverified => authentication.push(policy.policy.as_str()),
                Some(word) if word != met => limits.push(policy.policy.as_str()),
                _ => {}
            }
        }
        [limits, authentication]
    }

    /// Returns the report as Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "# Session limits and standards\n\nGenerated by Curfew {}.\n",
            self.curfew
        );
        for policy in &self.policies {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n## Policy `{}`\n", policy.policy);
            for fact in &policy.facts {
                let _ = writeln!(text, "* {fact}");
            }
            text.push_str(
                "\n| standard | section | result | idle limit | absolute limit | new authentication |\n|---|---|---|---|---|---|\n",
            );
            for finding in &policy.findings {
                let [idle, absolute] = &finding.reasons;
                let _ = writeln!(
                    text,
                    "| [{}]({}) | {} | {} | {idle} | {absolute} | {} |",
                    finding.standard,
                    finding.url,
                    finding.section,
                    result_text(finding.status),
                    finding.reauthentication,
                );
            }
        }
        text += &self.streams.to_markdown();
        if !self.public.is_empty() {
            text.push_str("\n## Requests that need no session\n\n");
            for rule in &self.public {
                let _ = writeln!(text, "* {rule}");
            }
        }
        text.push_str(NOTES);
        text
    }
}

/// The notes at the end of the report. They apply to every policy.
const NOTES: &str = "
## Notes

* A session ends when its idle limit or its absolute limit is reached. It never ends later. It can end earlier by at most
  the touch interval.
* Activity extends the idle limit only. Only a new sign-in starts a new absolute limit.
* `exceeds the recommendation`: a limit is longer than the standard recommends (SHOULD). Document the reason.
* `not verified`: the limits meet the standard. The standard also requires that people authenticate again after a timeout,
  and the configuration does not ensure that.
* A new authentication is `ensured` if no configured way to sign in accepts an authentication from before the timeout.
  Whether an identity provider really asks for credentials depends on the provider; `curfew probe` follows its redirects.
* Applications with an admin token can start sessions, too. The report does not check how they authenticate people.
* The report covers session limits and sign-in in this configuration. It is not an audit of identity providers or
  applications.
";

impl PolicyReport {
    fn new(name: &PolicyName, policy: &Policy, reauthentication: Reauthentication<'_>) -> Self {
        let mut facts = describe_policy(policy);
        let is_ensured = reauthentication.add_sign_in_facts(policy, &mut facts);
        let findings = standards::ALL.iter();
        Self {
            policy: name.to_string(),
            facts,
            findings: findings
                .map(|requirement| ComplianceFinding::new(requirement, policy, is_ensured))
                .collect(),
        }
    }
}

impl Reauthentication<'_> {
    /// Adds a sentence for each sign-in source to `facts`. Returns whether a new authentication is ensured, or `None`
    /// if the report does not check this.
    fn add_sign_in_facts(self, policy: &Policy, facts: &mut Vec<String>) -> Option<bool> {
        let Self::Sources(sources) = self else {
            facts.push(
                "This report does not check whether people authenticate again after a timeout."
                    .to_owned(),
            );
            return None;
        };
        if sources.is_empty() {
            facts.push(
                "Applications start the sessions through the admin API. They decide whether people authenticate again after \
                 a timeout; Curfew cannot verify it."
                    .to_owned(),
            );
            return Some(false);
        }
        let mut is_ensured = true;
        for source in sources {
            let gap = source.reauthentication_gap(policy);
            is_ensured &= gap.is_none();
            facts.push(match gap {
                Some(gap) => format!(
                    "After a timeout, people may get a new session without authenticating again: {gap}."
                ),
                None => format!("After a timeout, {}.", source.reauthentication_safeguard()),
            });
        }
        Some(is_ensured)
    }
}

impl ComplianceFinding {
    fn new(requirement: &Requirement, policy: &Policy, is_ensured: Option<bool>) -> Self {
        let limits = standards::loosest_limits(policy);
        let idle = limits.idle.map_or_else(
            || {
                format!(
                    "no idle limit, ends after {}",
                    format_duration(limits.absolute)
                )
            },
            format_configured,
        );
        Self {
            requirement: requirement.name,
            standard: requirement.standard,
            section: requirement.section,
            url: requirement.url,
            status: status_name(
                if requirement.reauthentication && is_ensured == Some(false) {
                    requirement
                        .status(policy)
                        .max(ComplianceStatus::NotVerified)
                } else {
                    requirement.status(policy)
                },
            ),
            reasons: [
                limit_text(&idle, requirement.idle),
                limit_text(&format_configured(limits.absolute), requirement.absolute),
            ],
            reauthentication: match is_ensured {
                _ if !requirement.reauthentication => "no requirement",
                Some(true) => "ensured",
                Some(false) => "not ensured",
                None => "not checked",
            },
        }
    }
}

/// Formats a status for the Markdown report.
fn result_text(status: &str) -> String {
    match status {
        "exceeds_recommendation" => "exceeds the recommendation".to_owned(),
        other => other.replace('_', " "),
    }
}

/// Formats a status for the JSON report.
const fn status_name(status: ComplianceStatus) -> &'static str {
    match status {
        ComplianceStatus::Met => "met",
        ComplianceStatus::ExceedsRecommendation => "exceeds_recommendation",
        ComplianceStatus::NotVerified => "not_verified",
        ComplianceStatus::NotMet => "not_met",
    }
}

/// Formats a configured limit, and the requirement or recommendation of the standard.
fn limit_text(limit: &str, requirement: LimitRequirement) -> String {
    match requirement {
        LimitRequirement::NoRequirement => format!("{limit}; no requirement"),
        LimitRequirement::AnyLimit => format!("{limit}; a documented limit is required"),
        LimitRequirement::AtMost(max, Strength::Shall) => {
            format!("{limit}; at most {} required", format_duration(max))
        }
        LimitRequirement::AtMost(max, Strength::Should) => {
            format!("{limit}; at most {} recommended", format_duration(max))
        }
    }
}

fn describe_policy(policy: &Policy) -> Vec<String> {
    let mut facts = vec![format!("Sessions end {}.", end_text(&policy.limits))];
    if let Some(remember) = &policy.remember {
        facts.push(format!(
            "With \"remember me\", sessions end {}. The results below are for these longer limits.",
            end_text(remember)
        ));
    }
    for variant in &policy.variants {
        facts.push(format!(
            "For members of {}, sessions end {}, if these limits are stricter.",
            variant.groups.join(", "),
            end_text(&variant.limits)
        ));
    }
    facts.push(format!(
        "Sessions can end up to {} early (the touch interval).",
        format_duration(policy.touch_interval)
    ));
    if let Some(preset) = policy.preset {
        facts.push(format!("Preset `{}`: {}.", preset.name, preset.source));
    }
    if let Some(reason) = &policy.deviation_reason {
        facts.push(format!("Reason for limits above the preset: {reason}"));
    }
    if let Some(max_sessions) = policy.max_sessions {
        let on_limit = max_sessions.on_limit.as_str();
        facts.push(format!(
            "A subject can have at most {} sessions at once. For a further sign-in: `{on_limit}`.",
            max_sessions.count
        ));
    }
    if let OnStoreFailure::Known { grace } = policy.on_store_failure {
        facts.push(format!(
            "If the session store is unavailable, sessions that a replica knows stay valid for up to {}, within their limits.",
            format_duration(grace)
        ));
    }
    facts
}

/// Describes when sessions with these limits end. The result is the second part of a sentence that begins with
/// "Sessions end".
fn end_text(limits: &Limits) -> String {
    let mut parts = Vec::new();
    if let Some(idle) = limits.idle {
        parts.push(format!("after {} without activity", format_duration(idle)));
    }
    if limits.absolute < Limits::NONE.absolute {
        let absolute = format_duration(limits.absolute);
        parts.push(match limits.idle {
            Some(_) => format!("at the latest {absolute} after sign-in"),
            None => format!("{absolute} after sign-in, even if they are used"),
        });
    }
    let mut text = parts.join(", ");
    if let Some(age) = limits.max_auth_age {
        text += &format!(
            "; requests need a sign-in within the last {}",
            format_duration(age)
        );
    }
    text.trim_start_matches("; ").to_owned()
}

/// Formats a configured limit for the report.
fn format_configured(limit: Duration) -> String {
    format!("{} configured", format_duration(limit))
}

/// Formats a duration with a space before the unit: `15 min`, `12 h`, `30 days`.
fn format_duration(duration: Duration) -> String {
    let text = humantime::format_duration(duration).to_string();
    let parts = text.split(' ').map(|part| {
        let number = part.trim_end_matches(|it: char| it.is_ascii_alphabetic());
        match &part[number.len()..] {
            "m" => format!("{number} min"),
            unit => format!("{number} {unit}"),
        }
    });
    parts.collect::<Vec<_>>().join(" ")
}
