//! HAProxy uses the SPOE agent.

use std::process::Command;

use crate::support::curfew::Setup;
use crate::support::deployment::{Server, read_deploy_file, replace_once};
use crate::support::{eventually, free_port, loopback};

#[tokio::test]
async fn the_deployed_health_check_fails_while_draining() {
    let setup = Setup::memory().set("LISTEN__SPOE", "127.0.0.1:0");
    let mut curfew = setup.start();
    let address = loopback(free_port());
    let text = replace_once(
        &read_deploy_file("haproxy/haproxy.cfg"),
        &[
            ("bind :8080", format!("bind {address}")),
            ("curfew:9182", curfew.spoe.unwrap().to_string()),
            ("curfew:9183", curfew.browser.to_string()),
            ("application:3000", loopback(free_port()).to_string()),
            ("inter 2s fall 3", "inter 100ms fall 3".to_owned()),
        ],
    );
    let spoe = read_deploy_file("haproxy/curfew-spoe.conf");
    let haproxy = Server::start(
        Command::new("haproxy").args(["-db", "-f", "haproxy.cfg"]),
        &[("haproxy.cfg", &text), ("curfew-spoe.conf", &spoe)],
        &[address],
    );
    let health_check_count =
        |curfew: &crate::support::curfew::Curfew| curfew.log().matches("health check").count();
    eventually("HAProxy has checked a few times", async || {
        health_check_count(&curfew) > 5
    })
    .await;
    assert!(
        !haproxy
            .read("log")
            .contains("Server curfew/curfew1 is DOWN"),
        "{}",
        haproxy.read("log")
    );
    curfew.signal("KILL");
    curfew.wait_for_exit().await;
    eventually("HAProxy reports the server as down", async || {
        haproxy
            .read("log")
            .contains("Server curfew/curfew1 is DOWN")
    })
    .await;
}
