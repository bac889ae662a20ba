//! The names of routes.

use sha2::{Digest, Sha256};

/// The name of a route, and of one of its rules, as numbers. Equal names have equal numbers in every replica and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteName {
    route: u64,
    /// The rule; 0 if it has no name.
    section: u64,
}

impl RouteName {
    /// The name of a route, such as `HTTPRoute`, `team-crm`, `crm`, and of its rule, if the rule has a name.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str, section: Option<&str>) -> Self {
        Self {
            route: number(&[kind, namespace, name]),
            section: section.map_or(0, |section| number(&[section])),
        }
    }

    /// Whether a rule with this name serves a request for which a proxy names a rule. Without the name of a section, each
    /// rule of the route can serve it.
    #[must_use]
    pub const fn serves(self, named: Self) -> bool {
        self.route == named.route
            && (self.section == named.section || self.section == 0 || named.section == 0)
    }
}

/// A number for a list of texts: the first 64 bits of SHA-256. Teams choose the texts, so nobody must find two lists with the
/// same number.
#[must_use]
pub fn number(texts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text);
        hash.update([0]);
    }
    let hash = hash.finalize();
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
