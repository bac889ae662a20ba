//! What the black-box tests start and talk to: real servers, each on ports of its own.

pub mod backend;
pub mod cluster;
pub mod curfew;
pub mod deployed;
pub mod fault_proxy;
pub mod ingress_nginx;
pub mod issuer;
pub mod kube_api;
pub mod nginx;
pub mod redis;
pub mod sentinel;
pub mod shim;
pub mod tap;
pub mod tls;
pub mod traefik;
pub mod traefik_ingress;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ::curfew::clock::Stopwatch;

/// The directory of the repository.
pub fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).unwrap().to_owned()
}

/// The program `curfew`, as Cargo built it for the test that runs.
pub fn program() -> PathBuf {
    // target/PROFILE/deps/TEST
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("curfew");
    assert!(program.is_file(), "{} is not built", program.display());
    program
}

/// A port that nothing listens on. It is outside the range that the system takes ports for
/// outgoing connections from, so that a server can be stopped and started again on it.
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

pub const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// The two listeners of Curfew that proxies route to.
#[derive(Clone, Copy, Debug)]
pub struct Listeners {
    pub check: SocketAddr,
    pub browser: SocketAddr,
}

impl Listeners {
    /// For a Curfew that is started later.
    pub fn free() -> Self {
        Self {
            check: local(free_port()),
            browser: local(free_port()),
        }
    }
}

/// Waits until `condition` holds; `what` says what was waited for in vain.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = Stopwatch::start();
    while !condition().await {
        // On a machine with other work to do it takes longer, and waiting costs nothing.
        assert!(waited.seconds() < 90.0, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until something listens at `address`, or `process` has ended; `log` is what it said.
pub fn wait_for_listener(process: &mut Child, address: SocketAddr, log: impl Fn() -> String) {
    let waited = Stopwatch::start();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.try_wait().unwrap() {
            panic!("the server for {address} has ended: {status}\n{}", log());
        }
        assert!(waited.seconds() < 90.0, "nothing listens at {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal by name, such as `TERM`.
pub fn signal(process: &Child, name: &str) {
    let command = format!("kill -{name} {}", process.id());
    let status = Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Stops a process where it stands, and waits until all of its threads have: a thread that runs
/// while the signal is sent goes on for a moment.
pub fn freeze(process: &Child) {
    signal(process, "STOP");
    let tasks = format!("/proc/{}/task", process.id());
    let stopped = || {
        let mut tasks = std::fs::read_dir(&tasks).unwrap();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
            // The state follows the name, which is in brackets.
            stat.unwrap().rsplit_once(") ").unwrap().1.starts_with('T')
        })
    };
    let waited = Stopwatch::start();
    while !stopped() {
        assert!(waited.seconds() < 90.0, "it does not stop");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets a frozen process go on.
pub fn thaw(process: &Child) {
    signal(process, "CONT");
}

/// The current time, in milliseconds since the epoch: this machine's, and so Curfew's.
pub fn now() -> ::curfew::session::Timestamp {
    use ::curfew::clock::{Clock, SystemClock};
    SystemClock.now()
}
