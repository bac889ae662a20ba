//! Runs the same cases with every proxy. The proxy is real, and has its file of `deploy/`. Behind it are Curfew, a
//! real Redis, and a backend that records its requests.
//!
//! The program prints a matrix of cases and proxies, and compares it with the matrix in the documentation. To run
//! only some cells, pass parts of their names `proxy/case` as arguments.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod cases;
mod harness;
mod kinds;
mod matrix;
mod mistakes;
mod router;
mod runner;
mod tls;
mod unsupported_cases;
mod web_socket;

use std::process::ExitCode;

use support::kubectl::has_cluster;

fn main() -> ExitCode {
    let name_filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let cells = runner::run(&name_filters);
    let table = matrix::table(&cells);
    println!("{table}");
    let mut failures: Vec<String> = cells.iter().filter_map(runner::Cell::failure).collect();
    failures.extend(router::run(&name_filters));
    // TLS to Curfew is a setting of the proxies, whatever configures them.
    if !has_cluster() {
        failures.extend(tls::run(&name_filters));
    }
    if name_filters.is_empty() {
        failures.extend(matrix::difference_from_documentation(&table));
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
