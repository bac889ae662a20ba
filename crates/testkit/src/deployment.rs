//! Runs servers with the files of `deploy/`. The tests change only settings that users change too, such as addresses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ::curfew::clock::Stopwatch;
use tempfile::TempDir;

use super::{signal, wait_for_listener};

/// Returns the text of a file of `deploy/`.
pub fn read_deploy_file(file: &str) -> String {
    let path = crate::repository_root().join("deploy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the text of a file that `curfew render` prints for this idle limit and the default addresses. With
/// `ends_streams`, the file sends streams to Curfew, and includes the further files of the proxy for this.
pub fn render_file(
    proxy: ::curfew::render::Proxy,
    name: &str,
    idle: Duration,
    ends_streams: bool,
) -> String {
    let limits = ::curfew::render::RenderLimits {
        idle: Some(idle),
        absolute: idle * 4,
    };
    let mut addresses = ::curfew::render::RenderAddresses::default();
    if ends_streams {
        addresses.streams = Some(::curfew::render::DEFAULT_PROXY.to_owned());
    }
    let files = ::curfew::render::render(
        proxy,
        &addresses,
        &limits,
        ::curfew::deploy_files::deploy_file,
    );
    let files = files.unwrap().into_iter();
    let is_included = |file: &str| file == name || file == "streams.conf";
    files
        .filter(|file| is_included(file.name))
        .map(|file| file.text)
        .collect()
}

/// Replaces texts in `text`. `replacements` contains pairs: a text to replace and the new text. Panics unless each text
/// to replace occurs exactly once.
pub fn replace_once(text: &str, replacements: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in replacements {
        assert_eq!(
            text.matches(from).count(),
            1,
            "{from} must be in the file exactly once"
        );
        text = text.replace(from, to);
    }
    text
}

/// Returns an address in the format of Envoy's configuration.
pub fn envoy_address(address: SocketAddr) -> String {
    format!("address: {}, port_value: {}", address.ip(), address.port())
}

/// Removes the comment sign from the lines after the comment `marker`, as `curfew render` does. Panics if there is no such comment.
pub fn uncomment(text: &str, marker: &str) -> String {
    let uncommented = ::curfew::render::uncomment(text, marker);
    assert_ne!(uncommented, text, "no commented lines after {marker}");
    uncommented
}

/// A server process with its own directory, which contains the files and the log of the server.
pub struct Server {
    process: Child,
    directory: TempDir,
}

impl Server {
    /// Starts Envoy with this configuration.
    pub fn envoy(text: &str, addresses: &[SocketAddr]) -> Self {
        let mut command = Command::new(installed_path("envoy"));
        command.args(["--config-path", "envoy.yaml", "--use-dynamic-base-id"]);
        command.args(["--concurrency", "1", "--file-flush-interval-msec", "50"]);
        Self::start(&mut command, &[("envoy.yaml", text)], addresses)
    }

    /// Starts `command` in a new directory with `files`, which can be in subdirectories, and waits until it listens on all of `addresses`.
    pub fn start(command: &mut Command, files: &[(&str, &str)], addresses: &[SocketAddr]) -> Self {
        // haproxy-ingress takes a dot in a directory for the beginning of a file extension.
        let directory = tempfile::Builder::new().prefix("server-").tempdir();
        let directory = directory.unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = command
            .current_dir(directory.path())
            .env("PATH", path_with_system_programs())
            .env("HOME", directory.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("could not start {command:?}: {error}; run scripts/test.sh")
            });
        let mut server = Self { process, directory };
        for address in addresses {
            let log = server.directory.path().join("log");
            let read_log = || std::fs::read_to_string(&log).unwrap_or_default();
            wait_for_listener(&mut server.process, *address, read_log);
        }
        server
    }

    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    /// Suspends the process with SIGSTOP: its connections stay open, and it answers no request. Works only for
    /// servers with one process.
    pub fn freeze(&self) {
        super::freeze(&self.process);
    }

    pub fn thaw(&self) {
        super::thaw(&self.process);
    }

    /// Returns the text of a file in the server's directory.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = |process: &mut Child| process.try_wait().is_ok_and(|ended| ended.is_none());
        // SIGTERM ends the worker processes too, but SIGKILL would leave them running.
        if running(&mut self.process) {
            signal(&self.process, "TERM");
        }
        let waited = Stopwatch::start();
        while running(&mut self.process) && waited.seconds() < 3.0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the path of a program that `scripts/test.sh` has installed in `target/proxies`.
pub fn installed_path(program: &str) -> PathBuf {
    let proxies = crate::repository_root().join("target/proxies");
    let path = proxies.join(program);
    assert!(
        path.exists(),
        "{} is missing: run scripts/test.sh",
        path.display()
    );
    path
}

/// Returns `PATH` with the directories in which Debian installs servers.
fn path_with_system_programs() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
