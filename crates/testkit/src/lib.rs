//! Starts the real servers for the black-box tests. Each server listens on its own ports.

pub mod backend;
pub mod browser;
pub mod cluster;
pub mod curfew;
pub mod deployment;
pub mod fault_proxy;
pub mod front_proxy;
pub mod helm_values;
pub mod ingress_nginx;
pub mod issuer;
pub mod kube_api;
pub mod kubectl;
pub mod nginx;
pub mod recording_proxy;
pub mod redis;
pub mod sentinel;
pub mod shim;
pub mod sign_in_table;
pub mod tls;
pub mod traefik;
pub mod traefik_ingress;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ::curfew::clock::Stopwatch;

/// Returns the root directory of the repository.
pub fn repository_root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).unwrap().to_owned()
}

/// Returns the path of the program `curfew` that Cargo built for the current test.
pub fn program_path() -> PathBuf {
    // The test is target/PROFILE/deps/TEST, and the program is target/PROFILE/curfew.
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("curfew");
    assert!(program.is_file(), "{} is not built", program.display());
    program
}

/// Returns a port on which no process listens. The port is outside the range of ephemeral ports, so a server can stop
/// and start again on the same port.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(std::process::id() % 100).unwrap() * 100;
        let port = 20_000 + (start + offset) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// The two listeners of Curfew that proxies send requests to.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    pub check: SocketAddr,
    pub browser: SocketAddr,
}

impl Listeners {
    /// Returns free addresses for a Curfew that starts later.
    pub fn free() -> Self {
        Self {
            check: loopback(free_port()),
            browser: loopback(free_port()),
        }
    }
}

/// Waits until the function `condition` returns true. After the timeout, panics with the text `what`.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = Stopwatch::start();
    while !condition().await {
        // The timeout is long, because a busy machine is slow. A test that passes does not wait for the timeout.
        assert!(waited.seconds() < 90.0, "timeout: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a server listens on `address`. If `process` exits before that, or takes too long, panics with the text that
/// the function `log` returns.
pub fn wait_for_listener(process: &mut Child, address: SocketAddr, log: impl Fn() -> String) {
    let waited = Stopwatch::start();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.try_wait().unwrap() {
            panic!("the server for {address} exited: {status}\n{}", log());
        }
        let is_late = waited.seconds() > 90.0;
        assert!(!is_late, "nothing listens at {address}\n{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal by name, such as `TERM`.
pub fn signal(process: &Child, name: &str) {
    let command = format!("kill -{name} {}", process.id());
    let status = Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Sends SIGSTOP, and waits until all threads have stopped, because a thread can continue for a moment after the
/// signal.
pub fn freeze(process: &Child) {
    signal(process, "STOP");
    let tasks = format!("/proc/{}/task", process.id());
    let stopped = || {
        let mut tasks = std::fs::read_dir(&tasks).unwrap();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
            // In `stat`, the state follows the name, which is in parentheses.
            stat.unwrap().rsplit_once(") ").unwrap().1.starts_with('T')
        })
    };
    let waited = Stopwatch::start();
    while !stopped() {
        assert!(
            waited.seconds() < 90.0,
            "timeout: the process should stop after SIGSTOP"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends SIGCONT to a frozen process.
pub fn thaw(process: &Child) {
    signal(process, "CONT");
}

/// Returns the current time of this machine. Curfew runs on the same machine, so it has the same time.
pub fn now() -> ::curfew::session::Timestamp {
    use ::curfew::clock::{Clock, SystemClock};
    SystemClock.now()
}
