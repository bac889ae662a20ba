//! Tests the form of the Caddyfiles with `caddy fmt`. At each start, Caddy warns about a file of another form.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::deployment::{installed_path, read_deploy_file};

/// Returns the text in the form of `caddy fmt`.
fn format(text: &str) -> String {
    let mut process = Command::new(installed_path("bin/caddy"))
        .args(["fmt", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap()
}

fn render(options: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_curfew"));
    let output = command.args(["render", "caddy"]).args(options).env_clear();
    let output = output.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns a file with the changes of `docs/tls.md`, and how many of the changes apply to the file.
fn with_tls(file: &str) -> (String, usize) {
    let page = include_str!("../../docs/tls.md");
    let (_, section) = page.split_once("\n## Caddy\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|block| block.strip_prefix("caddyfile\n").unwrap())
        .collect();
    let (pairs, _) = blocks.as_chunks();
    let mut text = file.to_owned();
    let mut count = 0;
    for [from, to] in pairs {
        count += usize::from(text.contains(from));
        text = text.replace(from, to);
    }
    (text, count)
}

#[test]
fn caddy_accepts_the_form_of_all_files() {
    let deploy_file = read_deploy_file("caddy/Caddyfile");
    let streams_file = render(&["--streams", "curfew:9184"]);
    let (deploy_file_with_tls, count) = with_tls(&deploy_file);
    assert_eq!(count, 2);
    let (streams_file_with_tls, count) = with_tls(&streams_file);
    assert_eq!(count, 3);
    for text in [
        deploy_file,
        render(&[]),
        streams_file,
        deploy_file_with_tls,
        streams_file_with_tls,
    ] {
        assert!(text.contains("forward_auth"), "{text}");
        assert_eq!(text, format(&text));
    }
}
