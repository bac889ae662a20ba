//! The controller haproxy-ingress with a real HAProxy.

use std::process::Command;

use serde_json::json;
use yaml_rust2::YamlLoader;

use super::super::{Proxy, ProxyServer, Upstreams};
use super::{Installation, read_file, with_hosts};
use crate::support::deployment::{Server, installed_path};
use crate::support::kube_api::yaml_to_json;
use crate::support::kubectl::{apply, run_path};
use crate::support::{free_port, loopback, repository_root};

/// The name of the application's object.
const APPLICATION: &str = "\n  name: application-haproxy\n";

/// Creates the files that the controller's image contains, and runs the controller.
const LAY_OUT_AND_RUN: &str = r#"
mkdir -p etc/haproxy/lua etc/haproxy/maps var/lib/haproxy var/run/haproxy
cp -r "$CLUSTER/rootfs" rootfs
cp rootfs/etc/lua/*.lua "$LUA/json.lua" etc/haproxy/lua
exec "$CLUSTER/bin/haproxy-ingress" --local-filesystem-prefix="$PWD" "$@"
"#;

pub fn start(upstreams: &Upstreams) -> Proxy {
    let manifest = read_file("haproxy/ingress.yaml", upstreams);
    let installation = Installation::new();
    let name = installation.application.clone();
    let address = loopback(free_port());
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": name },
        "spec": { "controller": format!("haproxy-ingress.github.io/controller/{name}") },
    });
    let settings = settings(&manifest, &name, address.port());
    apply(&format!("{class}\n---\n{settings}")).unwrap();
    let of_class = with_hosts(&manifest, &[APPLICATION], upstreams).replace(
        "ingressClassName: haproxy\n",
        &format!("ingressClassName: {name}\n"),
    );
    installation.install(&of_class, upstreams);
    let health = loopback(free_port());
    let server = Server::start(
        Command::new("sh")
            .args(["-c", LAY_OUT_AND_RUN, "sh"])
            .args([
                &format!(
                    "--kubeconfig={}",
                    run_path("haproxy-ingress.yaml").display()
                ),
                &format!("--configmap=controllers/{name}"),
                &format!("--controller-class={name}"),
                &format!("--healthz-addr={health}"),
                "--publish-address=192.0.2.10",
                "--master-worker",
                "--watch-gateway=false",
            ])
            .env("CLUSTER", repository_root().join("target/cluster"))
            .env("LUA", installed_path("haproxy-ingress"))
            .env("POD_NAME", "haproxy-ingress")
            .env("POD_NAMESPACE", "controllers"),
        &[],
        &[address],
    );
    installation.wait_until_known(address, upstreams);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Cluster(vec![server], installation),
    }
}

/// The ConfigMap of the controller: the settings of the file, and ports that no other test uses.
fn settings(manifest: &str, name: &str, port: u16) -> serde_json::Value {
    let documents = YamlLoader::load_from_str(manifest).unwrap();
    let mut maps = documents.iter().map(yaml_to_json);
    let mut map = maps.find(|it| it["kind"] == "ConfigMap").unwrap();
    map["metadata"] = json!({ "name": name, "namespace": "controllers" });
    let data = &mut map["data"];
    data["http-port"] = json!(port.to_string());
    for key in [
        "https-port",
        "stats-port",
        "healthz-port",
        "prometheus-port",
    ] {
        data[key] = json!(free_port().to_string());
    }
    data["ssl-redirect"] = json!("false");
    map
}
