//! Runs real proxies with the text of a snippet. The tests replace the addresses and `...` in the text, and remove
//! TLS.

mod envoy;
mod haproxy;
mod traefik;

use std::net::SocketAddr;
use std::process::Command;

use crate::harness::Upstreams;
use crate::support::deployment::{Server, installed_path};
use crate::support::nginx::Nginx;
use crate::support::{free_port, loopback};

pub use envoy::{PORT_KEY, envoy};
pub use haproxy::{haproxy_2_6, haproxy_2_8};
pub use traefik::traefik;

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    server: ProxyServer,
}

enum ProxyServer {
    Server(Server),
    Nginx(Nginx),
}

impl Proxy {
    pub fn of(nginx: Nginx) -> Self {
        Self {
            address: nginx.address,
            server: ProxyServer::Nginx(nginx),
        }
    }

    fn start(address: SocketAddr, command: &mut Command, files: &[(&str, &str)]) -> Self {
        let server = Server::start(command, files, &[address]);
        Self {
            address,
            server: ProxyServer::Server(server),
        }
    }

    /// Returns the log of the proxy.
    pub fn log(&self) -> String {
        match &self.server {
            ProxyServer::Server(server) => server.read("log"),
            ProxyServer::Nginx(nginx) => nginx.error_log(),
        }
    }
}

/// Replaces each address in the text with the address of the corresponding test server.
fn replace_addresses(text: &str, upstreams: &Upstreams) -> String {
    let Upstreams {
        check,
        browser,
        application,
        login,
    } = upstreams;
    // Replaces addresses of 127.0.0.1 first, because the address of a test server could contain one of them.
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
    let replace =
        |text: String, (from, to): &(&str, &SocketAddr)| text.replace(from, &to.to_string());
    pairs.iter().fold(text.to_owned(), replace)
}

pub fn nginx(text: &str, upstreams: &Upstreams) -> Proxy {
    let text = replace_addresses(text, upstreams);
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
    Proxy::of(Nginx::start_with_configuration(&text, ""))
}

pub fn caddy(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = loopback(free_port());
    let lines = text.lines().map(|line| match line.strip_suffix(" {") {
        Some(host) if host.ends_with("example.com") && !host.contains(' ') => {
            format!("http://{host}:{} {{\n\tbind 127.0.0.1\n", address.port())
        }
        _ => format!("{line}\n"),
    });
    let sites: String = lines.collect();
    let file = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\n\n{}",
        replace_addresses(&sites, upstreams)
    );
    Proxy::start(
        address,
        Command::new(installed_path("bin/caddy")).args(["run", "--config", "Caddyfile"]),
        &[("Caddyfile", &file)],
    )
}
