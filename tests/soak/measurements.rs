//! Takes measurements every second, and checks that they do not grow.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::parse_samples;
use crate::run_settings::RunSettings;
use crate::support::curfew::Curfew;
use crate::support::redis::command;
use crate::workload::Workload;

/// The measurements of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    seconds: f64,
    /// Resident memory of each replica, in KiB.
    resident: [u64; 2],
    /// Open files of each replica.
    files: [usize; 2],
    /// Memory of Redis, in KiB.
    redis: u64,
    /// Sessions in the near caches.
    near_cache: u64,
    /// Activities that the replicas have not written to Redis yet (touches).
    pending: u64,
    /// The number of answers so far.
    answers: u64,
    /// The number of these answers with `store_unavailable` or `overloaded`.
    unavailable: u64,
}

pub struct Measurements(Vec<Sample>);

pub struct RunningMeasurement {
    stop: CancellationToken,
    task: JoinHandle<Measurements>,
}

impl Measurements {
    pub fn begin(
        replicas: Arc<[Curfew; 2]>,
        redis: String,
        workload: Arc<Workload>,
    ) -> RunningMeasurement {
        let stop = CancellationToken::new();
        let (stopped, start) = (stop.clone(), Instant::now());
        let task = tokio::spawn(async move {
            let mut samples = Vec::new();
            let second = || tokio::time::sleep(Duration::from_secs(1));
            while stopped.run_until_cancelled(second()).await.is_some() {
                let mut sample = Sample {
                    seconds: start.elapsed().as_secs_f64(),
                    redis: redis_memory_kib(&redis),
                    ..Sample::default()
                };
                for (index, replica) in replicas.iter().enumerate() {
                    sample.resident[index] = resident_kib(replica.process_id());
                    sample.files[index] = open_file_count(replica.process_id());
                    let (_, metrics) = replica.get_ops("/metrics").await;
                    let sum = |name| {
                        parse_samples(&metrics, name)
                            .iter()
                            .map(|it| it.1)
                            .sum::<u64>()
                    };
                    sample.near_cache += sum("curfew_near_cache_entries");
                    sample.pending += sum("curfew_touches_pending");
                }
                let counts = workload.counts.lock().unwrap();
                sample.answers = counts.answers.values().sum();
                let unavailable_reasons = ["store_unavailable", "overloaded"];
                let unavailable_reasons = unavailable_reasons
                    .iter()
                    .filter_map(|reason| counts.answers.get(*reason));
                sample.unavailable = unavailable_reasons.sum();
                samples.push(sample);
            }
            Self(samples)
        });
        RunningMeasurement { stop, task }
    }

    /// Returns a description of each value that grew from the second to the last third of the run.
    pub fn problems(&self, run_settings: RunSettings) -> Vec<String> {
        let mut problems = Vec::new();
        let [_, second, last] = self.thirds();
        for replica in 0..2 {
            let value_of =
                |third: &[Sample]| median(third.iter().map(|sample| sample.resident[replica]));
            let (before, after) = (value_of(second), value_of(last));
            // Memory may grow by a tenth and 8 MiB, because allocators reserve memory in large blocks.
            if after > before + before / 10 + (8 << 10) {
                problems.push(format!(
                    "the memory of replica {replica} grew from {before} to {after} KiB"
                ));
            }
            let value_of =
                |third: &[Sample]| third.iter().map(|sample| sample.files[replica]).max();
            let (before, after) = (value_of(second).unwrap_or(0), value_of(last).unwrap_or(0));
            if after > before + 16 {
                problems.push(format!(
                    "replica {replica} had {before} files open, and {after} later"
                ));
            }
        }
        let value_of = |third: &[Sample]| median(third.iter().map(|sample| sample.redis));
        let (before, after) = (value_of(second), value_of(last));
        // The record of an ended session (tombstone) lasts for a minute. A short run ends before Redis deletes many of
        // these records, so memory grows.
        let is_long = run_settings.load > Duration::from_secs(240);
        if is_long && after > before + before / 10 + (8 << 10) {
            problems.push(format!(
                "the memory of Redis grew from {before} to {after} KiB"
            ));
        }
        problems
    }

    pub fn summary(&self, run_settings: RunSettings) -> String {
        let [first, second, last] = self.thirds();
        let mut text = String::from("| | first third | second | last |\n|---|---|---|---|\n");
        let mut row = |name: &str, value_of: &dyn Fn(&Sample) -> u64| {
            let medians = [first, second, last].map(|third| median(third.iter().map(value_of)));
            let [a, b, c] = medians;
            let _ = writeln!(text, "| {name} | {a} | {b} | {c} |");
        };
        row("memory of replica 1, MiB", &|sample| {
            sample.resident[0] >> 10
        });
        row("memory of replica 2, MiB", &|sample| {
            sample.resident[1] >> 10
        });
        row("open files of replica 1", &|sample| sample.files[0] as u64);
        row("open files of replica 2", &|sample| sample.files[1] as u64);
        row("memory of Redis, MiB", &|sample| sample.redis >> 10);
        row("near cache entries", &|sample| sample.near_cache);
        row("touches not written yet", &|sample| sample.pending);
        let all = self.0.last().copied().unwrap_or_default();
        let a_second = all.answers / run_settings.load.as_secs();
        let _ = write!(
            text,
            "\n{a_second} checks per second; {} of {} got 503",
            all.unavailable, all.answers
        );
        text
    }

    pub fn csv(&self) -> String {
        let mut text = String::from(
            "seconds,resident_1,resident_2,files_1,files_2,redis,near_cache,pending,answers,unavailable\n",
        );
        for sample in &self.0 {
            let Sample {
                seconds,
                resident: [a, b],
                files: [c, d],
                redis,
                near_cache,
                pending,
                answers,
                unavailable,
            } = sample;
            let _ = writeln!(
                text,
                "{seconds:.1},{a},{b},{c},{d},{redis},{near_cache},{pending},{answers},{unavailable}"
            );
        }
        text
    }

    fn thirds(&self) -> [&[Sample]; 3] {
        let third = self.0.len() / 3;
        [
            &self.0[..third],
            &self.0[third..2 * third],
            &self.0[2 * third..],
        ]
    }
}

impl RunningMeasurement {
    pub async fn end(self) -> Measurements {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

fn median(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn open_file_count(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .count()
}

fn redis_memory_kib(redis: &str) -> u64 {
    let info: String = command(redis, &[b"INFO", b"memory"]).unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))
        .unwrap();
    line.trim().parse::<u64>().unwrap() >> 10
}
