use std::sync::Arc;
use std::time::Duration;

use crate::telemetry::{Metrics, Throttle};

/// The body of a 404, with the paths of the `check` listener.
const SERVED_PATHS: &str = "\
This is the check listener of Curfew. It serves:

  /auth-request       NGINX
  /forward-auth       Traefik, Caddy, APISIX, haproxy-ingress, ingress-nginx
  /ext-authz/...      Envoy, Istio, Envoy Gateway, Gateway API, over HTTP
  /policy/NAME/...    each of these, with the policy NAME
";

/// The class of a path that is not served. It determines the label of the metric and the hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PathClass {
    Browser,
    Admin,
    Ops,
    Authelia,
    OAuth2Proxy,
    Contract,
    Other,
}

/// Answers requests for paths that the `check` listener does not serve. Warns the operator at most once a minute for
/// each class of path.
#[derive(Clone, Debug)]
pub(super) struct UnknownPaths(Arc<Throttle<PathClass>>);

impl Default for UnknownPaths {
    fn default() -> Self {
        Self(Arc::new(Throttle::new(Duration::from_secs(60))))
    }
}

impl UnknownPaths {
    /// Creates the counter of each class with the value zero.
    pub(super) fn init_metrics(&self, metrics: &Metrics) {
        metrics.init_unknown_paths(PathClass::ALL.iter().map(|class| class.as_str()));
    }

    /// Counts the request and returns the text of the 404, which contains no data of the request.
    pub(super) fn answer(&self, path: &str, metrics: &Metrics) -> String {
        let class = PathClass::of(path);
        metrics.count_unknown_path(class.as_str());
        let hint = class.hint();
        if self.0.admits(class) {
            // Log the class instead of the path, because a path can contain a token.
            tracing::warn!(
                listener = "check",
                class = class.as_str(),
                served = "/auth-request, /forward-auth, /ext-authz/…, /policy/NAME/…",
                hint,
                "request for a path that the check listener does not serve"
            );
        }
        match hint {
            "" => SERVED_PATHS.to_owned(),
            hint => format!("{SERVED_PATHS}\n{hint}\n"),
        }
    }
}

impl PathClass {
    const ALL: [Self; 7] = [
        Self::Browser,
        Self::Admin,
        Self::Ops,
        Self::Authelia,
        Self::OAuth2Proxy,
        Self::Contract,
        Self::Other,
    ];

    fn of(path: &str) -> Self {
        let has_prefix = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        let contains_any = |names: &[&str]| names.iter().any(|name| path.contains(name));
        if has_prefix(&["/.curfew", "/oidc/", "/ssf/", "/.well-known/jwks.json"]) {
            Self::Browser
        } else if has_prefix(&["/api/authz", "/api/verify"]) {
            Self::Authelia
        } else if has_prefix(&["/api/v1/", "/console"]) {
            Self::Admin
        } else if has_prefix(&["/metrics", "/livez", "/readyz", "/healthz"]) {
            Self::Ops
        } else if has_prefix(&["/oauth2/"]) {
            Self::OAuth2Proxy
        } else if contains_any(&["auth-request", "forward-auth", "ext-authz", "/policy"]) {
            Self::Contract
        } else {
            Self::Other
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Admin => "admin",
            Self::Ops => "ops",
            Self::Authelia => "authelia",
            Self::OAuth2Proxy => "oauth2_proxy",
            Self::Contract => "contract",
            Self::Other => "other",
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::Browser => {
                "Route /.curfew/, /oidc/, /ssf/ and /.well-known/jwks.json to the browser listener \
                 (listen.browser, port 9183)."
            }
            Self::Admin => "The admin API and the console are on the admin listener (port 9188).",
            Self::Ops => "Probes and metrics are on the ops listener (port 9189).",
            Self::Authelia => {
                "This is a path of Authelia. Use /auth-request for /api/authz/auth-request, /forward-auth for \
                 /api/authz/forward-auth and /api/verify, /ext-authz for /api/authz/ext-authz/."
            }
            Self::OAuth2Proxy => {
                "This is a path of oauth2-proxy. Use /auth-request with NGINX, /forward-auth with Traefik and \
                 Caddy, instead of /oauth2/auth; the sign-in page is /.curfew/login on the browser listener \
                 (port 9183)."
            }
            Self::Contract => "The path must be exactly one of the served paths.",
            Self::Other => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_404_lists_the_paths_and_hints_at_other_listeners() {
        let (paths, metrics) = (UnknownPaths::default(), Metrics::new().unwrap());
        for (path, class, hint) in [
            ("/", "other", ""),
            ("/.curfew/session", "browser", "port 9183"),
            ("/.curfew", "browser", "port 9183"),
            ("/oidc/backchannel-logout", "browser", "port 9183"),
            ("/ssf/events", "browser", "port 9183"),
            ("/.well-known/jwks.json", "browser", "port 9183"),
            ("/api/v1/sessions", "admin", "port 9188"),
            ("/console/", "admin", "port 9188"),
            ("/metrics", "ops", "port 9189"),
            ("/api/authz/auth-request", "authelia", "/auth-request"),
            ("/api/verify", "authelia", "/forward-auth"),
            ("/oauth2/auth", "oauth2_proxy", "/auth-request"),
            ("/auth-request/", "contract", "exactly"),
            ("/policy/forward-auth", "contract", "exactly"),
        ] {
            let text = paths.answer(path, &metrics);
            assert!(
                text.starts_with(SERVED_PATHS) && text.contains(hint),
                "{path}: {text}"
            );
            assert_eq!(PathClass::of(path).as_str(), class, "{path}");
        }
        let text = metrics.render().unwrap();
        assert!(
            text.contains("curfew_unknown_paths_total{class=\"browser\"} 5"),
            "{text}"
        );
    }
}
