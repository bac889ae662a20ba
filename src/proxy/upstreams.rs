use std::sync::Arc;

use super::settings::ProxySettings;
use super::upstream::{Upstream, UpstreamError};
use crate::policy::{HostPattern, NormalPath, normalize_host};

/// The applications, with their connection pools.
#[derive(Debug, Default)]
pub struct Upstreams {
    upstreams: Vec<Arc<Upstream>>,
    /// The networks of trusted proxies, and the health path.
    pub(super) settings: ProxySettings,
}

/// Why a request has no upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoUpstream {
    /// No upstream has the host and the path.
    Unknown,
    /// The upstream depends on the path, and programs read this path in different ways.
    AmbiguousPath,
}

impl Upstreams {
    /// Creates the upstreams.
    ///
    /// # Errors
    /// The index of an upstream with invalid TLS settings, and the error.
    pub fn new(settings: ProxySettings) -> Result<Self, (usize, UpstreamError)> {
        let upstreams = settings.upstreams.iter().enumerate();
        let upstreams = upstreams.map(|(index, upstream)| {
            let upstream = Upstream::new(upstream.clone()).map_err(|error| (index, error))?;
            Ok(Arc::new(upstream))
        });
        Ok(Self {
            upstreams: upstreams.collect::<Result<_, _>>()?,
            settings,
        })
    }

    /// Returns all upstreams.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.iter()
    }

    /// Finds the upstream of a request. An exact host takes precedence over `*.suffix`, a longer suffix over a shorter
    /// one, and then a longer path prefix over a shorter one.
    pub(super) fn find(&self, host: &str, path: &[u8]) -> Result<&Arc<Upstream>, NoUpstream> {
        let host = normalize_host(host);
        let mut candidates: Vec<(usize, &Arc<Upstream>)> = Vec::new();
        for upstream in &self.upstreams {
            let hosts = upstream.settings.hosts.iter();
            let matching = hosts.filter(|pattern| pattern.matches(&host));
            if let Some(precedence) = matching.map(host_precedence).max() {
                candidates.push((precedence, upstream));
            }
        }
        let best_host = candidates.iter().map(|(precedence, _)| *precedence).max();
        candidates.retain(|(precedence, _)| Some(*precedence) == best_host);
        let depends_on_path = candidates
            .iter()
            .any(|(_, upstream)| !upstream.settings.path_prefix.is_empty());
        if !depends_on_path {
            let first = candidates.first().map(|(_, upstream)| *upstream);
            return first.ok_or(NoUpstream::Unknown);
        }
        let path = NormalPath::new(path).map_err(|_| NoUpstream::AmbiguousPath)?;
        candidates
            .into_iter()
            .map(|(_, upstream)| upstream)
            .filter(|upstream| is_below(path.as_str(), &upstream.settings.path_prefix))
            .max_by_key(|upstream| upstream.settings.path_prefix.len())
            .ok_or(NoUpstream::Unknown)
    }
}

/// The precedence of a pattern that matches.
const fn host_precedence(pattern: &HostPattern) -> usize {
    match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Subdomains(suffix) => suffix.len(),
    }
}

/// Whether `path` is the path `prefix`, or a path below it. `prefix` has no trailing slash.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::settings::UpstreamSettings;

    fn upstream(host: &str, path_prefix: &str, target: &str) -> UpstreamSettings {
        UpstreamSettings {
            hosts: vec![HostPattern::parse(host).unwrap()],
            path_prefix: path_prefix.to_owned(),
            target: target.parse().unwrap(),
            preserve_host: true,
            authorities: None,
            server_name: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            health: None,
        }
    }

    #[test]
    fn the_most_specific_upstream_gets_the_request() {
        let upstreams = Upstreams::new(ProxySettings {
            upstreams: vec![
                upstream("*.example.com", "", "http://any"),
                upstream("*.dev.example.com", "", "http://dev"),
                upstream("app.example.com", "/api", "http://api"),
                upstream("app.example.com", "", "http://app"),
                upstream("app.example.com", "/api/v2", "http://v2"),
                upstream("shop.example.com", "/cart", "http://cart"),
            ],
            ..ProxySettings::default()
        })
        .unwrap();
        for (host, path, expected) in [
            ("app.example.com", "/", Ok("http://app")),
            ("APP.example.com:8443", "/x", Ok("http://app")),
            ("app.example.com.", "/api", Ok("http://api")),
            ("app.example.com", "/api/x", Ok("http://api")),
            ("app.example.com", "/apix", Ok("http://app")),
            ("app.example.com", "/api/v2", Ok("http://v2")),
            ("app.example.com", "/api/v20", Ok("http://api")),
            ("app.example.com", "/%61pi", Ok("http://api")),
            (
                "app.example.com",
                "/x/../api",
                Err(NoUpstream::AmbiguousPath),
            ),
            ("app.example.com", "//api", Err(NoUpstream::AmbiguousPath)),
            ("other.example.com", "/x/../y", Ok("http://any")),
            ("a.dev.example.com", "/", Ok("http://dev")),
            ("example.com", "/", Err(NoUpstream::Unknown)),
            ("shop.example.com", "/", Err(NoUpstream::Unknown)),
            ("shop.example.com", "/cart/1", Ok("http://cart")),
            ("app.example.org", "/", Err(NoUpstream::Unknown)),
        ] {
            let found = upstreams.find(host, path.as_bytes());
            let found = found.map(|upstream| upstream.settings.target.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{host} {path}");
        }
    }
}
