//! Runs the tools of Kubernetes, in the cluster that `scripts/cluster.sh` starts.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::deployment::installed_path;

const HINT: &str = "run scripts/cluster.sh, which starts a cluster";

/// Whether the tests have a cluster.
pub fn has_cluster() -> bool {
    std::env::var_os("CURFEW_TEST_CLUSTER").is_some()
}

/// Returns the path of a file in the directory of the running cluster: keys, kubeconfigs, logs.
pub fn run_path(name: &str) -> PathBuf {
    let directory = std::env::var_os("run").expect(HINT);
    PathBuf::from(directory).join(name)
}

/// Runs a tool with this standard input.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    // Without a cluster of the tests, kubectl would use that of the user.
    assert!(has_cluster(), "{HINT}");
    let mut process = Command::new(installed_path(program))
        .current_dir(crate::repository_root())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_owned();
    // The program can end before it has read all.
    let writing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

/// Runs kubectl. Returns the output, or else the error.
pub fn try_kubectl(arguments: &[&str], input: &str) -> Result<String, String> {
    let output = run("kubectl", arguments, input);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Runs kubectl with this standard input, and returns its output.
pub fn kubectl(arguments: &[&str], input: &str) -> String {
    try_kubectl(arguments, input).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Creates or replaces the objects of a manifest. Returns the error of the server if it refuses one.
pub fn apply(manifest: &str) -> Result<String, String> {
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    try_kubectl(&arguments, manifest)
}

/// Creates a namespace with labels, or replaces its labels.
pub fn put_namespace(name: &str, labels: &str) {
    let manifest = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}"
    );
    apply(&manifest).unwrap();
}

/// Calls `attempt` until it returns true: a new object needs a moment until it has an effect.
pub fn wait_until(what: &str, attempt: impl Fn() -> bool) {
    for _ in 0..600 {
        if attempt() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("timeout: {what}");
}

/// The address of all pods. It leads to the loopback address: the servers of the tests are processes of this machine.
const POD: &str = "192.0.2.10";

/// A Service, and the EndpointSlice that leads to the servers of its ports.
pub fn service(namespace: &str, name: &str, ports: &[(&str, u16, SocketAddr)]) -> [Value; 2] {
    let port = |name: &str, number: u16| {
        let protocol = (name == "grpc").then_some("kubernetes.io/h2c");
        json!({ "name": name, "port": number, "appProtocol": protocol })
    };
    let of_service = ports.iter().map(|(name, number, _)| port(name, *number));
    let of_pod = ports
        .iter()
        .map(|(name, _, address)| port(name, address.port()));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
        "spec": { "ports": of_service.collect::<Vec<_>>() },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-1"), "namespace": namespace, "labels": { "kubernetes.io/service-name": name },
        },
        "addressType": "IPv4", "ports": of_pod.collect::<Vec<_>>(),
        "endpoints": [{ "addresses": [POD], "conditions": { "ready": true } }],
    });
    [service, slice]
}
