//! Controllers in the cluster that `scripts/cluster.sh` starts, each with its file of `deploy/`.

mod contour;
mod envoy_gateway;
mod haproxy_ingress;
mod traefik;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use yaml_rust2::YamlLoader;

use super::{DEFAULT_PROXY_KIND, HOST, ProxyKind, Upstreams};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::deployment::read_deploy_file;
use crate::support::kube_api::yaml_to_json;
use crate::support::kubectl::{apply, put_namespace, service, try_kubectl, wait_until};

/// The URL of the check in the files.
const CHECK_URL: &str = "http://curfew.curfew.svc.cluster.local:9180/forward-auth";

/// The columns of the matrix for controllers.
pub const CLUSTER_KINDS: [ProxyKind; 8] = [
    ProxyKind {
        name: "Traefik IngressRoute",
        start: traefik::start_ingress_route,
        ..TRAEFIK
    },
    ProxyKind {
        name: "Traefik Ingress",
        start: traefik::start_ingress,
        ..TRAEFIK
    },
    ProxyKind {
        name: "Traefik Gateway API",
        start: traefik::start_gateway_api,
        ..TRAEFIK
    },
    ProxyKind {
        name: "Traefik ingress-nginx",
        start: traefik::start_ingress_nginx,
        ..TRAEFIK
    },
    ProxyKind {
        name: "Envoy Gateway HTTP",
        start: envoy_gateway::start_http,
        contract: "ext-authz",
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "Envoy Gateway gRPC",
        start: envoy_gateway::start_grpc,
        contract: "ext-authz-grpc",
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "Contour",
        start: contour::start,
        contract: "ext-authz-grpc",
        down_status: 403,
        timeout_status: 403,
        ..DEFAULT_PROXY_KIND
    },
    ProxyKind {
        name: "haproxy-ingress controller",
        start: haproxy_ingress::start,
        contract: "forward-auth",
        timeout_status: 500,
        max_wait_seconds: 8.0,
        ..DEFAULT_PROXY_KIND
    },
];

const TRAEFIK: ProxyKind = ProxyKind {
    contract: "forward-auth",
    down_status: 500,
    timeout_status: 500,
    max_wait_seconds: 35.0,
    ..DEFAULT_PROXY_KIND
};

/// Numbers the installations, so that each has namespaces of its own.
static INSTALLATIONS: AtomicUsize = AtomicUsize::new(0);

/// The objects of one proxy: its file of `deploy/`, and the services behind it. They are removed when the test drops this.
pub struct Installation {
    /// The namespace of the application.
    application: String,
    /// The namespace of Curfew.
    curfew: String,
}

impl Drop for Installation {
    fn drop(&mut self) {
        let arguments = ["delete", "namespace", "--wait=false"];
        let namespaces = [&*self.application, &self.curfew];
        let _ = try_kubectl(&[&arguments[..], &namespaces].concat(), "");
        let class = [
            "delete",
            "ingressclass",
            "--ignore-not-found",
            &self.application,
        ];
        let _ = try_kubectl(&class, "");
    }
}

impl Installation {
    fn new() -> Self {
        let number = INSTALLATIONS.fetch_add(1, Ordering::Relaxed);
        let new = Self {
            application: format!("application-{number}"),
            curfew: format!("curfew-{number}"),
        };
        for namespace in [&new.application, &new.curfew] {
            put_namespace(namespace, &format!("proxy: {}", new.application));
        }
        new
    }

    /// Installs a manifest and the services that it names.
    fn install(&self, manifest: &str, upstreams: &Upstreams) {
        let policy = upstreams.policy.map(|policy| format!("/policy/{policy}"));
        let policy = policy.unwrap_or_default();
        let url = format!("http://{}{policy}/forward-auth", upstreams.check);
        let manifest = manifest
            .replace(CHECK_URL, &url)
            .replace(
                "namespace: curfew\n",
                &format!("namespace: {}\n", self.curfew),
            )
            .replace("default_", &format!("{}_", self.application))
            .replace(
                "namespace: default\n",
                &format!("namespace: {}\n", self.application),
            );
        let mut objects = self.services(upstreams);
        for document in YamlLoader::load_from_str(&manifest).unwrap() {
            let mut object = yaml_to_json(&document);
            // The files of a controller's configuration.
            if object["kind"] == "ConfigMap" {
                continue;
            }
            let namespace = &mut object["metadata"]["namespace"];
            if namespace.is_null() {
                *namespace = json!(self.application);
            }
            objects.push(object);
        }
        let objects: Vec<_> = objects.iter().map(Value::to_string).collect();
        apply(&objects.join("\n---\n")).unwrap();
    }

    /// Returns what the cluster says about the objects, for the report of a failure.
    pub fn describe(&self) -> String {
        let kinds =
            "ingresses,httproutes,securitypolicies,gateways,httpproxies,extensionservices,events";
        let arguments = [
            "get",
            kinds,
            "--namespace",
            &self.application,
            "--output=yaml",
        ];
        try_kubectl(&arguments, "").unwrap_or_else(|error| error)
    }

    fn services(&self, upstreams: &Upstreams) -> Vec<Value> {
        // With streams, the service of the application is Curfew's proxy listener.
        let application = upstreams.streams.unwrap_or(upstreams.application);
        let mut objects = Vec::from(service(
            &self.application,
            "application",
            &[("http", 80, application)],
        ));
        if let Some(public) = upstreams.public {
            objects.extend(service(
                &self.application,
                "public",
                &[("http", 80, public)],
            ));
        }
        let ports = [
            ("http", 9180, upstreams.check),
            ("grpc", 9181, upstreams.grpc),
            ("browser", 9183, upstreams.browser),
        ];
        for namespace in [&self.application, &self.curfew] {
            objects.extend(service(namespace, "curfew", &ports));
        }
        objects
    }

    /// Waits until the proxy knows the objects.
    fn wait_until_known(&self, address: SocketAddr, upstreams: &Upstreams) {
        let path = "/.curfew/warning.js";
        wait_until("the proxy knows the routes", || match upstreams.public {
            // Curfew answers such a request without a check. This thread must not wait for a check, because it records
            // the checks.
            None => status_of(address, HOST, path) == 200,
            // Here the application has the path, and nothing records the checks.
            Some(_) => [PRIVATE_HOST, PUBLIC_HOST]
                .into_iter()
                .all(|host| [200, 401].contains(&status_of(address, host, path))),
        });
    }
}

/// Sends a GET without waiting for anything but this proxy. Returns 0 if there is no answer.
fn status_of(address: SocketAddr, host: &str, path: &str) -> u16 {
    let send = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    };
    let head = send().unwrap_or_default();
    head.get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// Returns a file of `deploy/`, with the mistake of the test.
fn read_file(name: &str, upstreams: &Upstreams) -> String {
    upstreams.with_mistake(&read_deploy_file(name))
}

/// Returns the manifest without the object of this kind and name.
fn without(manifest: &str, kind: &str, name: &str) -> String {
    let (kind, name) = (format!("kind: {kind}\n"), format!("\n  name: {name}\n"));
    let documents: Vec<_> = manifest.split("\n---\n").collect();
    let mut rest = documents.clone();
    rest.retain(|document| !(document.contains(&kind) && document.contains(&name)));
    assert_eq!(rest.len() + 1, documents.len(), "{kind}{name}");
    rest.join("\n---\n")
}

/// The names in the objects of the application, and the names in their copies for the public host.
const PUBLIC_NAMES: [(&str, &str); 5] = [
    ("name: application-traefik\n", "name: public\n"),
    ("name: application-haproxy\n", "name: public\n"),
    ("name: application\n", "name: public\n"),
    ("name: curfew-http\n", "name: public-http\n"),
    ("name: curfew-grpc\n", "name: public-grpc\n"),
];

/// Returns the manifest for every host. If the test has a public host, each document that contains one of `markers` has
/// instead a copy for each of two hosts.
fn with_hosts(manifest: &str, markers: &[&str], upstreams: &Upstreams) -> String {
    let documents = manifest.split("\n---\n").flat_map(|document| {
        let is_of_application = markers.iter().any(|marker| document.contains(marker));
        if is_of_application && upstreams.public.is_some() {
            let public = document.replace("app.example.com", PUBLIC_HOST);
            let public = PUBLIC_NAMES
                .iter()
                .fold(public, |text, (from, to)| text.replace(from, to));
            return vec![document.replace("app.example.com", PRIVATE_HOST), public];
        }
        vec![
            document
                .replace("- host: app.example.com\n      http:", "- http:")
                .replace("  hostnames:\n    - app.example.com\n", ""),
        ]
    });
    documents.collect::<Vec<_>>().join("\n---\n")
}
