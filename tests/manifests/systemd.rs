//! Tests the systemd unit with the tools of systemd.

use std::process::{Command, Output};

use crate::support::deployment::read_deploy_file;

fn run_systemd_analyze(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_curfew");
    let unit = read_deploy_file("systemd/curfew.service");
    assert_eq!(unit.matches("/usr/local/bin/curfew ").count(), 1);
    let unit = unit.replace("/usr/local/bin/curfew ", &format!("{program} "));
    std::fs::write(directory.path().join("curfew.service"), unit).unwrap();
    Command::new("systemd-analyze")
        .args(arguments)
        .arg("./curfew.service")
        .current_dir(directory.path())
        .output()
        .unwrap()
}

#[test]
fn systemd_accepts_the_unit() {
    let output = run_systemd_analyze(&["verify", "--man=no"]);
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    // The tool also reports mistakes in other units of this machine.
    let unit_messages = messages
        .lines()
        .filter(|line| line.contains("curfew.service"));
    assert_eq!(unit_messages.collect::<Vec<_>>(), [""; 0]);
    assert!(output.status.success(), "{messages}");
}

/// The exposure level of the unit is at most 15. The level of the most restricted unit is 0, and the highest is 100.
#[test]
fn the_unit_is_restricted() {
    let output =
        run_systemd_analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"]);
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{messages}");
}
