//! Tests the process with the signals and health checks of container runtimes, Kubernetes and systemd.

use std::os::unix::net::UnixDatagram;

use super::*;
use crate::support::curfew::Curfew;

fn run_healthcheck(curfew: &Curfew, extra_arguments: &[&str]) -> Output {
    let url = format!("http://{}", curfew.ops);
    let arguments = [&["healthcheck", "--url", &url], extra_arguments].concat();
    run_command(&Setup::memory(), &arguments)
}

/// After SIGTERM, the process is not ready, but still serves requests for a while. In this time, load balancers stop
/// sending requests to it.
#[tokio::test]
async fn the_process_stops_in_two_stages() {
    let setup = Setup::memory().set("SHUTDOWN_DELAY", "2s");
    let mut curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    assert!(run_healthcheck(&curfew, &[]).status.success());
    let url = format!("http://{}/auth-request", curfew.check);
    let check = async || {
        let request = client().get(&url).header("cookie", session.cookie());
        let request = request
            .header("x-original-url", "https://app.example.com/")
            .header("x-original-method", "GET");
        request.send().await.unwrap()
    };
    assert!(!check().await.headers().contains_key("connection"));
    curfew.signal("TERM");
    eventually("the process is not ready", async || {
        curfew.get_ops("/readyz").await.0 == 503
    })
    .await;
    let result = run_healthcheck(&curfew, &[]);
    assert_eq!(result.status.code(), Some(1));
    let errors = to_text(&result.stderr);
    assert!(
        errors.contains("/readyz: 503 Service Unavailable: draining"),
        "{errors}"
    );
    assert!(run_healthcheck(&curfew, &["--live"]).status.success());
    // The process still accepts new connections, and asks clients to leave after each answer.
    let answer = check().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["connection"], "close");
    assert!(curfew.wait_for_exit().await.success());
    let result = run_healthcheck(&curfew, &["--live"]);
    assert!(to_text(&result.stderr).contains("no answer from http"));
}

/// In a container, the health check takes the address from the configuration.
#[tokio::test]
async fn the_health_check_finds_the_service_by_its_configuration() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let setup = setup.set("LISTEN__OPS", &format!("0.0.0.0:{}", curfew.ops.port()));
    assert!(run_command(&setup, &["healthcheck"]).status.success());
    let invalid_setup_result = run_command(&setup.set("LISTEN__OPS", "nowhere"), &["healthcheck"]);
    assert!(
        to_text(&invalid_setup_result.stderr).contains("listen.ops"),
        "{invalid_setup_result:?}"
    );
}

#[tokio::test]
async fn systemd_receives_status_messages() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let receive_message = || {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        to_text(&bytes[..length])
    };
    // Returns the next message, without watchdog messages.
    let next_status = || loop {
        let line = receive_message();
        if line.trim() != "WATCHDOG=1" {
            return line;
        }
    };
    let curfew = Setup::memory()
        .set_variable("NOTIFY_SOCKET", path.to_str().unwrap())
        .set_variable("WATCHDOG_USEC", "300000")
        .start();
    assert_eq!(next_status(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(receive_message(), "WATCHDOG=1\n");
    }
    curfew.signal("HUP");
    let reload_message = next_status();
    assert!(
        reload_message.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reload_message}"
    );
    assert_eq!(next_status(), "READY=1\n");
    assert_eq!(curfew.get_ops("/readyz").await.0, 200);
    curfew.signal("TERM");
    assert_eq!(next_status(), "STOPPING=1\n");
    curfew.stop().await;
}

#[test]
fn the_version_output_contains_the_revision() {
    let short = to_text(&run_command(&Setup::memory(), &["-V"]).stdout);
    assert_eq!(short, format!("curfew {}\n", env!("CARGO_PKG_VERSION")));
    let long = to_text(&run_command(&Setup::memory(), &["--version"]).stdout);
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], short.trim_end());
    assert!(lines[1].starts_with("revision "), "{long}");
    assert!(lines[2].contains("-linux-"), "{long}");
    assert!(lines[3].contains("rustc 1."), "{long}");
}
