//! Many sessions start and end for a long time, on two replicas with a Redis that fails now and then. Every answer
//! must be correct, the metrics must agree with the requests, and neither memory nor file descriptors may grow.
//!
//! The default run is short. `scripts/soak.sh` runs it long, with `CURFEW_SOAK=SESSIONS,SECONDS`, and draws the
//! measurements.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod faults;
mod ledger;
mod measures;
mod pace;
mod workload;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use measures::Measurements;
use pace::Pace;
use support::curfew::Setup;
use support::fault_proxy::{Fault, FaultProxy};
use support::redis::RedisServer;
use workload::Workload;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let pace = Pace::from_environment();
    println!("{pace}");
    let redis = RedisServer::start();
    let server = format!("127.0.0.1:{}", redis.public_port())
        .parse()
        .unwrap();
    let way = Arc::new(FaultProxy::to(server).await);
    let setup = pace.configure(Setup::redis(&way.url()));
    let replicas = Arc::new([setup.start(), setup.start()]);
    let workload = Workload::new(Arc::clone(&replicas), pace);
    let running = Measurements::begin(Arc::clone(&replicas), redis.url(), Arc::clone(&workload));
    let faults = tokio::spawn(faults::run(Arc::clone(&way), pace));
    let working = workload.work();
    tokio::time::sleep(pace.load).await;
    faults.abort();
    way.set(Fault::None);
    // The last sessions stay unused, and time out.
    workload.close(working).await;
    let measures = running.end().await;
    tokio::time::sleep(pace.idle).await;
    // If the answer to an end is lost, another replica publishes it after ten or twenty seconds.
    let timeout = Duration::from_secs(40);
    let told = async {
        while !ledger::all_have_ended(&replicas, &workload).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let _ = tokio::time::timeout(timeout, told).await;
    let mut problems = workload.wrong();
    problems.extend(ledger::compare(&replicas, &workload).await);
    problems.extend(measures.problems(pace));
    println!("{}\n{}", workload.summary(), measures.summary(pace));
    if let Ok(path) = std::env::var("CURFEW_SOAK_CSV") {
        std::fs::write(path, measures.csv()).unwrap();
    }
    for problem in &problems {
        println!("WRONG: {problem}");
    }
    if problems.is_empty() {
        println!("passed");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
