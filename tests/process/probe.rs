//! `curfew probe` signs in with a form, and explains invalid options.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

#[test]
fn the_probe_signs_in_with_a_form() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_curfew"))
        .args(["demo", "--port", "0", "--idle", "2s", "--before", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let url = words.find(|word| word.starts_with("http://")).unwrap();
    let sign_in = format!("{}/sign-in", url.trim_end_matches('/'));
    let probe = |more: &[&str], form: Option<&str>| {
        let mut setup = Setup::memory();
        if let Some(form) = form {
            setup = setup.set_variable("CURFEW_PROBE_FORM", form);
        }
        run(
            &setup,
            &[&["probe", url, "--sign-in", &sign_in], more].concat(),
        )
    };
    let output = probe(
        &["--idle", "2s", "--expect-text", "zoe"],
        Some("subject=zoe"),
    );
    let (failed, out) = (text(&output.stderr), text(&output.stdout));
    let mut refused = probe(&["--idle", "2s"], Some("unknown=1"));
    let refused = text(&std::mem::take(&mut refused.stderr));
    let without = text(&probe(&["--idle", "2s"], None).stderr);
    let unlimited = text(&probe(&[], Some("subject=zoe")).stderr);
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(output.status.success(), "{out}{failed}");
    assert!(
        out.contains("ok    the page shows who is signed in: served, 200\n"),
        "{out}"
    );
    assert!(refused.contains("and no cookie"), "{refused}");
    assert!(
        without.contains("CURFEW_PROBE_FORM is needed with --sign-in"),
        "{without}"
    );
    assert!(
        unlimited.contains("--idle with --cookie or --sign-in"),
        "{unlimited}"
    );
}
