//! What only a real Kubernetes API server can show. `scripts/cluster.sh` starts one, and runs these tests one after the
//! other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use curfew_testkit as support;

mod admission;
mod definitions;
mod identity;
mod manifests;
mod named_routes;
mod rights;
mod service_account;

use support::kubectl::{apply, kubectl, put_namespace, run, try_kubectl, wait_until};

/// Asks the server whether it would accept the objects of a manifest.
fn dry_run(manifest: &str) -> Result<String, String> {
    let arguments = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
    try_kubectl(&arguments, manifest)
}

/// Removes an object when the test ends, also if it fails.
struct Removed(&'static [&'static str]);

impl Drop for Removed {
    fn drop(&mut self) {
        let arguments = [&["delete", "--ignore-not-found"], self.0].concat();
        let _ = try_kubectl(&arguments, "");
    }
}
