//! Curfew in pods: what only a node of a real cluster can show. `scripts/cluster.sh --node` starts one, and runs these tests
//! one after the other.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it saw"
)]

use curfew_testkit as support;

mod chart;
mod faults;
mod load;
mod overlays;
mod pods;

use std::process::Command;
use std::sync::LazyLock;

use support::kubectl::{kubectl, put_namespace, try_kubectl};
use tempfile::TempDir;

/// The namespace of Curfew in all installations.
const NAMESPACE: &str = "curfew";

/// The keys and the admin token of all installations: Redis keeps the records of the earlier ones.
static KEYS: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let keygen = Command::new(support::program_path())
        .args(["keygen", "--directory"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(keygen.status.success());
    directory
});

/// The namespace with the Secret that an installation needs. Dropping it removes the namespace and everything in it.
struct Namespace {
    admin_token: String,
}

impl Namespace {
    fn create() -> Self {
        put_namespace(
            NAMESPACE,
            "pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest",
        );
        let path = KEYS.path().to_str().unwrap();
        let files = ["keys", "admin-token-hashes"].map(|name| format!("--from-file={path}/{name}"));
        let arguments = [
            "create",
            "secret",
            "generic",
            "curfew",
            "--namespace",
            NAMESPACE,
        ];
        let password = [
            "--from-literal=redis-password=password",
            &files[0],
            &files[1],
        ];
        kubectl(&[&arguments[..], &password].concat(), "");
        let admin_token = std::fs::read_to_string(KEYS.path().join("admin-token")).unwrap();
        Self {
            admin_token: admin_token.trim().to_owned(),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let arguments = ["delete", "namespace", NAMESPACE, "--timeout=120s"];
        if let Err(error) = try_kubectl(&arguments, "") {
            println!("{error}");
        }
    }
}

/// Starts the Redis servers that the overlays name, unless they run.
fn start_redis() {
    kubectl(
        &["apply", "--server-side", "-f", "tests/node/redis.yaml"],
        "",
    );
    let arguments = [
        "--namespace",
        "redis",
        "--for=condition=Available",
        "--timeout=60s",
    ];
    kubectl(
        &[&["wait", "deployment", "--all"], &arguments[..]].concat(),
        "",
    );
}

/// Waits until all replicas of Curfew have the newest template and are ready.
fn wait_for_rollout() {
    let arguments = ["rollout", "status", "deployment/curfew", "--timeout=120s"];
    kubectl(&[&arguments[..], &["--namespace", NAMESPACE]].concat(), "");
}
