//! The command that operators try their own installation with.

use std::process::Command;

use crate::bench::Bench;
use crate::fleet::HOST;

pub async fn finds_no_fault(bench: &mut Bench) {
    let port = bench.proxy.address.port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
    command
        .args([
            "probe",
            &format!("http://{HOST}:{port}/"),
            "--address",
            "127.0.0.1",
        ])
        .args(["--api", &format!("http://{HOST}:{port}/api/orders")])
        .args(["--subject", "probe", "--age"])
        .env("CURFEW_ADMIN_URL", format!("http://{}", bench.curfew.admin))
        .env("CURFEW_ADMIN_TOKEN", &bench.curfew.admin_token);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = run.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    bench.backend.take();
}
