//! Runs a real Traefik with its provider `kubernetesIngressNGINX`, and a fake Kubernetes API server.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use super::deployment::{Server, installed_path, read_deploy_file};
use super::kube_api::{KubeApi, yaml_to_json};
use super::{Listeners, free_port, loopback};

/// Returns the command-line flags of Traefik, from the comments of a file in `deploy/`.
pub fn documented_flags(file: &str) -> Vec<String> {
    let file = read_deploy_file(file);
    let flags = file.lines().filter_map(|line| line.strip_prefix("#   --"));
    flags.map(|flag| format!("--{flag}")).collect()
}

/// Starts Traefik with the Ingresses of `manifest` and the check at `path`. `backends` contains the names, ports
/// and addresses of the other services.
pub fn start(
    manifest: &str,
    curfew: Listeners,
    path: &str,
    backends: &[(&str, u16, SocketAddr)],
) -> (SocketAddr, Server) {
    let address = loopback(free_port());
    let url = "http://curfew.curfew.svc.cluster.local:9180/forward-auth";
    let manifest = manifest.replace(url, &format!("http://{}{path}", curfew.check));
    let api = start_api(&manifest, curfew, backends);
    let mut arguments: Vec<String> = documented_flags("traefik/ingress-nginx.yaml");
    let middlewares = arguments
        .iter_mut()
        .find(|it| it.contains("file.filename="));
    *middlewares.unwrap() = "--providers.file.filename=no-identity.yaml".to_owned();
    arguments.push(format!("--entryPoints.web.address={address}"));
    arguments.push(format!(
        "--providers.kubernetesIngressNGINX.endpoint=http://{api}"
    ));
    let server = Server::start(
        Command::new(installed_path("bin/traefik"))
            .args(arguments)
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env_remove("KUBERNETES_SERVICE_PORT"),
        &[("no-identity.yaml", &middleware_file(&manifest))],
        &[address],
    );
    (address, server)
}

/// Starts the API server on its own thread, because Traefik calls it while the test waits for Traefik.
fn start_api(
    manifest: &str,
    curfew: Listeners,
    backends: &[(&str, u16, SocketAddr)],
) -> SocketAddr {
    let objects = manifest.to_owned();
    let mut services: Vec<(String, String, u16, SocketAddr)> = backends
        .iter()
        .map(|(name, port, address)| ("default".to_owned(), (*name).to_owned(), *port, *address))
        .collect();
    services.push((
        "curfew".to_owned(),
        "curfew".to_owned(),
        9183,
        curfew.browser,
    ));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async move {
            let api = KubeApi::start_stand_in().await;
            api.put(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": { "name": "nginx" }, "spec": { "controller": "k8s.io/ingress-nginx" },
            }));
            for (namespace, name, port, address) in services {
                api.put(json!({
                    "apiVersion": "v1", "kind": "Service",
                    "metadata": { "name": name, "namespace": namespace },
                    "spec": { "ports": [{ "port": port }] },
                }));
                api.put(json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {
                        "name": format!("{name}-1"), "namespace": namespace,
                        "labels": { "kubernetes.io/service-name": name },
                    },
                    "addressType": "IPv4",
                    "ports": [{ "name": "", "port": address.port() }],
                    "endpoints": [{ "addresses": [address.ip().to_string()] }],
                }));
            }
            api.apply(&objects);
            sender.send(api.address).unwrap();
            // The server runs until the test ends.
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

/// Returns the text of the configuration file that defines the middleware. The text is in a ConfigMap of `manifest`.
pub fn middleware_file(manifest: &str) -> String {
    let documents = yaml_rust2::YamlLoader::load_from_str(manifest).unwrap();
    let mut maps = documents
        .iter()
        .map(yaml_to_json)
        .filter(|it| it["kind"] == "ConfigMap");
    let map = maps
        .find(|it| it["metadata"]["name"] == "no-identity")
        .unwrap();
    map["data"]["no-identity.yaml"].as_str().unwrap().to_owned()
}
