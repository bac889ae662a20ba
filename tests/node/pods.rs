//! The pods of Curfew, and their processes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::NAMESPACE;
use crate::support::kubectl::kubectl;

/// The pods of Curfew that do not terminate.
pub fn list() -> Vec<Value> {
    let selector = "app.kubernetes.io/name=curfew";
    let arguments = [
        "get",
        "pods",
        "--namespace",
        NAMESPACE,
        "--selector",
        selector,
    ];
    let list = kubectl(&[&arguments[..], &["--output", "json"]].concat(), "");
    let mut list: Value = serde_json::from_str(&list).unwrap();
    let pods = list["items"].as_array_mut().unwrap();
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    std::mem::take(pods)
}

/// How many pods are ready.
pub fn count_ready() -> usize {
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
    };
    list().iter().filter(is_ready).count()
}

/// How often the containers of all pods started again.
pub fn count_restarts() -> u64 {
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
    list().iter().map(|pod| restarts(pod).unwrap_or(0)).sum()
}

/// A process of Curfew in a container.
pub struct Process(PathBuf);

impl Process {
    /// The processes of all pods. A process that starts or ends at the moment may be missing.
    pub fn list() -> Vec<Self> {
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
            if command == b"/usr/local/bin/curfew\0serve\0" {
                processes.push(Self(path));
            }
        }
        processes
    }

    /// A field of `/proc/PID/status`.
    pub fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(self.0.join("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The root directory of the container.
    pub fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// The mount options of a directory of the container.
    pub fn mount_options(&self, directory: &str) -> String {
        let mounts = std::fs::read_to_string(self.0.join("mounts")).unwrap();
        let mount = mounts
            .lines()
            .rfind(|line| line.split(' ').nth(1) == Some(directory));
        mount.unwrap().split(' ').nth(3).unwrap().to_owned()
    }

    pub fn signal(&self, name: &str) {
        let id = self.0.file_name().and_then(|name| name.to_str()).unwrap();
        let status = std::process::Command::new("kill")
            .args([&format!("-{name}"), id])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

/// Ends the process of the container of Redis without warning.
pub fn kill_redis() {
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let command = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        // The other servers have other ports.
        if command.starts_with("redis-server *:6379") && is_in_pod(&path, "/redis-") {
            Process(path).signal("KILL");
        }
    }
}

/// Whether the host name of a process, which is the name of its pod, starts with `prefix`.
fn is_in_pod(process: &Path, prefix: &str) -> bool {
    let name = std::fs::read_to_string(process.join("root/etc/hostname")).unwrap_or_default();
    format!("/{name}").starts_with(prefix) && !name.starts_with("redis-cluster")
}
