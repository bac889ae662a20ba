//! Operators test their installation with `curfew probe`.

use std::process::{Command, Output};

use crate::harness::{Harness, RULED_HOST};
use crate::mistakes::MISTAKES;

pub async fn finds_no_fault(harness: &mut Harness) {
    let api = format!("{}/api/orders", url(harness));
    let output = probe(
        harness,
        &[&["--api", &api][..], &SESSION_ARGUMENTS].concat(),
    )
    .await;
    assert_passes(&output, "sessions end on time here");
    harness.restart_without_curfew(&[]);
    let output = probe(harness, &["--down"]).await;
    assert_passes(&output, "no request is served without a check here");
    harness.restart_with_replacements(&[]).await;
    harness.backend.take();
}

pub async fn finds_faults(harness: &mut Harness) {
    let is_for_this_proxy =
        |mistake: &&crate::mistakes::Mistake| mistake.proxies.contains(&harness.kind.name);
    let mistakes: Vec<_> = MISTAKES.iter().filter(is_for_this_proxy).collect();
    assert!(!mistakes.is_empty());
    for mistake in mistakes {
        let output = if mistake.while_curfew_is_down {
            harness.restart_without_curfew(mistake.replacements);
            probe(harness, &["--down"]).await
        } else {
            harness
                .restart_with_replacements(mistake.replacements)
                .await;
            probe(harness, &SESSION_ARGUMENTS).await
        };
        let report = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{}: {report}", mistake.what);
        assert!(
            report.contains(mistake.finding),
            "{}: {report}",
            mistake.what
        );
    }
    harness.restart_with_replacements(&[]).await;
    harness.backend.take();
}

const SESSION_ARGUMENTS: [&str; 5] = ["--subject", "probe", "--age", "--expect-text", "probe"];

fn url(harness: &Harness) -> String {
    format!("http://{RULED_HOST}:{}", harness.proxy.address.port())
}

async fn probe(harness: &Harness, extra_arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
    command
        .args(["probe", &format!("{}/who", url(harness))])
        .args(["--address", "127.0.0.1"])
        .args(extra_arguments)
        .env(
            "CURFEW_ADMIN_URL",
            format!("http://{}", harness.curfew.admin),
        )
        .env("CURFEW_ADMIN_TOKEN", &harness.curfew.admin_token);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    output.await.unwrap()
}

fn assert_passes(output: &Output, expected_end: &str) {
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    // The last line may report that the probe did not test the pages behind the sign-in.
    let last_line = report.lines().last().unwrap_or_default();
    assert!(last_line.starts_with(expected_end), "{report}");
}
