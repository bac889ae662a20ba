//! Many sessions start and end over a long time, on two replicas. The connection to Redis fails from time to time.
//! Every answer must be correct, and the metrics must agree with the requests. The use of memory and files must not
//! grow.
//!
//! By default, the test is short. `scripts/soak.sh` runs a long test with `CURFEW_SOAK=SESSIONS,SECONDS`, and plots
//! the measurements.

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
    let way = Arc::new(FaultProxy::start(server).await);
    let setup = pace.configure(Setup::redis(&way.url()));
    let replicas = Arc::new([setup.start(), setup.start()]);
    let workload = Workload::new(Arc::clone(&replicas), pace);
    let running = Measurements::begin(Arc::clone(&replicas), redis.url(), Arc::clone(&workload));
    let faults = tokio::spawn(faults::run(Arc::clone(&way), pace));
    let working = workload.work();
    tokio::time::sleep(pace.load).await;
    faults.abort();
    way.set_fault(Fault::None);
    // From now on, nobody uses the remaining sessions, so they time out.
    workload.close(working).await;
    let measures = running.end().await;
    tokio::time::sleep(pace.idle).await;
    // If a replica does not get the answer of Redis to an end, another replica publishes the end 10 to 20 seconds
    // later.
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
