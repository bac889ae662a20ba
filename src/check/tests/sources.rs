//! Tests each row of the table in `docs/semantics.md` with every source. A row begins with a statement about sessions.
//! The cells of the row must show the results.

mod rules;
mod source_fixture;

use std::future::Future;
use std::pin::Pin;

use source_fixture::SourceKind;

/// The cell text if the statement is true.
const YES: &str = "yes";
/// The cell text if the statement is true from the first request on. The credential does not contain the time of the
/// sign-in, so Curfew cannot count from the sign-in.
const FROM_FIRST_REQUEST: &str = "from the first request";
/// The cell text if the statement is false.
const NO: &str = "**no**";
/// The cell text if the statement does not apply to the source.
const NOT_APPLICABLE: &str = "–";

type Cell = Pin<Box<dyn Future<Output = &'static str>>>;
/// A statement of the table, and the function that tests the statement with a source.
type TestedStatement = (&'static str, fn(SourceKind) -> Cell);

/// Returns the table in the format of the page.
fn table(cells: &[(&str, Vec<&str>)]) -> String {
    let names = SourceKind::ALL.map(SourceKind::title).join(" | ");
    let mut text = format!(
        "| rule | {names} |\n|---|{}\n",
        "---|".repeat(SourceKind::ALL.len())
    );
    for (rule, cells) in cells {
        text += &format!("| {rule} | {} |\n", cells.join(" | "));
    }
    text
}

#[tokio::test]
async fn the_page_has_the_results_for_each_source() {
    let mut cells = Vec::new();
    for (rule, test_rule) in rules::ALL {
        let mut row = Vec::new();
        for kind in SourceKind::ALL {
            row.push(test_rule(kind).await);
        }
        cells.push((*rule, row));
    }
    let table = table(&cells);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/semantics.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page.contains(&table),
        "docs/semantics.md should contain this table:\n{table}"
    );
}
