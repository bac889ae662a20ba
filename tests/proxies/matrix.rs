//! Formats the matrix of cases and proxies as text.

use std::fmt::Write;

use crate::cases::CASES;
use crate::fleet::FLEET;
use crate::impossible::IMPOSSIBLE;
use crate::runner::{Cell, Outcome};

const DOCUMENTATION: &str = include_str!("../../docs/proxies/README.md");

/// Returns a Markdown table, followed by its footnotes.
pub fn table(cells: &[Cell]) -> String {
    let mut text = String::from("| | case |");
    for kind in FLEET {
        write!(text, " {} |", kind.name).unwrap();
    }
    text.push_str("\n|---|---|");
    text.push_str(&":-:|".repeat(FLEET.len()));
    text.push('\n');
    let mut notes = String::new();
    for case in CASES {
        let of_case = |kind: &str| {
            let mut found = cells.iter();
            found.find(|cell| cell.case.number == case.number && cell.proxy == kind)
        };
        write!(text, "| {} | {} |", case.number, case.title).unwrap();
        for kind in FLEET {
            let mark = match of_case(kind.name).map(|cell| &cell.outcome) {
                None => String::new(),
                Some(Outcome::Held) => "✓".to_owned(),
                Some(Outcome::Failed(_)) => "FAILED".to_owned(),
                Some(Outcome::NotPossible(known)) => {
                    let place = IMPOSSIBLE.iter().position(|one| std::ptr::eq(one, *known));
                    let letter = char::from(b'a' + u8::try_from(place.unwrap()).unwrap());
                    let note = format!(
                        "({letter}) Not possible with this proxy: {}\n",
                        known.reason
                    );
                    if !notes.contains(&note) {
                        notes.push_str(&note);
                    }
                    format!("({letter})")
                }
            };
            write!(text, " {mark} |").unwrap();
        }
        text.push('\n');
    }
    if !notes.is_empty() {
        write!(text, "\n{}", notes.replace('\n', "\n\n").trim_end()).unwrap();
        text.push('\n');
    }
    text
}

/// Returns a message if the documentation does not contain this table.
pub fn difference_from_documentation(table: &str) -> Option<String> {
    (!DOCUMENTATION.contains(table)).then(|| {
        "FAILED: docs/proxies/README.md has another matrix; replace it with this one".to_owned()
    })
}
