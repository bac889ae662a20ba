use std::borrow::Cow;
use std::fmt;

use url::Host;

/// One host, or all subdomains of a domain, as the configuration names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Exactly this host, in lower case.
    Exact(String),
    /// Every subdomain of this domain, at any depth. The text begins with a dot and is in lower case.
    Subdomains(String),
}

/// The text is neither a host nor a host pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a host such as app.example.com, or a wildcard such as *.example.com, without a scheme and without a port"
)]
pub struct HostPatternError;

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Subdomains(domain) => write!(f, "*{domain}"),
        }
    }
}

impl HostPattern {
    /// Whether the pattern matches the host of a URL, with or without a port.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = normalize_host(host);
        match self {
            Self::Exact(exact) => *exact == host,
            Self::Subdomains(domain) => host.ends_with(domain.as_str()),
        }
    }

    /// Whether the pattern matches every host that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(host)) => self.matches(host),
            (Self::Subdomains(domain), Self::Subdomains(other)) => other.ends_with(domain.as_str()),
            (Self::Exact(_), Self::Subdomains(_)) => false,
        }
    }

    /// The hosts that both patterns match; `None` if there are none. Of two patterns, one covers the other, or they have no
    /// host in common.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            Some(other.clone())
        } else {
            other.covers(self).then(|| self.clone())
        }
    }

    /// Parses a host, or `*.` and a domain.
    ///
    /// # Errors
    /// [`HostPatternError`] if the text is neither a host nor `*.` and a domain.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        let text = text.to_ascii_lowercase();
        let (is_wildcard, host) = match text.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, &*text),
        };
        // A browser sends the host in the form that the parser returns. A pattern in any other form would never match.
        let parsed = Host::parse(host).map_err(|_| HostPatternError)?;
        if parsed.to_string() != host || host.ends_with('.') || host.contains('*') {
            return Err(HostPatternError);
        }
        match (is_wildcard, parsed) {
            (false, _) => Ok(Self::Exact(text)),
            (true, Host::Domain(_)) => Ok(Self::Subdomains(text[1..].to_owned())),
            (true, _) => Err(HostPatternError),
        }
    }
}

/// Normalises the host of a URL for matching: lower case, without the port and without a trailing dot.
#[must_use]
pub fn normalize_host(host: &str) -> Cow<'_, str> {
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The parent domains of a host, each with a leading dot.
pub(super) fn parent_domains(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').map(|(dot, _)| &host[dot..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_host_patterns() {
        let exact = |text: &str| Ok(HostPattern::Exact(text.to_owned()));
        let subdomains = |text: &str| Ok(HostPattern::Subdomains(text.to_owned()));
        for (text, expected) in [
            ("app.example.com", exact("app.example.com")),
            ("App.Example.COM", exact("app.example.com")),
            ("localhost", exact("localhost")),
            ("127.0.0.1", exact("127.0.0.1")),
            ("[::1]", exact("[::1]")),
            ("a_b.example.com", exact("a_b.example.com")),
            ("*.example.com", subdomains(".example.com")),
            ("*.com", subdomains(".com")),
        ] {
            assert_eq!(HostPattern::parse(text), expected, "{text}");
        }
        for text in [
            "",
            "*",
            "*.",
            "*.*.com",
            "a*.example.com",
            "https://a",
            "a:80",
            "a/b",
            "a b",
            "example.com.",
            "*.127.0.0.1",
            "127.1",
            "[::0:1]",
            "bücher.example",
        ] {
            assert_eq!(HostPattern::parse(text), Err(HostPatternError), "{text}");
        }
    }

    #[test]
    fn one_of_two_patterns_with_a_common_host_covers_the_other() {
        let patterns = ["a.b.c", "x.b.c", "b.c", "*.b.c", "*.a.b.c", "*.c", "*.d"];
        let parse = |text: &str| HostPattern::parse(text).unwrap();
        let hosts = ["a.b.c", "x.b.c", "b.c", "y.a.b.c", "c.d"];
        for (one, other) in patterns
            .iter()
            .flat_map(|it| patterns.map(|other| (parse(it), parse(other))))
        {
            let both = one.intersection(&other);
            assert_eq!(both, other.intersection(&one), "{one} {other}");
            for host in hosts {
                let expected = one.matches(host) && other.matches(host);
                let found = both.as_ref().is_some_and(|both| both.matches(host));
                assert_eq!(found, expected, "{one} {other} {host}");
                assert!(!one.covers(&other) || !other.matches(host) || one.matches(host));
            }
        }
    }

    #[test]
    fn normalises_the_hosts_of_urls() {
        for (host, expected) in [
            ("App.Example.com", "app.example.com"),
            ("app.example.com:8443", "app.example.com"),
            ("app.example.com.", "app.example.com"),
            ("app.example.com.:80", "app.example.com"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(normalize_host(host), expected);
        }
        let parents: Vec<&str> = parent_domains("a.b.com").collect();
        assert_eq!(parents, [".b.com", ".com"]);
    }
}
