//! Runs each command of the README's one-minute trial, and compares the output with the README.

use std::io::{BufRead, BufReader};
use std::process::Command;

use crate::support::curfew::{Setup, press_ctrl_c};
use crate::to_text;

/// A command of the README, and its output. In the output, `…` matches any text.
struct Step {
    command: String,
    output: String,
}

fn read_steps() -> Vec<Step> {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```console\n$ ").skip(1);
    blocks
        .map(|block| {
            let (block, _) = block.split_once("```").unwrap();
            let (command, output) = block.split_once('\n').unwrap();
            Step {
                command: command.to_owned(),
                output: without_repeated_spaces(output),
            }
        })
        .collect()
}

/// Replaces repeated spaces with one space, because the number of spaces in the output depends on the length of an
/// address.
fn without_repeated_spaces(text: &str) -> String {
    let lines = text
        .trim_end()
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

fn matches_pattern(expected: &str, actual: &str) -> bool {
    let mut remaining = actual;
    let mut pieces = expected.split('…').peekable();
    let first = pieces.next().unwrap();
    let Some(remaining_after) = remaining.strip_prefix(first) else {
        return false;
    };
    remaining = remaining_after;
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return remaining.ends_with(piece);
        }
        let Some((_, remaining_after)) = remaining.split_once(piece) else {
            return false;
        };
        remaining = remaining_after;
    }
    remaining.is_empty()
}

#[tokio::test]
async fn the_commands_of_the_readme_work() {
    let mut steps = read_steps().into_iter();
    let serve = steps.next().unwrap();
    let (setting, remaining) = serve.command.split_once(' ').unwrap();
    assert_eq!(remaining, "cargo run --release -- serve");
    let (key, value) = setting.split_once('=').unwrap();
    let setup = Setup::memory()
        .unset("ADMIN__TOKEN_HASHES")
        .unset("TOKEN__KEYS")
        .set(key.strip_prefix("CURFEW__").unwrap(), value)
        .set("LOG__FORMAT", "human")
        .set("LOG__FILTER", "error");
    let mut process = setup.command_on_a_terminal().spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut banner = String::new();
    while !banner.contains("curl ") {
        assert_ne!(stdout.read_line(&mut banner).unwrap(), 0, "{banner}");
    }
    let banner = banner.replace("\r\n", "\n");
    let find_line = |line: &str| banner.lines().find(|text| text.contains(line)).unwrap();
    let address = |name: &str| {
        let url = find_line(name).split_whitespace().nth(1).unwrap();
        url.strip_prefix("http://").unwrap()
    };
    let addresses = ["check ", "grpc ", "browser ", "admin ", "ops "].map(address);
    let admin_token = find_line("admin token").rsplit(' ').next().unwrap();
    let documented = [9180, 9181, 9183, 9188, 9189].map(|port| format!("127.0.0.1:{port}"));
    let with_test_addresses = |text: &str| {
        let pairs = documented.iter().zip(addresses);
        pairs.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    // By default, Curfew listens on all addresses, and the admin API has a second address.
    let mut output = serve.output.replace("http://[::]:", "http://127.0.0.1:");
    assert_eq!(serve.output.matches("http://[::]:").count(), 4);
    output = output.replacen(", http://[::1]:9188", "", 1);
    let expected = with_test_addresses(&output);
    assert!(
        matches_pattern(&expected, &without_repeated_spaces(&banner)),
        "{banner}"
    );

    let mut token = String::new();
    let mut step_count = 0;
    for step in steps {
        let command = with_test_addresses(&step.command)
            .replace("cfwadmin_…", admin_token)
            .replace("cfw1_…", &token);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        let output = without_repeated_spaces(&to_text(&output.stdout));
        assert!(
            matches_pattern(&step.output, &output),
            "{command}\nprinted\n{output}\nand not\n{}",
            step.output
        );
        if let Some((_, remaining)) = output.split_once("\"token\":\"") {
            token = remaining.split_once('"').unwrap().0.to_owned();
        }
        step_count += 1;
    }
    assert_eq!(step_count, 3);
    press_ctrl_c(process);
}
