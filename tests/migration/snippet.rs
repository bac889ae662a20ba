//! The files in `snippets/`, and the behaviour that the tests expect from each file.

use std::path::{Path, PathBuf};

use crate::harness::Upstreams;
use crate::identity::{AUTHELIA, IdentityHeaders, OAUTH2_PROXY, OAUTH2_PROXY_NGINX};
use crate::ingress;
use crate::proxies::{self, Proxy};

/// A proxy file that Authelia or oauth2-proxy documents, and the same file with the changes for Curfew.
#[derive(Clone, Copy)]
pub struct Snippet {
    /// The name of the unchanged file.
    pub file: &'static str,
    /// A host that the file protects.
    pub host: &'static str,
    /// Starts the proxy with the text of the documented or the changed file.
    pub start: fn(&str, &Upstreams) -> Proxy,
    /// The identity headers that the application expects.
    pub identity_headers: IdentityHeaders,
    /// A host and a path that the changed file routes to the sign-in service.
    pub login: Option<(&'static str, &'static str)>,
    /// The start of the URL that the proxy itself redirects every denied client to. The escaped target follows it.
    pub sign_in: Option<&'static str>,
    /// The status that clients get while Curfew is down.
    pub down_status: u16,
}

const NEXTCLOUD: Snippet = Snippet {
    file: "authelia-nginx.conf",
    host: "nextcloud.example.com",
    start: proxies::nginx,
    identity_headers: AUTHELIA,
    login: Some(("auth.example.com", "/")),
    sign_in: None,
    down_status: 500,
};

pub const AUTHELIA_NGINX: Snippet = Snippet {
    login: None,
    ..NEXTCLOUD
};

pub const AUTHELIA_TRAEFIK: Snippet = Snippet {
    file: "authelia-traefik-file.yaml",
    start: proxies::traefik,
    ..NEXTCLOUD
};

pub const AUTHELIA_CADDY: Snippet = Snippet {
    file: "authelia-caddy.caddyfile",
    start: proxies::caddy,
    down_status: 502,
    ..NEXTCLOUD
};

pub const AUTHELIA_ENVOY: Snippet = Snippet {
    file: "authelia-envoy.yaml",
    start: proxies::envoy,
    down_status: 503,
    ..NEXTCLOUD
};

pub const AUTHELIA_HAPROXY_2_6: Snippet = Snippet {
    file: "authelia-haproxy.cfg",
    start: proxies::haproxy_2_6,
    ..NEXTCLOUD
};

pub const AUTHELIA_HAPROXY_2_8: Snippet = Snippet {
    start: proxies::haproxy_2_8,
    ..AUTHELIA_HAPROXY_2_6
};

pub const AUTHELIA_INGRESS_NGINX: Snippet = Snippet {
    file: "authelia-ingress-nginx.yaml",
    host: "app.example.com",
    start: ingress::start,
    login: None,
    sign_in: Some("https://auth.example.com?rm=GET&rd=http://app.example.com"),
    ..NEXTCLOUD
};

pub const OAUTH2_PROXY_ON_NGINX: Snippet = Snippet {
    file: "oauth2-proxy-nginx.conf",
    host: "app.example.com",
    identity_headers: OAUTH2_PROXY_NGINX,
    login: Some(("app.example.com", "/oauth2/start")),
    ..NEXTCLOUD
};

pub const OAUTH2_PROXY_TRAEFIK: Snippet = Snippet {
    file: "oauth2-proxy-traefik-file.yaml",
    host: "a-service.example.com",
    start: proxies::traefik,
    identity_headers: OAUTH2_PROXY,
    login: Some(("a-service.example.com", "/oauth2/start")),
    ..NEXTCLOUD
};

pub const OAUTH2_PROXY_TRAEFIK_STATIC: Snippet = Snippet {
    file: "oauth2-proxy-traefik-static.yaml",
    ..OAUTH2_PROXY_TRAEFIK
};

pub const OAUTH2_PROXY_CADDY: Snippet = Snippet {
    file: "oauth2-proxy-caddy.caddyfile",
    host: "example.com",
    start: proxies::caddy,
    identity_headers: OAUTH2_PROXY,
    login: Some(("example.com", "/oauth2/start")),
    down_status: 502,
    ..NEXTCLOUD
};

pub const OAUTH2_PROXY_INGRESS_NGINX: Snippet = Snippet {
    file: "oauth2-proxy-ingress-nginx.yaml",
    identity_headers: OAUTH2_PROXY,
    sign_in: Some("https://oauth2-proxy.example.com/oauth2/start?rd="),
    ..AUTHELIA_INGRESS_NGINX
};

impl Snippet {
    /// Returns the documented file.
    pub fn read_unchanged(&self) -> String {
        read_snippet(self.file)
    }

    /// Returns the file with the changes for Curfew.
    pub fn read_for_curfew(&self) -> String {
        read_snippet(&changed_name(self.file))
    }
}

/// Returns the name of the changed file.
fn changed_name(file: &str) -> String {
    let (name, kind) = file.rsplit_once('.').unwrap();
    format!("{name}.curfew.{kind}")
}

/// Returns the name of the unchanged file.
pub fn unchanged_name(file: &str) -> String {
    file.replace(".curfew.", ".")
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/migration/snippets")
}

/// Returns the text of a file in `snippets/`.
pub fn read_snippet(file: &str) -> String {
    let path = folder().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Replaces all occurrences of each text. Panics if a text does not occur.
pub fn replace_all(text: &str, pairs: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in pairs {
        assert!(text.contains(from), "{from} is not in the file");
        text = text.replace(from, to);
    }
    text
}
