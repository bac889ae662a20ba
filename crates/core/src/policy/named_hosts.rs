use std::collections::BTreeSet;

use super::host::{HostPattern, normalize_host, parent_domains};

/// The hosts that the configuration names. If there is at least one such host, Curfew denies requests for all other
/// hosts. Otherwise a client could write an invented name in the header `Host`, and the rule for the real host would
/// not match.
#[derive(Clone, Debug, Default)]
pub struct NamedHosts {
    exact: BTreeSet<String>,
    /// The domains, each with a leading dot.
    domains: BTreeSet<String>,
    admit_unknown: bool,
}

impl NamedHosts {
    /// The hosts that match one of these patterns. With `admit_unknown`, Curfew evaluates requests for all other hosts,
    /// too.
    #[must_use]
    pub fn new(patterns: impl IntoIterator<Item = HostPattern>, admit_unknown: bool) -> Self {
        let mut named = Self {
            admit_unknown,
            ..Self::default()
        };
        for pattern in patterns {
            match pattern {
                HostPattern::Exact(host) => named.exact.insert(host),
                HostPattern::Subdomains(domain) => named.domains.insert(domain),
            };
        }
        named
    }

    /// Whether Curfew evaluates requests for this host. If not, Curfew denies them. The host is part of a URL, with or
    /// without a port.
    #[must_use]
    pub fn admit(&self, host: &str) -> bool {
        if !self.denies_others() {
            return true;
        }
        let host = normalize_host(host);
        self.exact.contains(&*host)
            || parent_domains(&host).any(|domain| self.domains.contains(domain))
    }

    /// Whether Curfew denies requests for hosts that no pattern matches.
    #[must_use]
    pub fn denies_others(&self) -> bool {
        let names_a_host = !self.exact.is_empty() || !self.domains.is_empty();
        names_a_host && !self.admit_unknown
    }

    /// The patterns as the configuration writes them: `app.example.com`, `*.example.com`.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        let domains = self.domains.iter().map(|domain| format!("*{domain}"));
        self.exact.iter().cloned().chain(domains)
    }

    /// A description of the admitted hosts, as text for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let named: Vec<String> = self.patterns().collect();
        match (named.is_empty(), self.admit_unknown) {
            (true, _) => "none; requests for every host are evaluated".to_owned(),
            (false, true) => format!(
                "{}; other hosts are evaluated, too (unknown_hosts: allow)",
                named.join(", ")
            ),
            (false, false) => format!("{}; others are denied (unknown_host)", named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(patterns: &[&str], admit_unknown: bool) -> NamedHosts {
        let patterns = patterns
            .iter()
            .map(|text| HostPattern::parse(text).unwrap());
        NamedHosts::new(patterns, admit_unknown)
    }

    #[test]
    fn other_hosts_are_denied_if_the_configuration_names_a_host() {
        let hosts = named(&["app.example.com", "*.apps.example.com", "[::1]"], false);
        for host in [
            "app.example.com",
            "APP.example.com",
            "app.example.com:8443",
            "app.example.com.",
            "a.apps.example.com",
            "b.a.apps.example.com:80",
            "[::1]:9000",
        ] {
            assert!(hosts.admit(host), "{host}");
        }
        for host in [
            "x",
            "example.com",
            "apps.example.com",
            "evilapps.example.com",
            "app.example.com.evil.example",
            "127.0.0.1",
            "app.example.com..",
        ] {
            assert!(!hosts.admit(host), "{host}");
        }
        assert!(named(&[], false).admit("x"));
        assert!(named(&["app.example.com"], true).admit("x"));
    }
}
