//! Formats the matrix of cases and proxies as text.

use std::fmt::Write;

use crate::cases::CASES;
use crate::kinds::proxy_kinds;
use crate::runner::{Cell, Outcome};
use crate::support::kubectl::has_cluster;
use crate::unsupported_cases::UNSUPPORTED_CASES;

const DOCUMENTATION: &str = include_str!("../../docs/proxies/README.md");
const CONTROLLERS: &str = include_str!("../../docs/proxies/controllers.md");

/// Returns a Markdown table, followed by its footnotes.
pub fn table(cells: &[Cell]) -> String {
    let mut text = String::from("| | case |");
    for kind in proxy_kinds() {
        write!(text, " {} |", kind.name).unwrap();
    }
    text.push_str("\n|---|---|");
    text.push_str(&":-:|".repeat(proxy_kinds().len()));
    text.push('\n');
    let mut footnotes = String::new();
    for case in CASES {
        let find_cell = |kind: &str| {
            let mut found = cells.iter();
            found.find(|cell| cell.case.number == case.number && cell.proxy == kind)
        };
        write!(text, "| {} | {} |", case.number, case.title).unwrap();
        for kind in proxy_kinds() {
            let mark = match find_cell(kind.name).map(|cell| &cell.outcome) {
                None => String::new(),
                Some(Outcome::Passed) => "✓".to_owned(),
                Some(Outcome::Failed(_)) => "FAILED".to_owned(),
                Some(Outcome::NotPossible(unsupported_case)) => {
                    let index = UNSUPPORTED_CASES
                        .iter()
                        .position(|other_case| std::ptr::eq(other_case, *unsupported_case));
                    let letter = char::from(b'a' + u8::try_from(index.unwrap()).unwrap());
                    let footnote = format!(
                        "({letter}) Not possible with this proxy: {}\n",
                        unsupported_case.reason
                    );
                    if !footnotes.contains(&footnote) {
                        footnotes.push_str(&footnote);
                    }
                    format!("({letter})")
                }
            };
            write!(text, " {mark} |").unwrap();
        }
        text.push('\n');
    }
    if !footnotes.is_empty() {
        write!(text, "\n{}", footnotes.replace('\n', "\n\n").trim_end()).unwrap();
        text.push('\n');
    }
    text
}

/// Returns a message if the documentation does not contain this table.
pub fn difference_from_documentation(table: &str) -> Option<String> {
    let (page, text) = match has_cluster() {
        true => ("controllers.md", CONTROLLERS),
        false => ("README.md", DOCUMENTATION),
    };
    (!text.contains(table)).then(|| {
        format!("FAILED: docs/proxies/{page} has another matrix; replace it with this one")
    })
}
