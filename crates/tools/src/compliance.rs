//! The compliance report: each policy against what standards ask for, met or not, and why.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::policy::standards::{self, Demand, Requirement, Standing, Strength};
use crate::policy::{Access, OnStoreFailure, Policy, Rulebook, SignInSource};
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
    /// `met`, `departs` from what should be, `not_verified` where the limits alone are known to meet it, or `not_met`.
    pub standing: &'static str,
    /// Why, for each of the two limits.
    pub because: [String; 2],
    /// Whether people authenticate again after a timeout.
    pub reauthentication: &'static str,
}

/// Whether people authenticate again when a session has timed out, as far as a configuration shows it.
#[derive(Clone, Copy, Debug)]
pub enum Reauthentication<'a> {
    /// As these sources do it. Without one, applications start all sessions.
    By(&'a [SignInSource]),
    /// It is not to be looked at.
    Ignored,
}

/// Reports on every policy.
#[must_use]
pub fn report(book: &Rulebook, reauthentication: Reauthentication<'_>) -> Report {
    let policies = book.policies.iter();
    let public = book.rules.as_slice().iter();
    Report {
        curfew: env!("CARGO_PKG_VERSION"),
        policies: policies
            .map(|(name, policy)| PolicyReport::new(name, policy, reauthentication))
            .collect(),
        public: public
            .filter(|rule| rule.terms.access == Access::Public)
            .map(|rule| format!("`rules.{}`: {}", rule.index, rule.conditions))
            .collect(),
    }
}

impl Report {
    /// The policies that don't meet a requirement, or depart from what it recommends; then those whose limits meet it
    /// while a new authentication is not ensured.
    #[must_use]
    pub fn failing(&self, requirement: &Requirement) -> [Vec<&str>; 2] {
        let (unverified, met) = (word(Standing::NotVerified), word(Standing::Met));
        let [mut limits, mut authentication] = [Vec::new(), Vec::new()];
        for policy in &self.policies {
            let findings = policy.findings.iter();
            let mut standing = findings
                .filter(|finding| finding.requirement == requirement.name)
                .map(|finding| finding.standing);
            match standing.next() {
                Some(word) if word == unverified => authentication.push(policy.policy.as_str()),
                Some(word) if word != met => limits.push(policy.policy.as_str()),
                _ => {}
            }
        }
        [limits, authentication]
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
            text.push_str(
                "\n| standard | section | | idle | absolute | new authentication |\n|---|---|---|---|---|---|\n",
            );
            for finding in &policy.findings {
                let [idle, absolute] = &finding.because;
                let _ = writeln!(
                    text,
                    "| [{}]({}) | {} | {} | {idle} | {absolute} | {} |",
                    finding.standard,
                    finding.url,
                    finding.section,
                    finding.standing.replace('_', " "),
                    finding.reauthentication,
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
* `not verified`: the limits meet the standard. It also requires that people authenticate again after a timeout, and the
  configuration does not ensure that.
* A new authentication is `ensured` if no way to sign in starts a session with the authentication from before the timeout.
  Whether an identity provider really asks is up to the provider; `curfew probe` follows its redirects.
* Holders of an admin token can start sessions, too. How they authenticate people is not looked at.
* What is found here is about limits and about sign-in through this configuration. It is no audit of identity providers,
  nor of applications.
";

impl PolicyReport {
    fn new(name: &PolicyName, policy: &Policy, reauthentication: Reauthentication<'_>) -> Self {
        let mut facts = facts(policy);
        let ensured = reauthentication.tell(policy, &mut facts);
        let findings = standards::ALL.iter();
        Self {
            policy: name.to_string(),
            facts,
            findings: findings
                .map(|requirement| Finding::new(requirement, policy, ensured))
                .collect(),
        }
    }
}

impl Reauthentication<'_> {
    /// Adds what is known to the facts; answers whether a new authentication is ensured, if that is looked at.
    fn tell(self, policy: &Policy, facts: &mut Vec<String>) -> Option<bool> {
        let Self::By(sources) = self else {
            facts.push(
                "Whether people authenticate again after a timeout is not looked at.".to_owned(),
            );
            return None;
        };
        if sources.is_empty() {
            facts.push(
                "Applications start the sessions, through the admin API. Whether people authenticate again after a \
                 timeout is up to them; it can't be seen here."
                    .to_owned(),
            );
            return Some(false);
        }
        let mut ensured = true;
        for source in sources {
            let gap = source.gap(policy);
            ensured &= gap.is_none();
            facts.push(match gap {
                Some(gap) => format!(
                    "After a timeout, people may be back without a new authentication: {gap}."
                ),
                None => format!("After a timeout, {}.", source.safeguard()),
            });
        }
        Some(ensured)
    }
}

impl Finding {
    fn new(requirement: &Requirement, policy: &Policy, ensured: Option<bool>) -> Self {
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
            standing: word(if requirement.reauthentication && ensured == Some(false) {
                requirement.standing(policy).max(Standing::NotVerified)
            } else {
                requirement.standing(policy)
            }),
            because: [
                because(&idle, requirement.idle),
                because(&written(limits.absolute), requirement.absolute),
            ],
            reauthentication: match ensured {
                _ if !requirement.reauthentication => "nothing is asked for",
                Some(true) => "ensured",
                Some(false) => "not ensured",
                None => "not looked at",
            },
        }
    }
}

/// The word for a standing.
const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Met => "met",
        Standing::Departs => "departs",
        Standing::NotVerified => "not_verified",
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
