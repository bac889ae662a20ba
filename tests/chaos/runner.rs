//! Runs the scenarios, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use curfew::clock::Stopwatch;
use tokio::runtime::Builder;

use crate::model::{Mistake, Severity};
use crate::record::Record;
use crate::scenarios::{SCENARIOS, Scenario};

/// The longest acceptable recovery of a replica, in seconds.
const MAX_RECOVERY_SECONDS: f64 = 15.0;

/// The number of runs, and the factor for their length.
#[derive(Clone, Copy)]
pub struct RunLength {
    runs: usize,
    pub time_factor: f64,
}

pub const SHORT: RunLength = RunLength {
    runs: 1,
    time_factor: 1.0,
};

pub const LONG: RunLength = RunLength {
    runs: 5,
    time_factor: 3.0,
};

/// All runs of one scenario.
pub struct ScenarioResult {
    pub scenario: &'static Scenario,
    pub runs: Vec<Run>,
}

pub struct Run {
    pub record: Arc<Record>,
    pub panic: Option<String>,
}

impl Run {
    pub fn longest_recovery(&self) -> f64 {
        self.record.observations().longest_recovery().as_secs_f64()
    }
}

impl ScenarioResult {
    pub fn passed(&self) -> bool {
        self.runs.iter().all(|run| run.panic.is_none())
            && Mistake::ALL.into_iter().all(|it| self.count(it) == 0)
            && self.longest_recovery() <= MAX_RECOVERY_SECONDS
    }

    /// Returns the number of answers of this kind that broke a promise of Curfew.
    pub fn count(&self, mistake: Mistake) -> u64 {
        let runs = self.runs.iter();
        runs.map(|run| run.record.observations().count(mistake, Severity::Certain))
            .sum()
    }

    /// Returns the longest recovery of all runs, in seconds.
    pub fn longest_recovery(&self) -> f64 {
        self.runs
            .iter()
            .map(Run::longest_recovery)
            .fold(0.0, f64::max)
    }
}

/// Runs the scenarios whose name contains one of `name_filters`. Without filters, runs all scenarios.
pub fn run(name_filters: &[String], length: RunLength) -> Vec<ScenarioResult> {
    let wanted = |scenario: &&Scenario| {
        name_filters.is_empty() || name_filters.iter().any(|word| scenario.name.contains(word))
    };
    let scenarios = SCENARIOS.iter().filter(wanted);
    scenarios
        .map(|scenario| ScenarioResult {
            scenario,
            runs: (0..length.runs)
                .map(|_| run_once(scenario, length))
                .collect(),
        })
        .collect()
}

fn run_once(scenario: &Scenario, length: RunLength) -> Run {
    let stopwatch = Stopwatch::start();
    let record = Arc::new(Record::default());
    // The scenario runs on this thread, because it blocks while processes start. The load runs on other threads.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let run_scenario = || runtime.block_on((scenario.run)(&record, length));
    let panic = catch_unwind(AssertUnwindSafe(run_scenario))
        .err()
        .map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
            text.unwrap_or_else(|| "the scenario panicked without a message".to_owned())
        });
    record.close();
    eprintln!("{}: {:.0} s", scenario.name, stopwatch.seconds());
    Run { record, panic }
}
