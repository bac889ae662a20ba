use std::io::Write;

use super::table::Table;
use super::{lint, output, probe};
use crate::escape::{EscapingWriter, line, lines};
use crate::testing::outputs::{Output, OutputFormat};

/// Returns `text` in the output of each command.
pub(crate) fn outputs(text: &str) -> Vec<Output> {
    let mut table = Table::new(["SUBJECT", "POLICY"]);
    table.add_row([text.to_owned(), text.to_owned()]);
    let mut printed = Vec::new();
    writeln!(
        EscapingWriter::new(&mut printed, lines),
        "name {}",
        line(text)
    )
    .unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let json = output::to_json(&serde_json::json!({ text: [text] })).unwrap();
    let junit = probe::tests::junit_report(text);
    vec![
        ("table", OutputFormat::Text, table.to_string()),
        ("line of a command", OutputFormat::Text, printed),
        ("JSON of a command", OutputFormat::Json, json),
        (
            "finding of lint",
            OutputFormat::Text,
            lint::tests::formatted_finding(text),
        ),
        ("report of probe for JUnit", OutputFormat::Markup, junit),
    ]
}

#[test]
fn output_keeps_line_feeds_and_escapes_control_characters() {
    let mut printed = Vec::new();
    write!(
        EscapingWriter::new(&mut printed, lines),
        "a\u{1b}[2J\nb\u{202e}\n"
    )
    .unwrap();
    assert_eq!(printed, b"a\\u{1b}[2J\nb\\u{202e}\n");
}
