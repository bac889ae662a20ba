//! What only a real Kubernetes API server can show. `scripts/cluster.sh` starts one, and runs these tests one after the
//! other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use curfew_testkit as support;

mod admission;
mod definitions;
mod identity;
mod manifests;
mod rights;
mod service_account;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use support::deployment::installed_path;

/// Runs a tool of Kubernetes with this standard input.
fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let hint = "run scripts/cluster.sh, which starts an API server";
    assert!(std::env::var_os("KUBECONFIG").is_some(), "{hint}");
    let mut process = Command::new(installed_path(program))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
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
fn try_kubectl(arguments: &[&str], input: &str) -> Result<String, String> {
    let output = run("kubectl", arguments, input);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Runs kubectl with this standard input, and returns its output.
fn kubectl(arguments: &[&str], input: &str) -> String {
    try_kubectl(arguments, input).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Creates a namespace with labels, or replaces its labels.
fn put_namespace(name: &str, labels: &str) {
    let manifest = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}"
    );
    kubectl(&["apply", "--server-side", "-f", "-"], &manifest);
}

/// Creates or replaces the objects of a manifest. Returns the error of the server if it refuses one.
fn apply(manifest: &str) -> Result<String, String> {
    try_kubectl(
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        manifest,
    )
}

/// Asks the server whether it would accept the objects of a manifest.
fn dry_run(manifest: &str) -> Result<String, String> {
    let arguments = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
    try_kubectl(&arguments, manifest)
}

/// Calls `attempt` until it returns true: the server needs a moment until a new object has an effect.
fn wait_until(what: &str, attempt: impl Fn() -> bool) {
    for _ in 0..300 {
        if attempt() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("timeout: {what}");
}

/// Removes an object when the test ends, also if it fails.
struct Removed(&'static [&'static str]);

impl Drop for Removed {
    fn drop(&mut self) {
        let arguments = [&["delete", "--ignore-not-found"], self.0].concat();
        let _ = try_kubectl(&arguments, "");
    }
}
