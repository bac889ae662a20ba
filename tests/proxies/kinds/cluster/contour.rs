//! Contour with a real Envoy.

use std::process::Command;

use super::super::{Proxy, ProxyServer, Upstreams};
use super::{Installation, read_file, with_hosts};
use crate::support::deployment::{Server, installed_path, uncomment};
use crate::support::kubectl::run_path;
use crate::support::{free_port, loopback, repository_root};

/// The name of the application's HTTPProxy.
const APPLICATION: &str = "\n  name: application\n";

/// Creates the first configuration of Envoy, which names the server of its whole configuration, and runs Envoy.
const RUN_ENVOY: &str = r#"
"$CONTOUR" bootstrap envoy.json --xds-address=127.0.0.1 --xds-port="$XDS_PORT" --admin-address="$PWD/admin"
exec "$ENVOY" --config-path envoy.json --service-cluster projectcontour --service-node envoy --use-dynamic-base-id \
  --concurrency 1 --file-flush-interval-msec 50
"#;

/// A route for the hosts that no HTTPProxy has.
const OTHER_HOSTS: &str = "
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: other-hosts }
spec: { defaultBackend: { service: { name: application, port: { number: 80 } } } }
";

pub fn start(upstreams: &Upstreams) -> Proxy {
    let mut manifest = read_file("contour/contour.yaml", upstreams);
    if let Some(policy) = upstreams.policy {
        manifest = uncomment(&manifest, "For another policy:")
            .replace("policy: payments", &format!("policy: {policy}"));
    }
    let installation = Installation::new();
    let (name, curfew) = (&installation.application, &installation.curfew);
    let settings = settings(&manifest).replace(
        "extensionService: curfew/",
        &format!("extensionService: {curfew}/"),
    );
    let address = loopback(free_port());
    let xds = loopback(free_port());
    let mut manifest = with_hosts(&manifest, &[APPLICATION], upstreams);
    if upstreams.public.is_none() {
        // An HTTPProxy cannot have all names.
        manifest = manifest.replace("fqdn: app.example.com", "fqdn: \"*.example.com\"");
        manifest.push_str(OTHER_HOSTS);
    }
    installation.install(&manifest, upstreams);
    let contour = repository_root().join("target/cluster/bin/contour");
    let mut command = Command::new(&contour);
    command.args([
        "serve",
        "--config-path=contour.yaml",
        "--insecure",
        "--disable-leader-election",
    ]);
    command.arg(format!(
        "--kubeconfig={}",
        run_path("contour.yaml").display()
    ));
    command.arg(format!("--watch-namespaces={name},{curfew}"));
    for listener in [
        "xds",
        "http",
        "health",
        "stats",
        "debug-http",
        "envoy-service-http",
        "envoy-service-https",
    ] {
        let port = match listener {
            "xds" => xds.port(),
            "envoy-service-http" => address.port(),
            _ => free_port(),
        };
        command.args([
            format!("--{listener}-address=127.0.0.1"),
            format!("--{listener}-port={port}"),
        ]);
    }
    command.env("CONTOUR_NAMESPACE", "controllers");
    let controller = Server::start(&mut command, &[("contour.yaml", &settings)], &[xds]);
    let envoy = Server::start(
        Command::new("sh")
            .args(["-c", RUN_ENVOY])
            .env("CONTOUR", contour)
            .env("ENVOY", installed_path("envoy"))
            .env("XDS_PORT", xds.port().to_string()),
        &[],
        &[address],
    );
    installation.wait_until_known(address, upstreams);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Cluster(vec![envoy, controller], installation),
    }
}

/// Returns the settings in the ConfigMap.
fn settings(manifest: &str) -> String {
    let (_, rest) = manifest.split_once("  contour.yaml: |\n").unwrap();
    let (settings, _) = rest.split_once("\n---\n").unwrap();
    settings
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap()))
        .collect()
}
