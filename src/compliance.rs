//! The compliance report: each policy against what standards ask for, met or not, and why.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::policy::standards::{self, Demand, Requirement, Standing, Strength};
use crate::policy::{Access, OnStoreFailure, Policy, Rulebook};
use crate::session::{Limits, PolicyName};

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this program.
    pub curfew: &'static str,
    /// Every policy.
    pub policies: Vec<PolicyReport>,
    /// What needs no session at all.
    pub public: Vec<String>,
}

/// A policy against the standards. Durations are written as in the configuration.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    /// Its name.
    pub policy: String,
    /// What an auditor should know of it.
    pub facts: Vec<String>,
    /// How it stands to each requirement.
    pub findings: Vec<Finding>,
}

/// How a policy stands to a requirement.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The requirement's name.
    pub requirement: &'static str,
    /// The standard.
    pub standard: &'static str,
    /// Where in it.
    pub section: &'static str,
    /// Where it can be read.
    pub url: &'static str,
    /// `met`, `departs` from what should be, or `not_met`.
    pub standing: &'static str,
    /// Why, for each of the two limits.
    pub because: [String; 2],
}

/// Reports on every policy.
#[must_use]
pub fn report(book: &Rulebook) -> Report {
    let policies = book.policies.iter();
    let public = book.rules.as_slice().iter();
    Report {
        curfew: env!("CARGO_PKG_VERSION"),
        policies: policies
            .map(|(name, policy)| PolicyReport::new(name, policy))
            .collect(),
        public: public
            .filter(|rule| rule.terms.access == Access::Public)
            .map(|rule| format!("`rules.{}`: {}", rule.index, rule.conditions))
            .collect(),
    }
}

impl Report {
    /// The policies that don't meet a requirement, or depart from what it recommends.
    #[must_use]
    pub fn failing(&self, requirement: &Requirement) -> Vec<&str> {
        let failing = self.policies.iter().filter(|policy| {
            let finding = policy.findings.iter();
            let mut finding = finding.filter(|finding| finding.requirement == requirement.name);
            finding.any(|finding| finding.standing != word(Standing::Met))
        });
        failing.map(|policy| policy.policy.as_str()).collect()
    }

    /// The report as Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "# Session limits and standards\n\nBy curfew {}.\n",
            self.curfew
        );
        for policy in &self.policies {
            // Writing into a text does not fail.
            let _ = writeln!(text, "\n## Policy `{}`\n", policy.policy);
            for fact in &policy.facts {
                let _ = writeln!(text, "* {fact}");
            }
            text.push_str("\n| standard | section | | idle | absolute |\n|---|---|---|---|---|\n");
            for finding in &policy.findings {
                let [idle, absolute] = &finding.because;
                let _ = writeln!(
                    text,
                    "| [{}]({}) | {} | {} | {idle} | {absolute} |",
                    finding.standard,
                    finding.url,
                    finding.section,
                    finding.standing.replace('_', " "),
                );
            }
        }
        if !self.public.is_empty() {
            text.push_str("\n## Without a session\n\n");
            for rule in &self.public {
                let _ = writeln!(text, "* {rule}");
            }
        }
        text.push_str(NOTES);
        text
    }
}

/// What holds for every policy.
const NOTES: &str = "
## Notes

* A limit that is reached is passed: a session ends when its idle limit or its absolute limit has gone by, never
  later, and early by at most the touch interval.
* Activity moves the idle limit only. Nothing but a new sign-in moves the absolute limit.
* `departs`: longer than the standard recommends (SHOULD); whoever departs from a recommendation needs a reason.
* What is found here is about limits. It is no audit of how people sign in, nor of the applications.
";

impl PolicyReport {
    fn new(name: &PolicyName, policy: &Policy) -> Self {
        let findings = standards::ALL.iter();
        Self {
            policy: name.to_string(),
            facts: facts(policy),
            findings: findings
                .map(|requirement| Finding::new(requirement, policy))
                .collect(),
        }
    }
}

impl Finding {
    fn new(requirement: &Requirement, policy: &Policy) -> Self {
        let limits = standards::loosest(policy);
        let idle = limits.idle.map_or_else(
            || format!("off; ends after {}", written(limits.absolute)),
            written,
        );
        Self {
            requirement: requirement.name,
            standard: requirement.standard,
            section: requirement.section,
            url: requirement.url,
            standing: word(requirement.standing(policy)),
            because: [
                because(&idle, requirement.idle),
                because(&written(limits.absolute), requirement.absolute),
            ],
        }
    }
}

/// The word for a standing.
const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Met => "met",
        Standing::Departs => "departs",
        Standing::NotMet => "not_met",
    }
}

/// A limit beside what is asked of it.
fn because(limit: &str, demand: Demand) -> String {
    match demand {
        Demand::Nothing => format!("{limit}; nothing is asked for"),
        Demand::Decided => format!("{limit}; asked for: one that was decided on"),
        Demand::AtMost(most, Strength::Shall) => {
            format!("{limit}; SHALL be at most {}", written(most))
        }
        Demand::AtMost(most, Strength::Should) => {
            format!("{limit}; SHOULD be at most {}", written(most))
        }
    }
}

fn facts(policy: &Policy) -> Vec<String> {
    let mut facts = vec![format!("Sessions end {}.", ends(&policy.limits))];
    if let Some(remember) = &policy.remember {
        facts.push(format!(
            "Of those who asked to be remembered: {}. The findings are about these, the looser ones.",
            ends(remember)
        ));
    }
    for variant in &policy.variants {
        facts.push(format!(
            "Of members of {}: {}, where that is sooner.",
            variant.groups.join(", "),
            ends(&variant.limits)
        ));
    }
    facts.push(format!(
        "They can end early by {}, the touch interval.",
        written(policy.touch_interval)
    ));
    if let Some(preset) = policy.preset {
        facts.push(format!("Preset `{}`: {}.", preset.name, preset.source));
    }
    if let Some(reason) = &policy.deviation_reason {
        facts.push(format!("Reason for a deviation from it: {reason}"));
    }
    if let Some(most) = policy.max_sessions {
        let beyond = most.beyond.as_str();
        facts.push(format!(
            "A subject can have {} sessions at once; beyond that: `{beyond}`.",
            most.count
        ));
    }
    if let OnStoreFailure::Known { grace } = policy.on_store_failure {
        facts.push(format!(
            "When the store fails, known sessions are served for {}, within their limits.",
            written(grace)
        ));
    }
    facts
}

/// When sessions with these limits end.
fn ends(limits: &Limits) -> String {
    let mut parts = Vec::new();
    match limits.idle {
        Some(idle) => parts.push(format!("after {} without activity", written(idle))),
        None if limits.absolute < Limits::NONE.absolute => {
            parts.push("whether they are used or not".to_owned());
        }
        None => {}
    }
    if limits.absolute < Limits::NONE.absolute {
        parts.push(format!("{} after sign-in", written(limits.absolute)));
    }
    let mut text = parts.join(", ");
    if let Some(age) = limits.max_auth_age {
        text += &format!("; requests need a sign-in of the last {}", written(age));
    }
    text.trim_start_matches("; ").to_owned()
}

fn written(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests;
