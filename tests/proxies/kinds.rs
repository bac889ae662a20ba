//! The proxies. Each of them runs with its file of `deploy/`.

mod caddy;
mod cluster;
mod envoy;
mod haproxy;
mod haproxy_ingress;
mod ingress_nginx;
mod nginx;
mod traefik;
mod traefik_ingress;

use std::net::SocketAddr;
use std::time::Duration;

use curfew::render::Proxy as Rendered;

use crate::support::Listeners;
use crate::support::deployment::{Server, envoy_address, render_file, replace_once};
use crate::support::kubectl::has_cluster;
use crate::support::nginx::Nginx;
use crate::support::tls::Certificates;

/// The idle limit in the rendered files.
pub const IDLE: Duration = Duration::from_secs(15 * 60);

/// One column of the matrix.
#[derive(Clone, Copy)]
pub struct ProxyKind {
    pub name: &'static str,
    pub start: fn(&Upstreams) -> Proxy,
    /// The contract of the proxy (the format in which it sends checks), as a metric label.
    pub contract: &'static str,
    /// The status that a client gets while Curfew is down.
    pub down_status: u16,
    /// The status that a client gets when Curfew does not answer in time.
    pub timeout_status: u16,
    /// The status that a client gets when Curfew reports that its store is unavailable.
    pub store_unavailable_status: u16,
    /// The longest time in seconds that the proxy waits for an answer of Curfew, with a margin.
    pub max_wait_seconds: f64,
    /// The host whose denied navigations are redirected.
    pub redirecting_host: &'static str,
}

impl ProxyKind {
    /// Returns the scheme of the return address. Curfew's return address begins with `https`, because its cookie is
    /// for TLS only. But ingress-nginx creates redirects itself, with the scheme of the request.
    pub fn return_scheme(&self) -> &'static str {
        match self.name {
            "ingress-nginx" => "http",
            _ => "https",
        }
    }
}

/// The addresses of the servers that a proxy needs.
#[derive(Clone, Copy)]
pub struct Upstreams {
    pub check: SocketAddr,
    pub browser: SocketAddr,
    pub grpc: SocketAddr,
    pub spoe: SocketAddr,
    pub application: SocketAddr,
    /// Curfew's proxy listener. If it is set, the proxy sends streams to it.
    pub streams: Option<SocketAddr>,
    /// The address of a second application. If it is set, the file serves a second host,
    /// [`PUBLIC_HOST`](crate::router::PUBLIC_HOST).
    pub public: Option<SocketAddr>,
    /// With a certificate, the proxy serves TLS and HTTP/3. Only the proxies in [`HTTP_3`] support this.
    pub certificate: Option<&'static Certificates>,
    /// The policy that the checks name. The test sets the policy as a comment in the proxy's file describes.
    pub policy: Option<&'static str>,
    /// Replacements that insert a mistake into the file.
    pub mistake: Replacements,
    /// Replacements that turn on TLS to Curfew, from the documentation.
    pub tls: &'static [(String, String)],
}

/// Pairs of a text that occurs once in the file, and its replacement.
pub type Replacements = &'static [(&'static str, &'static str)];

impl Upstreams {
    fn listeners(&self) -> Listeners {
        Listeners {
            check: self.check,
            browser: self.browser,
        }
    }

    /// Renders a file of the proxy.
    fn render(&self, proxy: Rendered, name: &str) -> String {
        render_file(proxy, name, IDLE, self.streams.is_some())
    }

    /// Applies the replacements to two files. Each text must occur once in one of them.
    fn with_mistake_in_either(&self, texts: [&str; 2]) -> [String; 2] {
        let [first, second] = texts.map(|text| self.with_tls(text));
        for (from, _) in self.mistake {
            let found = first.matches(from).count() + second.matches(from).count();
            assert_eq!(
                found, 1,
                "{from} should occur exactly once, in one of the two files"
            );
        }
        [first, second].map(|text| {
            let change = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
            self.mistake.iter().fold(text, change)
        })
    }

    /// Applies the replacements to the only file of the proxy.
    fn with_mistake(&self, text: &str) -> String {
        let replacements = self.mistake.iter();
        let replacements: Vec<_> = replacements
            .map(|(from, to)| (*from, (*to).to_owned()))
            .collect();
        replace_once(&self.with_tls(text), &replacements)
    }

    /// Applies the replacements that turn on TLS to Curfew. Then sets the address of Curfew's proxy listener.
    fn with_tls(&self, text: &str) -> String {
        let change = |text: String, (from, to): &(String, String)| text.replace(from, to);
        let text = self.tls.iter().fold(text.to_owned(), change);
        match self.streams {
            None => text,
            Some(streams) => text
                .replace("curfew:9184", &streams.to_string())
                .replace("address: curfew, port_value: 9184", &envoy_address(streams)),
        }
    }
}

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    /// The address for HTTP/2 without TLS.
    pub http2: SocketAddr,
    server: ProxyServer,
}

enum ProxyServer {
    Server(Server),
    Nginx(Nginx),
    /// The servers of a controller of the cluster, and its objects.
    Cluster(Vec<Server>, cluster::Installation),
    /// Objects for a controller that serves all tests.
    Objects(cluster::Installation),
}

impl Proxy {
    /// Returns the log of the proxy.
    pub fn log(&self) -> String {
        match &self.server {
            ProxyServer::Server(server) => server.read("log"),
            ProxyServer::Cluster(servers, objects) => {
                let logs = servers.iter().map(|server| server.read("log"));
                logs.collect::<String>() + &objects.describe()
            }
            ProxyServer::Objects(objects) => objects.describe(),
            ProxyServer::Nginx(nginx) => nginx.error_log(),
        }
    }
}

pub use ingress_nginx::REDIRECTING_HOST;

/// The host of the application in the tests.
pub const HOST: &str = "app.example.com";

/// The values that are the same for most proxies.
const DEFAULT_PROXY_KIND: ProxyKind = ProxyKind {
    name: "",
    start: nginx::start,
    contract: "",
    down_status: 503,
    timeout_status: 503,
    store_unavailable_status: 503,
    max_wait_seconds: 5.0,
    redirecting_host: HOST,
};

/// The proxies that support HTTP/3, in the versions that the tests run.
pub const HTTP_3: [&str; 4] = ["Traefik", "Caddy", "Envoy HTTP", "Envoy gRPC"];

/// Returns the columns of the matrix: the controllers if the tests have a cluster, and otherwise the other proxies.
pub fn proxy_kinds() -> &'static [ProxyKind] {
    match has_cluster() {
        true => &cluster::CLUSTER_KINDS,
        false => &PROXY_KINDS,
    }
}

const PROXY_KINDS: [ProxyKind; 10] = [
    ProxyKind {
        name: "NGINX",
        start: nginx::start,
        contract: "auth-request",
        down_status: 500,
        timeout_status: 500,
        store_unavailable_status: 500,
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "ingress-nginx",
        start: ingress_nginx::start,
        contract: "forward-auth",
        down_status: 500,
        timeout_status: 500,
        store_unavailable_status: 500,
        max_wait_seconds: 65.0,
        redirecting_host: ingress_nginx::REDIRECTING_HOST,
    },
    ProxyKind {
        name: "Traefik",
        start: traefik::start,
        contract: "forward-auth",
        down_status: 500,
        timeout_status: 500,
        max_wait_seconds: 35.0,
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "Traefik ingress-nginx",
        start: traefik_ingress::start,
        contract: "forward-auth",
        down_status: 500,
        timeout_status: 500,
        max_wait_seconds: 35.0,
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "Caddy",
        start: caddy::start,
        contract: "forward-auth",
        down_status: 502,
        timeout_status: 504,
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "Envoy HTTP",
        start: envoy::start_http,
        contract: "ext-authz",
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "Envoy gRPC",
        start: envoy::start_grpc,
        contract: "ext-authz-grpc",
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "HAProxy 2.6",
        start: haproxy::start_2_6,
        contract: "spoe",
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "HAProxy 2.8",
        start: haproxy::start_2_8,
        contract: "spoe",
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "haproxy-ingress",
        start: haproxy_ingress::start,
        contract: "forward-auth",
        timeout_status: 500,
        max_wait_seconds: 8.0,
        ..DEFAULT_PROXY_KIND
    },
];
