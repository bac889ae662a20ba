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
    let mut backends = vec![("application", upstreams.application)];
    backends.extend(upstreams.public.map(|public| ("public", public)));
    let (address, server) =
        traefik_ingress::start(&manifest, upstreams.listeners(), &path, &backends);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Server(server),
    }
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
