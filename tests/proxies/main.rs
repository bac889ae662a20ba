//! The same cases through every proxy: a client, the real proxy with its file of `deploy/`, Curfew, a real Redis, and
//! a backend that records its requests.
//!
//! Prints the matrix of cases and proxies, and compares it with the one in the documentation. Arguments on the
//! command line select the cells whose `proxy/case` contains one of them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod bench;
mod broken;
mod cases;
mod fleet;
mod impossible;
mod matrix;
mod router;
mod runner;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let cells = runner::run(&words);
    let table = matrix::table(&cells);
    println!("{table}");
    let mut failures: Vec<String> = cells.iter().filter_map(runner::Cell::failure).collect();
    failures.extend(router::run(&words));
    if words.is_empty() {
        failures.extend(matrix::differs_from_the_documented(&table));
    }
    for failure in &failures {
        println!("{failure}\n");
    }
    println!("{} cells, {} failures", cells.len(), failures.len());
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
