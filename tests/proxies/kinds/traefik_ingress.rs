//! Traefik, which reads the annotations of ingress-nginx with its provider `kubernetesIngressNGINX`. A fake Kubernetes
//! API server returns the objects of `deploy/traefik/ingress-nginx.yaml`.

use super::{Proxy, ProxyServer, Upstreams};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::deployment::read_deploy_file;
use crate::support::traefik_ingress;

pub fn start(upstreams: &Upstreams) -> Proxy {
    // Without a host, the Ingress serves every host.
    let manifest = read_deploy_file("traefik/ingress-nginx.yaml");
    let manifest = upstreams.with_mistake(&manifest);
    let for_every_host = manifest.replace("- host: app.example.com\n      http:", "- http:");
    let manifest = match upstreams.public {
        None => for_every_host,
        Some(_) => with_two_hosts(&manifest),
    };
    let policy = upstreams
        .policy
        .map_or(String::new(), |policy| format!("/policy/{policy}"));
    let path = format!("{policy}/forward-auth");
    let mut backends = vec![("application", 80, upstreams.application)];
    backends.extend(upstreams.public.map(|public| ("public", 80, public)));
    backends.extend(
        upstreams
            .streams
            .map(|streams| ("curfew-proxy", 9184, streams)),
    );
    let manifest = match upstreams.streams {
        None => manifest,
        Some(_) => with_streams(&manifest),
    };
    let (address, server) =
        traefik_ingress::start(&manifest, upstreams.listeners(), &path, &backends);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Server(server),
    }
}

/// Returns the manifest with the canary Ingress of `deploy/nginx/ingress-streams.yaml`, and an Ingress for the event
/// streams below `/events`, as docs/streams.md describes.
fn with_streams(manifest: &str) -> String {
    let streams = read_deploy_file("nginx/ingress-streams.yaml");
    // The test defines the service with its address.
    let (canary, _) = streams.split_once("\n---\n").unwrap();
    let (application, _) = manifest.split_once("\n---\n").unwrap();
    let events = application
        .replace("name: application-traefik\n", "name: curfew-proxy\n")
        .replace("name: application\n", "name: curfew-proxy\n")
        .replace("number: 80", "number: 9184")
        .replace("path: /\n", "path: /events\n");
    let canary = canary.replace("- host: app.example.com\n      http:", "- http:");
    [&*canary, &events, manifest].join("\n---\n")
}

/// Returns the manifest with one Ingress for each host.
fn with_two_hosts(manifest: &str) -> String {
    let (first, rest) = manifest.split_once("\n---\n").unwrap();
    let host_section = |name: &str, host: &str| {
        first
            .replace("name: application", &format!("name: {name}"))
            .replace("app.example.com", host)
    };
    [
        &*host_section("application", PRIVATE_HOST),
        &host_section("public", PUBLIC_HOST),
        rest,
    ]
    .join("\n---\n")
}
