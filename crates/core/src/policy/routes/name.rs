//! The names of routes.

/// The name of a route, and of one of its rules, as numbers: FNV-1a with 64 bits (draft-eastlake-fnv). Equal names have
/// equal numbers in every replica and version. Objects of the cluster choose the names, so with a collision, a team could
/// only get the limits of two of its own routes.
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

/// A number for a list of texts.
#[must_use]
pub fn number(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
