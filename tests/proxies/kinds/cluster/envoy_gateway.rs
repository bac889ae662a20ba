//! Envoy Gateway with a real Envoy. One controller serves all tests.

use super::super::{Proxy, ProxyServer, Upstreams};
use super::{Installation, read_file, split};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::{free_port, loopback};

pub fn start_http(upstreams: &Upstreams) -> Proxy {
    let manifest = read_file("gateway-api/envoy-gateway.yaml", upstreams);
    // The application's route has the check over HTTP, and the one over gRPC is left out.
    let (_, rest) = split(&manifest, "SecurityPolicy", "curfew-grpc");
    let rest = rest.join("\n---\n");
    let (_, rest) = split(&rest, "HTTPRoute", "application-grpc");
    let mut manifest = rest.join("\n---\n");
    if let Some(policy) = upstreams.policy {
        manifest = manifest.replace(
            "path: /ext-authz\n",
            &format!("path: /policy/{policy}/ext-authz\n"),
        );
    }
    start(&manifest, upstreams)
}

pub fn start_grpc(upstreams: &Upstreams) -> Proxy {
    let manifest = read_file("gateway-api/envoy-gateway.yaml", upstreams);
    let (_, rest) = split(&manifest, "SecurityPolicy", "curfew-http");
    let rest = rest.join("\n---\n");
    let (_, rest) = split(&rest, "HTTPRoute", "application-grpc");
    // The check over gRPC is for the application's route.
    let policy = upstreams.policy.unwrap_or("default");
    let manifest = rest
        .join("\n---\n")
        .replace("name: application-grpc\n", "name: application\n")
        .replace("value: payments\n", &format!("value: {policy}\n"));
    start(&manifest, upstreams)
}

fn start(manifest: &str, upstreams: &Upstreams) -> Proxy {
    let installation = Installation::new();
    let address = loopback(free_port());
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: web
spec:
  gatewayClassName: envoy-gateway
  listeners: [{{ name: web, port: {}, protocol: HTTP }}]
",
        address.port()
    );
    let manifest = with_hosts(manifest, upstreams);
    installation.install(&format!("{gateway}---\n{manifest}"), upstreams);
    installation.wait_until_known(address, upstreams);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Objects(installation),
    }
}

fn with_hosts(manifest: &str, upstreams: &Upstreams) -> String {
    let hosts = "  hostnames:\n    - app.example.com\n";
    if upstreams.public.is_none() {
        return manifest.replace(hosts, "");
    }
    let documents = manifest.split("\n---\n").flat_map(|document| {
        let is_of_application = document.contains("\n      name: application\n")
            || document.contains("\n  name: application\n");
        match is_of_application {
            true => vec![
                document.replace("app.example.com", PRIVATE_HOST),
                document
                    .replace("app.example.com", PUBLIC_HOST)
                    .replace("  name: application\n", "  name: public\n")
                    .replace("- name: application\n", "- name: public\n")
                    .replace("  name: curfew-http\n", "  name: public-http\n")
                    .replace("  name: curfew-grpc\n", "  name: public-grpc\n"),
            ],
            false => vec![document.replace(hosts, "")],
        }
    });
    documents.collect::<Vec<_>>().join("\n---\n")
}
