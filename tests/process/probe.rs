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
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace();
    let url = words.find(|word| word.starts_with("http://")).unwrap();
    let sign_in = format!("{}/sign-in", url.trim_end_matches('/'));
    let run_probe = |extra_arguments: &[&str], form: Option<&str>| {
        let mut setup = Setup::memory();
        if let Some(form) = form {
            setup = setup.set_variable("CURFEW_PROBE_FORM", form);
        }
        run_command(
            &setup,
            &[&["probe", url, "--sign-in", &sign_in], extra_arguments].concat(),
        )
    };
    let output = run_probe(
        &["--idle", "2s", "--expect-text", "zoe"],
        Some("subject=zoe"),
    );
    let (errors, stdout) = (to_text(&output.stderr), to_text(&output.stdout));
    let mut errors_of_wrong_form = run_probe(&["--idle", "2s"], Some("unknown=1"));
    let errors_of_wrong_form = to_text(&std::mem::take(&mut errors_of_wrong_form.stderr));
    let errors_without_form = to_text(&run_probe(&["--idle", "2s"], None).stderr);
    let errors_without_idle = to_text(&run_probe(&[], Some("subject=zoe")).stderr);
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(output.status.success(), "{stdout}{errors}");
    assert!(
        stdout.contains("ok    the page shows who is signed in: served, 200\n"),
        "{stdout}"
    );
    assert!(
        errors_of_wrong_form.contains("and no cookie"),
        "{errors_of_wrong_form}"
    );
    assert!(
        errors_without_form.contains("CURFEW_PROBE_FORM is needed with --sign-in"),
        "{errors_without_form}"
    );
    assert!(
        errors_without_idle.contains("--idle together with --cookie or --sign-in"),
        "{errors_without_idle}"
    );
}
