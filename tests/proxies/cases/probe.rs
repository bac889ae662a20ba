//! Operators test their installation with `curfew probe`.

use std::process::{Command, Output};

use crate::bench::{Bench, RULED_HOST};
use crate::broken::BROKEN;

pub async fn finds_no_fault(bench: &mut Bench) {
    let api = format!("{}/api/orders", url(bench));
    let output = probe(bench, &[&["--api", &api][..], &SESSION].concat()).await;
    assert_passes(&output, "sessions end on time here");
    bench.restart_without_curfew(&[]);
    let output = probe(bench, &["--down"]).await;
    assert_passes(&output, "no request is served without a check here");
    bench.restart_with_replacements(&[]).await;
    bench.backend.take();
}

pub async fn finds_faults(bench: &mut Bench) {
    let of_this = |broken: &&crate::broken::Broken| broken.proxies.contains(&bench.kind.name);
    let broken: Vec<_> = BROKEN.iter().filter(of_this).collect();
    assert!(!broken.is_empty());
    for it in broken {
        let output = if it.down {
            bench.restart_without_curfew(it.replaced);
            probe(bench, &["--down"]).await
        } else {
            bench.restart_with_replacements(it.replaced).await;
            probe(bench, &SESSION).await
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{}: {said}", it.what);
        assert!(said.contains(it.finding), "{}: {said}", it.what);
    }
    bench.restart_with_replacements(&[]).await;
    bench.backend.take();
}

const SESSION: [&str; 5] = ["--subject", "probe", "--age", "--expect-text", "probe"];

fn url(bench: &Bench) -> String {
    format!("http://{RULED_HOST}:{}", bench.proxy.address.port())
}

async fn probe(bench: &Bench, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
    command
        .args(["probe", &format!("{}/who", url(bench))])
        .args(["--address", "127.0.0.1"])
        .args(more)
        .env("CURFEW_ADMIN_URL", format!("http://{}", bench.curfew.admin))
        .env("CURFEW_ADMIN_TOKEN", &bench.curfew.admin_token);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    run.await.unwrap()
}

fn assert_passes(output: &Output, last: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // The last line may report that the probe did not test the pages behind the sign-in.
    let end = said.lines().last().unwrap_or_default();
    assert!(end.starts_with(last), "{said}");
}
