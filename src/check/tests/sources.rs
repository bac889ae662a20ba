//! Tests every rule of the table in `docs/semantics.md` with every source. The table on that page must show the
//! results.

mod party;
mod rules;

use std::future::Future;
use std::pin::Pin;

use party::Kind;

/// The cell text if the rule holds.
const YES: &str = "yes";
/// The cell text if the rule holds from the first request on, because the credential does not contain an earlier
/// time.
const FIRST: &str = "from the first request";
/// The cell text if the rule does not hold.
const NO: &str = "**no**";
/// The cell text if the rule does not apply to the source.
const NONE: &str = "–";

type Cell = Pin<Box<dyn Future<Output = &'static str>>>;
/// The text of a rule on the page, and the function that tests the rule with a source.
type Rule = (&'static str, fn(Kind) -> Cell);

/// Returns the table in the format of the page.
fn table(cells: &[(&str, Vec<&str>)]) -> String {
    let names = Kind::ALL.map(Kind::title).join(" | ");
    let mut text = format!(
        "| rule | {names} |\n|---|{}\n",
        "---|".repeat(Kind::ALL.len())
    );
    for (rule, cells) in cells {
        text += &format!("| {rule} | {} |\n", cells.join(" | "));
    }
    text
}

#[tokio::test]
async fn the_page_has_the_results_for_each_source() {
    let mut cells = Vec::new();
    for (rule, observe) in rules::ALL {
        let mut row = Vec::new();
        for kind in Kind::ALL {
            row.push(observe(kind).await);
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
