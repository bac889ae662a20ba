//! Every source × every rule of `docs/semantics.md`: the table there is what these tests observe.

mod party;
mod rules;

use std::future::Future;
use std::pin::Pin;

use party::Kind;

/// What a cell says: the rule holds.
const YES: &str = "yes";
/// It holds from the first request on that Curfew sees, because the credential says nothing of the time before.
const FIRST: &str = "from the first request";
/// It does not.
const NO: &str = "**no**";
/// There is no such thing for the source.
const NONE: &str = "–";

type Cell = Pin<Box<dyn Future<Output = &'static str>>>;
/// A rule as the page states it, and what is observed of it for a source.
type Rule = (&'static str, fn(Kind) -> Cell);

/// The table as the page has it.
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
async fn the_page_says_what_holds_for_each_source() {
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
        "docs/semantics.md does not have this table:\n{table}"
    );
}
