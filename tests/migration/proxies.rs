//! The real proxies, each with the text of a snippet. Changed are only the addresses, the hosts that the snippet leaves
//! open, and TLS, which is taken out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::bench::Upstreams;
use crate::snippet::replaced;
use crate::support::deployed::{Server, installed};
use crate::support::nginx::Nginx;
use crate::support::{free_port, local};

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    server: Running,
}

enum Running {
    Server(Server),
    Nginx(Nginx),
}

impl Proxy {
    pub fn of(nginx: Nginx) -> Self {
        Self {
            address: nginx.address,
            server: Running::Nginx(nginx),
        }
    }

    fn start(address: SocketAddr, command: &mut Command, files: &[(&str, &str)]) -> Self {
        let server = Server::start(command, files, &[address]);
        Self {
            address,
            server: Running::Server(server),
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        match &self.server {
            Running::Server(server) => server.read("log"),
            Running::Nginx(nginx) => nginx.errors(),
        }
    }
}

/// The addresses of the snippets, each replaced with the address of the server that stands for it.
fn with_addresses(text: &str, upstreams: &Upstreams) -> String {
    let Upstreams {
        check,
        browser,
        application,
        login,
    } = upstreams;
    // First those that could be a part of a new address.
    let pairs = [
        ("127.0.0.1:4180", login),
        ("127.0.0.1:9180", check),
        ("127.0.0.1:9183", browser),
        ("curfew:9180", check),
        ("curfew:9183", browser),
        ("authelia:9091", login),
        ("oauth2-proxy.internal:4180", login),
        ("172.16.0.1:4180", login),
        ("172.16.0.2:7555", application),
        ("upstream.internal:3000", application),
        ("nextcloud:443 ssl verify none", application),
        ("nextcloud:80", application),
    ];
    let replace = |text: String, (from, to): &(&str, &SocketAddr)| text.replace(from, &to.to_string());
    pairs.iter().fold(text.to_owned(), replace)
}

pub fn nginx(text: &str, upstreams: &Upstreams) -> Proxy {
    let text = with_addresses(text, upstreams);
    let application = format!("http://{}", upstreams.application);
    let text = ["http://nextcloud", "http://backend"]
        .iter()
        .fold(text, |text, name| text.replace(name, &application));
    let text = text
        .replace("listen 443 ssl http2;", "listen 8080;")
        .replace("listen 443 ssl;", "listen 8080;")
        .replace("include /config/nginx/snippets/ssl.conf;", "")
        .replace("include ssl/ssl.conf;", "")
        .replace("server_name ...;", "server_name app.example.com;");
    Proxy::of(Nginx::with(&text, ""))
}

/// A file for Traefik's file provider. The snippet names in a comment what belongs in Traefik's own configuration.
pub fn traefik(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = local(free_port());
    let alias = match text.contains("aliasHeadersStrategy: delete") {
        true => "    http:\n      aliasHeadersStrategy: delete\n",
        false => "",
    };
    let own = format!(
        "entryPoints:\n  websecure:\n    address: {address}\n{alias}\
         providers:\n  file:\n    filename: dynamic.yaml\n"
    );
    let service = format!(
        "  services:\n    nextcloud-net:\n      loadBalancer:\n        servers:\n          - url: http://{}\n",
        upstreams.application
    );
    let dynamic = with_addresses(&without_tls(text), upstreams)
        .replace("'nextcloud-net@docker'", "nextcloud-net")
        .replacen("  services:\n", &service, 1);
    Proxy::start(
        address,
        Command::new(installed("bin/traefik")).arg("--configFile=traefik.yaml"),
        &[("traefik.yaml", &own), ("dynamic.yaml", &dynamic)],
    )
}

/// The file without `tls`, and without the certificates for servers behind Traefik.
fn without_tls(text: &str) -> String {
    let mut inside: Option<usize> = None;
    let kept = text.lines().filter(|line| {
        let key = line.trim_start();
        let depth = line.len() - key.len();
        if inside.is_some_and(|outer| depth > outer) {
            return false;
        }
        let is_tls = ["tls:", "serversTransports:"].contains(&key);
        inside = is_tls.then_some(depth);
        !is_tls && !key.starts_with("serversTransport:")
    });
    kept.map(|line| format!("{line}\n")).collect()
}

pub fn caddy(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = local(free_port());
    let lines = text.lines().map(|line| match line.strip_suffix(" {") {
        Some(host) if host.ends_with("example.com") && !host.contains(' ') => {
            format!("http://{host}:{} {{\n\tbind 127.0.0.1\n", address.port())
        }
        _ => format!("{line}\n"),
    });
    let sites: String = lines.collect();
    let file = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\n\n{}",
        with_addresses(&sites, upstreams)
    );
    Proxy::start(
        address,
        Command::new(installed("bin/caddy")).args(["run", "--config", "Caddyfile"]),
        &[("Caddyfile", &file)],
    )
}

/// What stands between an address and its port in the clusters.
pub const PORT: &str = "\n                      port_value: ";

pub fn envoy(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = local(free_port());
    let listener = "address: '0.0.0.0'\n          port_value: 8443";
    let own = format!("address: '127.0.0.1'\n          port_value: {}", address.port());
    let mut text = replaced(text, &[(listener, &own)]);
    for (name, port, upstream) in [
        ("nextcloud", 80, upstreams.application),
        ("authelia", 9091, upstreams.login),
        ("curfew", 9180, upstreams.check),
        ("curfew", 9183, upstreams.browser),
    ] {
        let from = format!("address: '{name}'{PORT}{port}\n");
        let to = format!("address: '{}'{PORT}{}\n", upstream.ip(), upstream.port());
        text = text.replace(&from, &to);
    }
    Proxy::start(
        address,
        Command::new(installed("envoy")).args([
            "--config-path",
            "envoy.yaml",
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
        ]),
        &[("envoy.yaml", &text)],
    )
}

/// Debian's.
pub fn haproxy_2_6(text: &str, upstreams: &Upstreams) -> Proxy {
    haproxy(Path::new("haproxy"), text, upstreams)
}

/// A newer one.
pub fn haproxy_2_8(text: &str, upstreams: &Upstreams) -> Proxy {
    haproxy(&installed("haproxy"), text, upstreams)
}

/// With haproxy-auth-request as haproxy-ingress ships it; its action `auth-intercept` is the same.
fn haproxy(program: &Path, text: &str, upstreams: &Upstreams) -> Proxy {
    let address = local(free_port());
    let folder = installed("haproxy-ingress");
    let lua = folder.to_str().unwrap();
    let text = replaced(
        &with_addresses(text, upstreams),
        &[
            ("*:443 ssl crt example.com.pem", &address.to_string()),
            ("/usr/local/etc/haproxy/?/http.lua", &format!("{lua}/?.lua")),
            ("/usr/local/etc/haproxy/auth-request.lua", &format!("{lua}/auth-request.lua")),
        ],
    );
    Proxy::start(
        address,
        Command::new(program).args(["-db", "-f", "haproxy.cfg"]),
        &[("haproxy.cfg", &text)],
    )
}
