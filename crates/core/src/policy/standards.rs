//! Requirements of standards for session limits.

use std::time::Duration;

use super::Policy;
use crate::session::Limits;

/// The requirement of one standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The name that selects the requirement in `curfew compliance`.
    pub name: &'static str,
    /// The title and version of the standard.
    pub standard: &'static str,
    /// The section of the standard.
    pub section: &'static str,
    /// The requirement for the time without activity.
    pub idle: LimitRequirement,
    /// The requirement for the time from the sign-in to the end of the session.
    pub absolute: LimitRequirement,
    /// Whether people must authenticate again after the timeout.
    pub reauthentication: bool,
    /// The URL of the standard.
    pub url: &'static str,
}

/// The requirement for one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitRequirement {
    /// No requirement.
    NoRequirement,
    /// A documented limit is required, of any length.
    AnyLimit,
    /// The limit must not exceed this duration.
    AtMost(Duration, Strength),
}

/// The strength of a requirement, in the words of RFC 2119.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// The requirement is mandatory.
    Shall,
    /// The requirement is a recommendation: a deviation needs a documented reason.
    Should,
}

/// The result of comparing a policy with a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComplianceStatus {
    /// The policy meets the requirement.
    Met,
    /// The policy meets every mandatory limit, but one of its limits is longer than recommended.
    ExceedsRecommendation,
    /// The limits meet the requirement. However, Curfew cannot verify that people must authenticate again, or knows
    /// that people can continue without a new authentication.
    NotVerified,
    /// The policy violates a mandatory limit.
    NotMet,
}

use LimitRequirement::{AnyLimit, AtMost, NoRequirement};
use Strength::{Shall, Should};

/// All known requirements.
pub const ALL: [Requirement; 15] = [
    requirement(
        "nist-rev4-aal1",
        "NIST SP 800-63B-4, AAL1",
        "2.1.3",
        NoRequirement,
        AtMost(days(30), Should),
        REAUTHENTICATION_REQUIRED,
        NIST_REV4,
    ),
    requirement(
        "nist-rev4-aal2",
        "NIST SP 800-63B-4, AAL2",
        "2.2.3",
        AtMost(hours(1), Should),
        AtMost(hours(24), Should),
        REAUTHENTICATION_REQUIRED,
        NIST_REV4,
    ),
    requirement(
        "nist-rev4-aal3",
        "NIST SP 800-63B-4, AAL3",
        "2.3.3",
        AtMost(minutes(15), Should),
        AtMost(hours(12), Shall),
        REAUTHENTICATION_REQUIRED,
        NIST_REV4,
    ),
    requirement(
        "nist-rev3-aal1",
        "NIST SP 800-63B (revision 3), AAL1",
        "4.1.3",
        NoRequirement,
        AtMost(days(30), Should),
        REAUTHENTICATION_REQUIRED,
        NIST_REV3,
    ),
    requirement(
        "nist-rev3-aal2",
        "NIST SP 800-63B (revision 3), AAL2",
        "4.2.3",
        AtMost(minutes(30), Shall),
        AtMost(hours(12), Shall),
        REAUTHENTICATION_REQUIRED,
        NIST_REV3,
    ),
    requirement(
        "nist-rev3-aal3",
        "NIST SP 800-63B (revision 3), AAL3",
        "4.3.3",
        AtMost(minutes(15), Shall),
        AtMost(hours(12), Shall),
        REAUTHENTICATION_REQUIRED,
        NIST_REV3,
    ),
    requirement(
        "asvs4-l1",
        "OWASP ASVS 4.0.3, level 1",
        "3.3.2",
        NoRequirement,
        AtMost(days(30), Shall),
        REAUTHENTICATION_REQUIRED,
        ASVS4,
    ),
    requirement(
        "asvs4-l2",
        "OWASP ASVS 4.0.3, level 2",
        "3.3.2",
        AtMost(minutes(30), Shall),
        AtMost(hours(12), Shall),
        REAUTHENTICATION_REQUIRED,
        ASVS4,
    ),
    requirement(
        "asvs4-l3",
        "OWASP ASVS 4.0.3, level 3",
        "3.3.2",
        AtMost(minutes(15), Shall),
        AtMost(hours(12), Shall),
        REAUTHENTICATION_REQUIRED,
        ASVS4,
    ),
    requirement(
        "asvs5",
        "OWASP ASVS 5.0.0, level 2",
        "7.3.1, 7.3.2",
        AnyLimit,
        AnyLimit,
        REAUTHENTICATION_REQUIRED,
        "https://github.com/OWASP/ASVS/tree/v5.0.0/5.0",
    ),
    requirement(
        "owasp-high",
        "OWASP Session Management Cheat Sheet, high value",
        "Session Expiration",
        AtMost(minutes(5), Should),
        AtMost(hours(8), Should),
        REAUTHENTICATION_OPTIONAL,
        OWASP_CHEAT_SHEET,
    ),
    requirement(
        "owasp-low",
        "OWASP Session Management Cheat Sheet, low risk",
        "Session Expiration",
        AtMost(minutes(30), Should),
        AtMost(hours(8), Should),
        REAUTHENTICATION_OPTIONAL,
        OWASP_CHEAT_SHEET,
    ),
    requirement(
        "pci-dss",
        "PCI DSS 4.0.1",
        "8.2.8",
        AtMost(minutes(15), Shall),
        NoRequirement,
        REAUTHENTICATION_REQUIRED,
        "https://www.pcisecuritystandards.org/document_library/",
    ),
    requirement(
        "fedramp",
        "FedRAMP (revision 5), Moderate and High",
        "AC-11, IA-11",
        AtMost(minutes(15), Shall),
        AtMost(hours(12), Should),
        REAUTHENTICATION_REQUIRED,
        "https://www.fedramp.gov/",
    ),
    requirement(
        "hipaa",
        "HIPAA Security Rule, 45 CFR",
        "164.312(a)(2)(iii)",
        AnyLimit,
        NoRequirement,
        REAUTHENTICATION_OPTIONAL,
        "https://www.ecfr.gov/current/title-45/section-164.312",
    ),
];

/// People must authenticate again after the timeout.
const REAUTHENTICATION_REQUIRED: bool = true;
/// The session must end, but the standard does not require a new authentication.
const REAUTHENTICATION_OPTIONAL: bool = false;

const NIST_REV4: &str = "https://pages.nist.gov/800-63-4/sp800-63b.html";
const NIST_REV3: &str = "https://pages.nist.gov/800-63-3/sp800-63b.html";
const ASVS4: &str = "https://github.com/OWASP/ASVS/tree/v4.0.3/4.0";
const OWASP_CHEAT_SHEET: &str =
    "https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html";

/// The requirement with this name; `None` if no requirement has this name.
#[must_use]
pub fn from_name(name: &str) -> Option<&'static Requirement> {
    ALL.iter().find(|requirement| requirement.name == name)
}

impl Requirement {
    /// Compares this requirement with the loosest limits that a session of the policy can have.
    #[must_use]
    pub fn status(&self, policy: &Policy) -> ComplianceStatus {
        let limits = loosest_limits(policy);
        let idle = self
            .idle
            .status(limits.idle.is_some(), limits.longest_inactivity());
        let absolute = self.absolute.status(true, limits.absolute);
        idle.max(absolute)
    }
}

impl LimitRequirement {
    /// Compares a limit with this requirement. `is_set` says whether the policy sets the limit. `duration` is the
    /// longest time that a session can live under the limit.
    #[must_use]
    pub fn status(self, is_set: bool, duration: Duration) -> ComplianceStatus {
        match self {
            NoRequirement => ComplianceStatus::Met,
            AnyLimit if is_set => ComplianceStatus::Met,
            AtMost(max, _) if duration <= max => ComplianceStatus::Met,
            AtMost(_, Should) => ComplianceStatus::ExceedsRecommendation,
            AnyLimit | AtMost(_, Shall) => ComplianceStatus::NotMet,
        }
    }
}

/// The loosest limits that a session of a policy can have: the limits for "remember me", if the policy offers it.
/// Variants of a policy never loosen limits.
#[must_use]
pub fn loosest_limits(policy: &Policy) -> Limits {
    policy.remember.unwrap_or(policy.limits)
}

const fn requirement(
    name: &'static str,
    standard: &'static str,
    section: &'static str,
    idle: LimitRequirement,
    absolute: LimitRequirement,
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
