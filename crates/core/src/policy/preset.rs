use std::time::Duration;

use super::standards::{hours, minutes};
use crate::session::Limits;

/// The ceilings that a standard sets for limits. A limit above a ceiling needs a documented reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name in the configuration.
    pub name: &'static str,
    /// The longest idle limit; `None` if the standard requires no idle limit.
    pub idle: Option<Duration>,
    /// The longest absolute limit.
    pub absolute: Duration,
    /// The document that the numbers come from, and which numbers are only convention.
    pub source: &'static str,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 12] = [
        preset(
            "nist-aal1",
            None,
            hours(24 * 30),
            "NIST SP 800-63B-4, 2.1.3: absolute 30 days (SHOULD); an idle limit may be left out",
        ),
        preset(
            "nist-aal2",
            Some(hours(1)),
            hours(24),
            "NIST SP 800-63B-4, 2.2.3: idle 1 hour, absolute 24 hours (both SHOULD)",
        ),
        preset(
            "nist-aal2-rev3",
            Some(minutes(30)),
            hours(12),
            "NIST SP 800-63B (revision 3), 4.2.3: idle 30 minutes, absolute 12 hours (both SHALL)",
        ),
        preset(
            "nist-aal3",
            Some(minutes(15)),
            hours(12),
            "NIST SP 800-63B-4, 2.3.3: idle 15 minutes (SHOULD), absolute 12 hours (SHALL)",
        ),
        preset(
            "asvs4-l2",
            Some(minutes(30)),
            hours(12),
            "OWASP ASVS 4.0.3, 3.3.2, level 2: idle 30 minutes, absolute 12 hours",
        ),
        preset(
            "asvs4-l3",
            Some(minutes(15)),
            hours(12),
            "OWASP ASVS 4.0.3, 3.3.2, level 3: idle 15 minutes, absolute 12 hours",
        ),
        preset(
            "pci-dss",
            Some(minutes(15)),
            hours(12),
            "PCI DSS 4.0.1, 8.2.8: idle 15 minutes; absolute: convention",
        ),
        preset(
            "fedramp-moderate",
            Some(minutes(15)),
            hours(12),
            "FedRAMP Moderate (revision 5): idle 15 minutes (AC-11), absolute 12 hours (guidance for IA-11)",
        ),
        preset(
            "fedramp-high",
            Some(minutes(15)),
            hours(12),
            "FedRAMP High (revision 5): idle 15 minutes (AC-11), absolute 12 hours (guidance for IA-11)",
        ),
        preset(
            "owasp-high",
            Some(minutes(5)),
            hours(4),
            "OWASP Session Management Cheat Sheet: idle 2 to 5 minutes for applications of high value, absolute 4 to 8 hours",
        ),
        preset(
            "owasp-low",
            Some(minutes(30)),
            hours(8),
            "OWASP Session Management Cheat Sheet: idle 15 to 30 minutes for applications of low risk, absolute 4 to 8 hours",
        ),
        preset(
            "hipaa",
            Some(minutes(15)),
            hours(12),
            "HIPAA, 45 CFR 164.312(a)(2)(iii): a predetermined time of inactivity; both numbers: convention",
        ),
    ];

    /// The preset with this name; `None` if no preset has this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name == name)
    }

    /// Whether a session without activity ends within the idle ceiling. The idle or the absolute limit can end the
    /// session.
    #[must_use]
    pub fn allows_idle(&self, limits: &Limits) -> bool {
        self.idle
            .is_none_or(|ceiling| limits.longest_inactivity() <= ceiling)
    }

    /// Whether the absolute limit is within the ceiling.
    #[must_use]
    pub fn allows_absolute(&self, limits: &Limits) -> bool {
        limits.absolute <= self.absolute
    }
}

const fn preset(
    name: &'static str,
    idle: Option<Duration>,
    absolute: Duration,
    source: &'static str,
) -> Preset {
    Preset {
        name,
        idle,
        absolute,
        source,
    }
}
