use std::io::Write;

use super::table::Table;
use super::{lint, output, probe};
use crate::escape::{Escaped, line, lines};
use crate::testing::outputs::{Form, Output};

/// Returns `text` in the output of each command.
pub(crate) fn outputs(text: &str) -> Vec<Output> {
    let mut table = Table::new(["SUBJECT", "POLICY"]);
    table.add_row([text.to_owned(), text.to_owned()]);
    let mut printed = Vec::new();
    writeln!(Escaped::new(&mut printed, lines), "name {}", line(text)).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let json = output::to_json(&serde_json::json!({ text: [text] })).unwrap();
    let junit = probe::tests::junit_report(text);
    vec![
        ("table", Form::Text, table.to_string()),
        ("line of a command", Form::Text, printed),
        ("JSON of a command", Form::Json, json),
        (
            "finding of lint",
            Form::Text,
            lint::tests::formatted_finding(text),
        ),
        ("report of probe for JUnit", Form::Markup, junit),
    ]
}

#[test]
fn output_keeps_line_feeds_and_escapes_control_characters() {
    let mut printed = Vec::new();
    write!(Escaped::new(&mut printed, lines), "a\u{1b}[2J\nb\u{202e}\n").unwrap();
    assert_eq!(printed, b"a\\u{1b}[2J\nb\\u{202e}\n");
}
