//! Tests the proxy files of version 0.1 with this version of Curfew: their checks, and the hints for operators.

use std::net::SocketAddr;
use std::process::Command;

use super::*;
use crate::support::deployment::{Server, envoy_address, installed_path, replace_once};
use crate::support::{eventually, free_port, loopback};

const ROUTE_HINT: &str =
    "Route /.curfew/, /oidc/, /ssf/ and /.well-known/jwks.json to the browser listener";

/// A proxy with its file of version 0.1.
enum OldProxy {
    Nginx(Nginx),
    Server(
        SocketAddr,
        #[expect(
            dead_code,
            reason = "holds the server, which stops when the value is dropped"
        )]
        Server,
    ),
}

fn read_old_file(name: &str) -> String {
    let path = format!("{}/tests/old/0.1/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

impl OldProxy {
    fn start(name: &str, curfew: &Curfew, application: SocketAddr) -> Self {
        let address = loopback(free_port());
        let check = curfew.check.to_string();
        let application_address = ("application:3000", application.to_string());
        match name {
            "NGINX" => {
                let file = replace_once(
                    &read_old_file("nginx-curfew.conf"),
                    &[("curfew:9180", check), application_address],
                );
                Self::Nginx(Nginx::start_with_configuration(&file, ""))
            }
            "Traefik" => {
                let static_configuration = replace_once(
                    &read_old_file("traefik-traefik.yaml"),
                    &[("address: :8080", format!("address: {address}"))],
                );
                let dynamic_configuration =
                    read_old_file("traefik-curfew.yaml").replace("curfew:9180", &check);
                let dynamic_configuration =
                    replace_once(&dynamic_configuration, &[application_address]);
                let files = [
                    ("traefik.yaml", &*static_configuration),
                    ("curfew.yaml", &*dynamic_configuration),
                ];
                let mut command = Command::new(installed_path("bin/traefik"));
                command.arg("--configFile=traefik.yaml");
                Self::Server(address, Server::start(&mut command, &files, &[address]))
            }
            "Caddy" => {
                let file = read_old_file("caddy-Caddyfile")
                    .replace("curfew:9180", &check)
                    .replace(application_address.0, &application_address.1)
                    .replace("\tservers {", "\tadmin off\n\tservers {")
                    .replace(
                        ":8080 {",
                        &format!(":{} {{\n\tbind 127.0.0.1", address.port()),
                    );
                let mut command = Command::new(installed_path("bin/caddy"));
                command.args(["run", "--config", "Caddyfile"]);
                Self::Server(
                    address,
                    Server::start(&mut command, &[("Caddyfile", &file)], &[address]),
                )
            }
            "Envoy" => {
                let file = read_old_file("envoy-http.yaml")
                    .replace(
                        "address: curfew, port_value: 9180",
                        &envoy_address(curfew.check),
                    )
                    .replace(
                        "address: application, port_value: 3000",
                        &envoy_address(application),
                    )
                    .replace(
                        "address: 0.0.0.0, port_value: 8080",
                        &envoy_address(address),
                    );
                Self::Server(address, Server::envoy(&file, &[address]))
            }
            _ => {
                let file = read_old_file("haproxy-haproxy.cfg")
                    .replace("curfew:9180", &check)
                    .replace("curfew:9182", &curfew.spoe.unwrap().to_string())
                    .replace(application_address.0, &application_address.1)
                    .replace("bind :8080", &format!("bind {address}"));
                let spoe = read_old_file("haproxy-curfew-spoe.conf");
                let files = [("haproxy.cfg", &*file), ("curfew-spoe.conf", &*spoe)];
                let mut command = Command::new("haproxy");
                command.args(["-db", "-f", "haproxy.cfg"]);
                Self::Server(address, Server::start(&mut command, &files, &[address]))
            }
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Nginx(nginx) => nginx.address,
            Self::Server(address, _) => *address,
        }
    }
}

/// Checks work with the old files. The files do not route the pages for browsers to the browser listener, so these
/// pages are missing. The log reports the missing routes, with the port of the browser listener.
#[tokio::test]
async fn old_proxy_files_work_and_missing_routes_are_logged() {
    for name in ["NGINX", "Traefik", "Caddy", "Envoy", "HAProxy"] {
        let curfew = Setup::memory().set("LISTEN__SPOE", "127.0.0.1:0").start();
        let backend = Backend::start().await;
        let proxy = OldProxy::start(name, &curfew, backend.address);
        let session = curfew.sign_in("alice").await;
        let get_page = async |path: &str, cookie: &str| {
            let request = client().get(format!("http://{}{path}", proxy.address()));
            let request = request
                .header("host", "app.example.com")
                .header("cookie", cookie);
            request.send().await.unwrap()
        };
        eventually("the proxy is ready", async || {
            get_page("/", &session.cookie()).await.status() == 200
        })
        .await;
        assert_eq!(get_page("/", "a=b").await.status(), 401, "{name}");
        let page = get_page("/.curfew/session", &session.cookie()).await;
        assert_eq!(page.status(), 404, "{name}");
        let page_text = page.text().await.unwrap();
        assert!(
            page_text.contains(ROUTE_HINT) && page_text.contains("port 9183"),
            "{name}: {page_text}"
        );
        // Curfew writes the log line a moment after it answers.
        eventually("the log names the missing routes", async || {
            curfew
                .log()
                .contains("request for a path that the check listener does not serve")
        })
        .await;
        let log = curfew.log();
        assert!(log.contains("listen.browser, port 9183"), "{name}: {log}");
        let (_, metrics) = curfew.get_ops("/metrics").await;
        assert!(
            metrics.contains("curfew_unknown_paths_total{class=\"browser\"} 1"),
            "{name}"
        );
    }
}

/// The old file forwards `X-Forwarded-Uri` from clients, but Curfew rejects this header. So Curfew denies requests with
/// this header, and the log names the fix.
#[tokio::test]
async fn the_old_nginx_file_forwards_forged_headers_and_curfew_denies_them() {
    let curfew = Setup::memory().start();
    let backend = Backend::start().await;
    let nginx = OldProxy::start("NGINX", &curfew, backend.address);
    let session = curfew.sign_in("alice").await;
    let request = client()
        .get(format!("http://{}/", nginx.address()))
        .header("cookie", session.cookie())
        .header("x-forwarded-uri", "/");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["x-session-reason"], "malformed_request");
    let warning = "use /forward-auth, or clear the header in the proxy";
    eventually("the log names the fix", async || {
        let log = curfew.log();
        log.contains("proxy misconfigured") && log.contains(warning)
    })
    .await;
}
