//! The session limits in the configuration file of Authelia.

use std::time::Duration;

use super::config_error::ConfigError;
use super::duration;
use crate::yaml::YamlError;
use crate::yaml_node::{self, Node};

/// The idle limit of Authelia without `session.inactivity`.
const DEFAULT_INACTIVITY: Duration = Duration::from_secs(5 * 60);
/// The absolute limit of Authelia without `session.expiration`.
const DEFAULT_EXPIRATION: Duration = Duration::from_secs(3600);

/// The limits of a session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CookieLimits {
    pub(super) inactivity: Duration,
    pub(super) expiration: Duration,
}

/// The session limits in the configuration file of Authelia.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutheliaConfig {
    /// The domain and the limits of each session cookie. A cookie without a domain is for every host.
    cookies: Vec<(Option<String>, CookieLimits)>,
    /// The settings that are not taken over, and the defaults that apply.
    pub(super) notes: Vec<String>,
}

impl AutheliaConfig {
    /// Parses the text of a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] with the line if the text is not a configuration of Authelia, or if a limit is unreadable.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let documents = yaml_node::parse(text).map_err(|error| match error {
            YamlError::Malformed { line, message } => ConfigError::new(line, message),
            YamlError::TooDeep(line) => ConfigError::new(line, "the YAML is nested too deep"),
            YamlError::TooLarge(line) => ConfigError::new(line, "the YAML is too large"),
        })?;
        let empty = Node::default();
        let root = match documents.as_slice() {
            [] => &empty,
            [root] => root,
            [_, second, ..] => {
                let message = "more than one YAML document";
                return Err(ConfigError::new(second.line, message));
            }
        };
        if root.text().is_some() || !root.items().is_empty() || root.get("kind").is_some() {
            let message = "not a configuration of Authelia: pass the file configuration.yml itself";
            return Err(ConfigError::new(root.line, message));
        }
        let session = root.get("session").unwrap_or(&empty);
        let mut notes = Vec::new();
        let of_session = CookieLimits {
            inactivity: limit(session, "inactivity")?.unwrap_or_else(|| {
                notes.push("session.inactivity is not set: Authelia's default is 5m".to_owned());
                DEFAULT_INACTIVITY
            }),
            expiration: limit(session, "expiration")?.unwrap_or_else(|| {
                notes.push("session.expiration is not set: Authelia's default is 1h".to_owned());
                DEFAULT_EXPIRATION
            }),
        };
        let mut cookies = Vec::new();
        for cookie in session.get("cookies").map_or(&[][..], Node::items) {
            let limits = CookieLimits {
                inactivity: limit(cookie, "inactivity")?.unwrap_or(of_session.inactivity),
                expiration: limit(cookie, "expiration")?.unwrap_or(of_session.expiration),
            };
            let Some(domain) = cookie.get("domain").and_then(Node::text) else {
                let message = "a session cookie without a domain";
                return Err(ConfigError::new(cookie.line, message));
            };
            cookies.push((Some(normalize(domain)), limits));
        }
        if cookies.is_empty() {
            // Authelia before 4.38 has one session cookie.
            let domain = session.get("domain").and_then(Node::text).map(normalize);
            cookies.push((domain, of_session));
        }
        if remembers(session) {
            let message = "remember_me is not taken over: Authelia applies this limit, and no inactivity, to people who \
                           tick `Remember me`. With a SessionPolicy, they get the same limits as all others";
            notes.push(message.to_owned());
        }
        Ok(Self { cookies, notes })
    }

    /// Returns the limits of the session cookie for a host: the cookie with the longest domain that is the host or a
    /// parent of it. `None` if Authelia has no cookie for the host.
    pub(super) fn limits(&self, host: &str) -> Option<CookieLimits> {
        let host = normalize(host);
        let covers = |domain: &Option<String>| {
            domain.as_ref().is_none_or(|domain| {
                let below = host.strip_suffix(domain.as_str());
                below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            })
        };
        let matching = self.cookies.iter().filter(|(domain, _)| covers(domain));
        let best = matching.max_by_key(|(domain, _)| domain.as_ref().map_or(0, String::len));
        best.map(|(_, limits)| *limits)
    }
}

/// Returns the host in lower case, without a dot at its start, which older versions of Authelia allow.
fn normalize(host: &str) -> String {
    host.trim().trim_start_matches('.').to_ascii_lowercase()
}

/// Reads a limit. `None` without a value and for 0, which Authelia replaces by the default.
fn limit(section: &Node, key: &str) -> Result<Option<Duration>, ConfigError> {
    let Some(node) = section.get(key) else {
        return Ok(None);
    };
    let text = node.text().unwrap_or_default();
    if matches!(text, "" | "~" | "null") {
        return Ok(None);
    }
    let parsed = duration::parse_authelia(text);
    let parsed = parsed
        .ok_or_else(|| ConfigError::new(node.line, format!("{key}: {text:?} is not a duration")))?;
    Ok(Some(parsed).filter(|duration| !duration.is_zero()))
}

/// Whether people can stay signed in for longer. This is the default of Authelia.
fn remembers(session: &Node) -> bool {
    let is_on = |section: &Node| {
        let names = ["remember_me", "remember_me_duration"];
        let value = names.iter().find_map(|name| section.get(name));
        let value = value.and_then(Node::text);
        value.map(|text| !text.trim().starts_with('-'))
    };
    let of_session = is_on(session).unwrap_or(true);
    match session.get("cookies").map_or(&[][..], Node::items) {
        [] => of_session,
        cookies => cookies.iter().any(|it| is_on(it).unwrap_or(of_session)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the limits of a host in seconds.
    fn limits(config: &str, host: &str) -> Option<(u64, u64)> {
        let limits = AutheliaConfig::parse(config).unwrap().limits(host)?;
        Some((limits.inactivity.as_secs(), limits.expiration.as_secs()))
    }

    #[test]
    fn the_most_specific_cookie_of_a_host_gives_its_limits() {
        let config = "
session:
  inactivity: 10 minutes
  expiration: 7200
  cookies:
  - {domain: example.com, inactivity: 0, expiration: 4h}
  - {domain: .Internal.example.com, inactivity: 2m}
  - {domain: example.org}
";
        assert_eq!(limits(config, "example.com"), Some((600, 14_400)));
        assert_eq!(limits(config, "app.example.com"), Some((600, 14_400)));
        assert_eq!(limits(config, "*.example.com"), Some((600, 14_400)));
        assert_eq!(limits(config, "x.INTERNAL.example.com"), Some((120, 7200)));
        assert_eq!(limits(config, "example.org"), Some((600, 7200)));
        assert_eq!(limits(config, "badexample.com"), None);
        assert_eq!(limits(config, "example.net"), None);
    }

    #[test]
    fn defaults_apply_and_are_noted() {
        for config in ["", "server: {}", "session:\n", "session: {inactivity: ''}"] {
            assert_eq!(
                limits(config, "app.example.com"),
                Some((300, 3600)),
                "{config}"
            );
            let notes = AutheliaConfig::parse(config).unwrap().notes;
            assert_eq!(notes.len(), 3, "{notes:?}");
        }
        let old = "session: {domain: example.com, expiration: 2h, remember_me_duration: -1}";
        assert_eq!(limits(old, "app.example.com"), Some((300, 7200)));
        assert_eq!(limits(old, "example.net"), None);
        assert_eq!(AutheliaConfig::parse(old).unwrap().notes.len(), 1);
    }

    #[test]
    fn an_unreadable_file_is_an_error_with_its_line() {
        for (config, line) in [
            ("session:\n  inactivity: soon\n", 2),
            (
                "session:\n  cookies:\n  - domain: a.com\n    expiration: '{{ x }}'\n",
                4,
            ),
            ("session:\n  cookies:\n  - name: x\n", 3),
            ("session: [\n", 2),
            ("apiVersion: v1\nkind: ConfigMap\ndata: {}\n", 1),
            ("a: 1\n---\nb: 1\n", 3),
            ("- a\n", 1),
        ] {
            let error = AutheliaConfig::parse(config).unwrap_err();
            assert_eq!(error.line, line, "{config}: {error}");
        }
    }
}
