//! Runs the proxies in front of an application for the tests of sign-ins. Each proxy runs with its file of `deploy/`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::curfew::{Curfew, Setup};
use super::deployment::{
    Server, envoy_address, installed_path, read_deploy_file, replace_once, uncomment,
};
use super::nginx::Nginx;
use super::redis::RedisServer;
use super::{Listeners, free_port, loopback, traefik};

/// A proxy with which the tests of sign-ins run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontProxyKind {
    Nginx,
    Traefik,
    EnvoyHttp,
    EnvoyGrpc,
}

/// The addresses of the servers behind a proxy.
#[derive(Clone, Copy, Debug)]
pub struct FrontUpstreams {
    pub listeners: Listeners,
    /// Curfew's listener for checks over gRPC.
    pub grpc: SocketAddr,
    pub application: SocketAddr,
    /// The address of oauth2-proxy. If it is set, the proxy also has the files of `deploy/oauth2-proxy`.
    pub oauth2_proxy: Option<SocketAddr>,
}

impl FrontUpstreams {
    /// Chooses free addresses for a Curfew that starts later.
    pub fn free(application: SocketAddr) -> Self {
        Self {
            listeners: Listeners::free(),
            grpc: loopback(free_port()),
            application,
            oauth2_proxy: None,
        }
    }

    /// Starts Curfew behind the proxy, with this configuration file and further settings. The proxies of these tests have no
    /// TLS, so the cookie is not for TLS only.
    pub fn start_curfew(
        &self,
        redis: &RedisServer,
        file: &Path,
        settings: &[(&str, &str)],
    ) -> Curfew {
        let mut setup = Setup::redis(&redis.url())
            .config_file(file)
            .listen_on(self.listeners)
            .set("LISTEN__GRPC", &self.grpc.to_string())
            .set("COOKIE__SECURE", "false")
            .set("COOKIE__NAME", "session");
        for (key, value) in settings {
            setup = setup.set(key, value);
        }
        setup.declare_redis_new();
        setup.start()
    }
}

/// A running proxy.
pub struct FrontProxy {
    pub address: SocketAddr,
    _server: RunningServer,
}

enum RunningServer {
    Nginx { _nginx: Nginx },
    Other { _server: Server },
}

impl FrontProxy {
    pub fn start(kind: FrontProxyKind, upstreams: &FrontUpstreams) -> Self {
        match kind {
            FrontProxyKind::Nginx => Self::start_nginx(upstreams),
            FrontProxyKind::Traefik => Self::start_traefik(upstreams),
            FrontProxyKind::EnvoyHttp => {
                let check = upstreams.listeners.check;
                let replacements = [
                    ("uri: http://curfew:9180", format!("uri: http://{check}")),
                    ("address: curfew, port_value: 9180", envoy_address(check)),
                ];
                Self::start_envoy("http", &replacements, upstreams)
            }
            FrontProxyKind::EnvoyGrpc => {
                let grpc = envoy_address(upstreams.grpc);
                let replacements = [("address: curfew, port_value: 9181", grpc)];
                Self::start_envoy("grpc", &replacements, upstreams)
            }
        }
    }

    fn start_nginx(upstreams: &FrontUpstreams) -> Self {
        let before = "    location / {";
        let pages = upstreams.oauth2_proxy.map(|address| {
            let url = ("http://oauth2-proxy:4180", format!("http://{address}"));
            let pages = replace_once(&read_deploy_file("oauth2-proxy/nginx.conf"), &[url]);
            (before, format!("{pages}{before}"))
        });
        let nginx = Nginx::start_with_replacements(
            upstreams.listeners,
            upstreams.application,
            pages.as_slice(),
        );
        Self {
            address: nginx.address,
            _server: RunningServer::Nginx { _nginx: nginx },
        }
    }

    fn start_traefik(upstreams: &FrontUpstreams) -> Self {
        let (listeners, application) = (upstreams.listeners, upstreams.application);
        let (address, server) = match upstreams.oauth2_proxy {
            None => traefik::start(listeners, "/forward-auth", application),
            Some(oauth2_proxy) => start_traefik_with_oauth2_proxy(upstreams, oauth2_proxy),
        };
        Self {
            address,
            _server: RunningServer::Other { _server: server },
        }
    }

    /// Starts Envoy with a file of `deploy/envoy`. `replacements` sets the addresses of the check.
    fn start_envoy(
        file: &str,
        replacements: &[(&str, String)],
        upstreams: &FrontUpstreams,
    ) -> Self {
        let address = loopback(free_port());
        let text = replace_once(
            &read_deploy_file(&format!("envoy/{file}.yaml")),
            replacements,
        );
        let mut text = replace_once(
            &text,
            &[
                ("address: 0.0.0.0, port_value: 8080", envoy_address(address)),
                (
                    "address: curfew, port_value: 9183",
                    envoy_address(upstreams.listeners.browser),
                ),
                (
                    "address: application, port_value: 3000",
                    envoy_address(upstreams.application),
                ),
            ],
        );
        if let Some(oauth2_proxy) = upstreams.oauth2_proxy {
            let routes = read_deploy_file("oauth2-proxy/envoy-routes.yaml");
            let cluster = replace_once(
                &read_deploy_file("oauth2-proxy/envoy-cluster.yaml"),
                &[(
                    "address: oauth2-proxy, port_value: 4180",
                    envoy_address(oauth2_proxy),
                )],
            );
            let parts = [
                ("                      routes:\n", routes),
                ("  clusters:\n", cluster),
            ];
            let parts = parts.map(|(line, part)| (line, format!("{line}{part}")));
            text = replace_once(&text, &parts);
        }
        Self {
            address,
            _server: RunningServer::Other {
                _server: Server::envoy(&text, &[address]),
            },
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Starts Traefik with the files of `deploy/traefik` and the file of `deploy/oauth2-proxy` in one directory, and with
/// the changes that docs/logins/oauth2-proxy.md describes.
fn start_traefik_with_oauth2_proxy(
    upstreams: &FrontUpstreams,
    oauth2_proxy: SocketAddr,
) -> (SocketAddr, Server) {
    let address = loopback(free_port());
    let static_configuration = replace_once(
        &read_deploy_file("traefik/traefik.yaml"),
        &[
            ("address: :8080", format!("address: {address}")),
            ("filename: curfew.yaml", "directory: dynamic".to_owned()),
        ],
    );
    let configuration = uncomment(
        &read_deploy_file("traefik/curfew.yaml"),
        "If Curfew asks another authorization service (`delegated`), list the cookies to return to the client.",
    );
    let configuration = replace_once(
        &configuration,
        &[
            (
                "://curfew:9180/forward-auth",
                format!("://{}/forward-auth", upstreams.listeners.check),
            ),
            ("curfew:9183", upstreams.listeners.browser.to_string()),
            ("application:3000", upstreams.application.to_string()),
        ],
    );
    let pages = replace_once(
        &read_deploy_file("oauth2-proxy/traefik.yaml"),
        &[("oauth2-proxy:4180", oauth2_proxy.to_string())],
    );
    let server = Server::start(
        Command::new(installed_path("bin/traefik")).arg("--configFile=traefik.yaml"),
        &[
            ("traefik.yaml", &static_configuration),
            ("dynamic/curfew.yaml", &configuration),
            ("dynamic/oauth2-proxy.yaml", &pages),
        ],
        &[address],
    );
    (address, server)
}
