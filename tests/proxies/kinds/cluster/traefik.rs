//! Traefik with its providers for Kubernetes.

use std::process::Command;

use super::super::{Proxy, ProxyServer, Upstreams};
use super::{Installation, read_file, with_hosts};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::deployment::{Server, installed_path};
use crate::support::kubectl::{apply, run_path};
use crate::support::traefik_ingress::{documented_flags, middleware_file};
use crate::support::{free_port, loopback};

/// The name of the application's object.
const APPLICATION: &str = "\n  name: application-traefik\n";

/// The comment of the files about cookies of a delegated service.
const COOKIES: &str = "If Curfew asks another authorization service (`delegated`), list the cookies to return to the client.";

pub fn start_ingress_route(upstreams: &Upstreams) -> Proxy {
    let file = read_file("traefik/kubernetes.yaml", upstreams);
    let manifest = with_cookies(&file);
    let manifest = match upstreams.public {
        None => manifest.replace("Host(`app.example.com`) && ", ""),
        Some(_) => {
            let (first, rest) = manifest
                .split_once("kind: IngressRoute\nmetadata:\n  name: application\n")
                .unwrap();
            let (route, rest) = rest.split_once("\n---\n").unwrap();
            let of = |name: &str, host: &str| {
                format!("kind: IngressRoute\nmetadata:\n  name: {name}\n{route}")
                    .replace("app.example.com", host)
                    .replace("- name: application\n", &format!("- name: {name}\n"))
            };
            let (first_host, second_host) =
                (of("application", PRIVATE_HOST), of("public", PUBLIC_HOST));
            let rest = rest.replace("Host(`app.example.com`) && ", "");
            format!(
                "{first}{first_host}\n---\napiVersion: traefik.io/v1alpha1\n{second_host}\n---\n{rest}"
            )
        }
    };
    let provider = ["--providers.kubernetescrd=true".to_owned()];
    start(&manifest, "traefik/kubernetes.yaml", &provider, upstreams)
}

pub fn start_ingress(upstreams: &Upstreams) -> Proxy {
    let manifest = with_cookies(&read_file("traefik/ingress.yaml", upstreams));
    let manifest = with_hosts(&manifest, &[APPLICATION], upstreams);
    start(&manifest, "traefik/ingress.yaml", &[], upstreams)
}

pub fn start_gateway_api(upstreams: &Upstreams) -> Proxy {
    let manifest = with_cookies(&read_file("traefik/gateway-api.yaml", upstreams));
    let manifest = with_hosts(&manifest, &[APPLICATION], upstreams);
    let gateway = "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: web
spec:
  gatewayClassName: traefik
  listeners: [{ name: web, port: PORT, protocol: HTTP, allowedRoutes: { namespaces: { from: All } } }]
---
";
    start(
        &format!("{gateway}{manifest}"),
        "traefik/gateway-api.yaml",
        &[],
        upstreams,
    )
}

pub fn start_ingress_nginx(upstreams: &Upstreams) -> Proxy {
    let manifest = read_file("traefik/ingress-nginx.yaml", upstreams);
    let manifest = with_hosts(&manifest, &[APPLICATION], upstreams);
    start(&manifest, "traefik/ingress-nginx.yaml", &[], upstreams)
}

/// Names the cookies of the delegated service.
fn with_cookies(manifest: &str) -> String {
    crate::support::deployment::uncomment(manifest, COOKIES).replace(
        "- _oauth2_proxy\n",
        "- _oauth2_proxy\n      - _oauth2_proxy_1\n",
    )
}

/// The classes that the Ingresses name.
const CLASSES: &str = "
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: traefik}, spec: {controller: traefik.io/ingress-controller}}
";

/// Starts Traefik with the options in the comments of a file.
fn start(manifest: &str, file: &str, options: &[String], upstreams: &Upstreams) -> Proxy {
    // The tests of policies remove all classes.
    apply(CLASSES).unwrap();
    let installation = Installation::new();
    let address = loopback(free_port());
    installation.install(
        &manifest.replace("PORT", &address.port().to_string()),
        upstreams,
    );
    let mut arguments = documented_flags(file);
    arguments.extend_from_slice(options);
    let mut files = Vec::new();
    let middlewares;
    if let Some(option) = arguments
        .iter_mut()
        .find(|it| it.contains("file.filename="))
    {
        *option = "--providers.file.filename=no-identity.yaml".to_owned();
        middlewares = middleware_file(manifest);
        files.push(("no-identity.yaml", &*middlewares));
    }
    let namespaces = format!("{},{}", installation.application, installation.curfew);
    for provider in ["kubernetescrd", "kubernetesingress", "kubernetesgateway"] {
        if arguments.contains(&format!("--providers.{provider}=true")) {
            arguments.push(format!("--providers.{provider}.namespaces={namespaces}"));
        }
    }
    if arguments.contains(&"--providers.kubernetesIngressNGINX=true".to_owned()) {
        let selector = format!("proxy={}", installation.application);
        arguments.push(format!(
            "--providers.kubernetesIngressNGINX.watchNamespaceSelector={selector}"
        ));
    }
    arguments.push(format!("--entryPoints.web.address={address}"));
    let server = Server::start(
        Command::new(installed_path("bin/traefik"))
            .args(arguments)
            .env("KUBECONFIG", run_path("traefik.yaml")),
        &files,
        &[address],
    );
    installation.wait_until_known(address, upstreams);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Cluster(vec![server], installation),
    }
}
