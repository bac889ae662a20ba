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
mod measurements;
mod metrics;
mod run_settings;
mod workload;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use measurements::Measurements;
use run_settings::RunSettings;
use support::curfew::Setup;
use support::fault_proxy::{Fault, FaultProxy};
use support::redis::RedisServer;
use workload::Workload;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let run_settings = RunSettings::from_environment();
    println!("{run_settings}");
    let redis = RedisServer::start();
    let server = format!("127.0.0.1:{}", redis.public_port())
        .parse()
        .unwrap();
    let fault_proxy = Arc::new(FaultProxy::start(server).await);
    let setup = run_settings.configure(Setup::redis(&fault_proxy.url()));
    let replicas = Arc::new([setup.start(), setup.start()]);
    let workload = Workload::new(Arc::clone(&replicas), run_settings);
    let measurement =
        Measurements::begin(Arc::clone(&replicas), redis.url(), Arc::clone(&workload));
    let faults = tokio::spawn(faults::inject(Arc::clone(&fault_proxy), run_settings));
    let workers = workload.start_workers();
    tokio::time::sleep(run_settings.load).await;
    faults.abort();
    fault_proxy.set_fault(Fault::None);
    // From now on, nobody uses the remaining sessions, so they time out.
    workload.stop_workers(workers).await;
    let measurements = measurement.end().await;
    tokio::time::sleep(run_settings.idle).await;
    // If a replica does not get Redis's answer to a session end that it wrote, another replica publishes the end 10
    // to 20 seconds later.
    let timeout = Duration::from_secs(40);
    let all_ended = async {
        while !metrics::all_have_ended(&replicas, &workload).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let _ = tokio::time::timeout(timeout, all_ended).await;
    let mut problems = workload.wrong_answers();
    problems.extend(metrics::compare(&replicas, &workload).await);
    problems.extend(measurements.problems(run_settings));
    println!(
        "{}\n{}",
        workload.summary(),
        measurements.summary(run_settings)
    );
    if let Ok(path) = std::env::var("CURFEW_SOAK_CSV") {
        std::fs::write(path, measurements.csv()).unwrap();
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
