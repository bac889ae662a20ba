//! What standards ask of session limits, in numbers.

use std::time::Duration;

use super::Policy;
use crate::session::Limits;

/// What a standard asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The name by which a report can be told to insist on it.
    pub name: &'static str,
    /// The standard.
    pub standard: &'static str,
    /// Where in it.
    pub section: &'static str,
    /// What it asks of the time that a session is not used.
    pub idle: Demand,
    /// What it asks of the time from sign-in to end.
    pub absolute: Demand,
    /// Whether people must authenticate again after the time is over.
    pub reauthentication: bool,
    /// Where it can be read.
    pub url: &'static str,
}

/// What is asked of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing.
    Nothing,
    /// That there is one, which somebody has decided on.
    Decided,
    /// That it is no longer than this.
    AtMost(Duration, Strength),
}

/// How much something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// It must be.
    Shall,
    /// It should be: whoever departs from it needs a reason.
    Should,
}

/// How a policy stands to a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is met.
    Met,
    /// It is met but for what should be.
    Departs,
    /// The limits meet it. Whether people authenticate again can't be seen, or they need not.
    NotVerified,
    /// It is not met.
    NotMet,
}

use Demand::{AtMost, Decided, Nothing};
use Strength::{Shall, Should};

/// Every requirement that is known.
pub const ALL: [Requirement; 15] = [
    requirement(
        "nist-rev4-aal1",
        "NIST SP 800-63B-4, AAL1",
        "2.1.3",
        Nothing,
        AtMost(days(30), Should),
        AUTHENTICATE_AGAIN,
        NIST_REV4,
    ),
    requirement(
        "nist-rev4-aal2",
        "NIST SP 800-63B-4, AAL2",
        "2.2.3",
        AtMost(hours(1), Should),
        AtMost(hours(24), Should),
        AUTHENTICATE_AGAIN,
        NIST_REV4,
    ),
    requirement(
        "nist-rev4-aal3",
        "NIST SP 800-63B-4, AAL3",
        "2.3.3",
        AtMost(minutes(15), Should),
        AtMost(hours(12), Shall),
        AUTHENTICATE_AGAIN,
        NIST_REV4,
    ),
    requirement(
        "nist-rev3-aal1",
        "NIST SP 800-63B (revision 3), AAL1",
        "4.1.3",
        Nothing,
        AtMost(days(30), Should),
        AUTHENTICATE_AGAIN,
        NIST_REV3,
    ),
    requirement(
        "nist-rev3-aal2",
        "NIST SP 800-63B (revision 3), AAL2",
        "4.2.3",
        AtMost(minutes(30), Shall),
        AtMost(hours(12), Shall),
        AUTHENTICATE_AGAIN,
        NIST_REV3,
    ),
    requirement(
        "nist-rev3-aal3",
        "NIST SP 800-63B (revision 3), AAL3",
        "4.3.3",
        AtMost(minutes(15), Shall),
        AtMost(hours(12), Shall),
        AUTHENTICATE_AGAIN,
        NIST_REV3,
    ),
    requirement(
        "asvs4-l1",
        "OWASP ASVS 4.0.3, level 1",
        "3.3.2",
        Nothing,
        AtMost(days(30), Shall),
        AUTHENTICATE_AGAIN,
        ASVS4,
    ),
    requirement(
        "asvs4-l2",
        "OWASP ASVS 4.0.3, level 2",
        "3.3.2",
        AtMost(minutes(30), Shall),
        AtMost(hours(12), Shall),
        AUTHENTICATE_AGAIN,
        ASVS4,
    ),
    requirement(
        "asvs4-l3",
        "OWASP ASVS 4.0.3, level 3",
        "3.3.2",
        AtMost(minutes(15), Shall),
        AtMost(hours(12), Shall),
        AUTHENTICATE_AGAIN,
        ASVS4,
    ),
    requirement(
        "asvs5",
        "OWASP ASVS 5.0.0, level 2",
        "7.3.1, 7.3.2",
        Decided,
        Decided,
        AUTHENTICATE_AGAIN,
        "https://github.com/OWASP/ASVS/tree/v5.0.0/5.0",
    ),
    requirement(
        "owasp-high",
        "OWASP Session Management Cheat Sheet, high value",
        "Session Expiration",
        AtMost(minutes(5), Should),
        AtMost(hours(8), Should),
        NO_QUESTION,
        OWASP_CHEAT_SHEET,
    ),
    requirement(
        "owasp-low",
        "OWASP Session Management Cheat Sheet, low risk",
        "Session Expiration",
        AtMost(minutes(30), Should),
        AtMost(hours(8), Should),
        NO_QUESTION,
        OWASP_CHEAT_SHEET,
    ),
    requirement(
        "pci-dss",
        "PCI DSS 4.0.1",
        "8.2.8",
        AtMost(minutes(15), Shall),
        Nothing,
        AUTHENTICATE_AGAIN,
        "https://www.pcisecuritystandards.org/document_library/",
    ),
    requirement(
        "fedramp",
        "FedRAMP (revision 5), Moderate and High",
        "AC-11, IA-11",
        AtMost(minutes(15), Shall),
        AtMost(hours(12), Should),
        AUTHENTICATE_AGAIN,
        "https://www.fedramp.gov/",
    ),
    requirement(
        "hipaa",
        "HIPAA Security Rule, 45 CFR",
        "164.312(a)(2)(iii)",
        Decided,
        Nothing,
        NO_QUESTION,
        "https://www.ecfr.gov/current/title-45/section-164.312",
    ),
];

/// After the time is over people must authenticate again.
const AUTHENTICATE_AGAIN: bool = true;
/// The session must end; what people do then is not said.
const NO_QUESTION: bool = false;

const NIST_REV4: &str = "https://pages.nist.gov/800-63-4/sp800-63b.html";
const NIST_REV3: &str = "https://pages.nist.gov/800-63-3/sp800-63b.html";
const ASVS4: &str = "https://github.com/OWASP/ASVS/tree/v4.0.3/4.0";
const OWASP_CHEAT_SHEET: &str =
    "https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html";

/// The requirement of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Requirement> {
    ALL.iter().find(|requirement| requirement.name == name)
}

impl Requirement {
    /// How the limits of a policy stand to it: by the loosest that anybody gets.
    #[must_use]
    pub fn standing(&self, policy: &Policy) -> Standing {
        let limits = loosest(policy);
        let idle = self
            .idle
            .standing(limits.idle.is_some(), limits.longest_unused());
        let absolute = self.absolute.standing(true, limits.absolute);
        idle.max(absolute)
    }
}

impl Demand {
    /// How a limit stands to it: whether it is `set`, and how long a session lives by it.
    #[must_use]
    pub fn standing(self, set: bool, lives: Duration) -> Standing {
        match self {
            Nothing => Standing::Met,
            Decided if set => Standing::Met,
            AtMost(most, _) if lives <= most => Standing::Met,
            AtMost(_, Should) => Standing::Departs,
            Decided | AtMost(_, Shall) => Standing::NotMet,
        }
    }
}

/// The loosest limits that sessions of a policy have: variants only tighten, being remembered only
/// loosens.
#[must_use]
pub fn loosest(policy: &Policy) -> Limits {
    policy.remember.unwrap_or(policy.limits)
}

const fn requirement(
    name: &'static str,
    standard: &'static str,
    section: &'static str,
    idle: Demand,
    absolute: Demand,
    reauthentication: bool,
    url: &'static str,
) -> Requirement {
    Requirement {
        name,
        standard,
        section,
        idle,
        absolute,
        reauthentication,
        url,
    }
}

pub(super) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

pub(super) const fn hours(hours: u64) -> Duration {
    minutes(60 * hours)
}

const fn days(days: u64) -> Duration {
    hours(24 * days)
}
