//! Tests faults under load. Two replicas of Curfew share a store. A load generator computes the correct answer to
//! each request, and the time at which each stream must end. While the load runs, the store, the network or a replica fails.
//!
//! The program prints one row for each scenario, and the wrong answers. To run only some scenarios, pass parts of
//! their names as arguments. With `CURFEW_CHAOS=long`, each scenario runs several times, with longer phases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use curfew_testkit as support;

mod client;
mod environment;
mod load;
mod model;
mod record;
mod recovery;
mod report;
mod runner;
mod scenarios;
mod session;
mod stream;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name_filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let long = std::env::var("CURFEW_CHAOS").is_ok_and(|value| value == "long");
    let length = if long { runner::LONG } else { runner::SHORT };
    let results = runner::run(&name_filters, length);
    println!("{}", report::table(&results));
    println!("{}", report::details(&results));
    let failed = results.iter().filter(|result| !result.passed()).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed == 0 && !results.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
