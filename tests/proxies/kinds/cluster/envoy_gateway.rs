//! Envoy Gateway with a real Envoy. One controller serves all tests.

use super::super::{Proxy, ProxyServer, Upstreams};
use super::{Installation, read_file, with_hosts, without};
use crate::support::{free_port, loopback};

/// The name of the application's route, in the route itself and in the reference of a SecurityPolicy.
const APPLICATION: [&str; 2] = ["\n  name: application\n", "\n      name: application\n"];

pub fn start_http(upstreams: &Upstreams) -> Proxy {
    let manifest = read_file("gateway-api/envoy-gateway.yaml", upstreams);
    // The application's route has the check over HTTP, and the one over gRPC is left out.
    let manifest = without(&manifest, "SecurityPolicy", "curfew-grpc");
    let mut manifest = without(&manifest, "HTTPRoute", "application-grpc");
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
    let manifest = without(&manifest, "SecurityPolicy", "curfew-http");
    let manifest = without(&manifest, "HTTPRoute", "application-grpc");
    // The check over gRPC is for the application's route.
    let policy = upstreams.policy.unwrap_or("default");
    let manifest = manifest
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
    let manifest = with_hosts(manifest, &APPLICATION, upstreams);
    installation.install(&format!("{gateway}---\n{manifest}"), upstreams);
    installation.wait_until_known(address, upstreams);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Objects(installation),
    }
}
