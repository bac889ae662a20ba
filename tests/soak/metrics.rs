//! Compares the replicas' metrics with the counts of the workers.

use std::collections::BTreeMap;

use crate::support::curfew::Curfew;
use crate::workload::Workload;

/// Fetches the samples of a metric. Returns the text of the labels and the value of each sample.
pub async fn fetch_samples(curfew: &Curfew, name: &str) -> Vec<(String, u64)> {
    let (_, text) = curfew.get_ops("/metrics").await;
    parse_samples(&text, name)
}

pub fn parse_samples(text: &str, name: &str) -> Vec<(String, u64)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let sample_lines = lines.filter(|line| line.starts_with(['{', ' ']));
    sample_lines
        .map(|line| {
            let (labels, number) = line.rsplit_once(' ').unwrap();
            (labels.to_owned(), number.parse::<f64>().unwrap() as u64)
        })
        .collect()
}

/// Returns the sum of the samples that have these labels, over both replicas.
async fn sum_samples(replicas: &[Curfew; 2], name: &str, labels: &[&str]) -> u64 {
    let mut sum = 0;
    for replica in replicas {
        let samples = fetch_samples(replica, name).await;
        let matching_samples = samples
            .iter()
            .filter(|(found, _)| labels.iter().all(|label| found.contains(label)));
        sum += matching_samples.map(|(_, number)| number).sum::<u64>();
    }
    sum
}

/// Returns whether every session has ended, and all recorded activities (touches) are in Redis.
pub async fn all_have_ended(replicas: &[Curfew; 2], workload: &Workload) -> bool {
    let created = workload.counts.lock().unwrap().created;
    let published_ends = sum_samples(replicas, "curfew_sessions_ended_total", &[]).await;
    published_ends >= created && sum_samples(replicas, "curfew_touches_pending", &[]).await == 0
}

/// Compares the counts after the end of the load. Returns a description of each difference.
pub async fn compare(replicas: &[Curfew; 2], workload: &Workload) -> Vec<String> {
    let counts = workload.counts.lock().unwrap().clone();
    let mut problems = Vec::new();
    let mut record_unless = |is_consistent: bool, problem: String| {
        if !is_consistent {
            problems.push(problem);
        }
    };
    let mut metric_counts = BTreeMap::new();
    for reason in counts.answers.keys() {
        let label = format!("verdict=\"{reason}\"");
        metric_counts.insert(
            reason.clone(),
            sum_samples(replicas, "curfew_checks_total", &[&label]).await,
        );
    }
    record_unless(
        metric_counts == counts.answers,
        format!("answers: {:?}, metric: {metric_counts:?}", counts.answers),
    );
    let all = sum_samples(replicas, "curfew_checks_total", &[]).await;
    let answered: u64 = counts.answers.values().sum();
    record_unless(
        all == answered,
        format!("{answered} answers, metric: {all}"),
    );
    let created = sum_samples(replicas, "curfew_sessions_created_total", &[]).await;
    record_unless(
        created == counts.created,
        format!("{} sessions started, metric: {created}", counts.created),
    );
    let published_ends = sum_samples(
        replicas,
        "curfew_sessions_ended_total",
        &["redelivered=\"false\""],
    )
    .await;
    let redelivered_ends = sum_samples(
        replicas,
        "curfew_sessions_ended_total",
        &["redelivered=\"true\""],
    )
    .await;
    println!("{published_ends} ends published, {redelivered_ends} redelivered");
    let max_ends = counts.created + counts.possibly_created;
    record_unless(
        published_ends <= max_ends,
        format!("{published_ends} ends published for at most {max_ends} sessions"),
    );
    record_unless(
        published_ends + redelivered_ends >= counts.created,
        format!(
            "{} sessions started, but only {published_ends} ends and {redelivered_ends} redelivered ends were published",
            counts.created
        ),
    );
    let revoked = ["reason=\"revoked\""];
    let revoked = sum_samples(replicas, "curfew_sessions_ended_total", &revoked).await;
    record_unless(
        revoked >= counts.revoked,
        format!("{} revocations, metric: {revoked}", counts.revoked),
    );
    for left in ["curfew_touches_pending", "curfew_touches_dropped_total"] {
        let left_over = sum_samples(replicas, left, &[]).await;
        record_unless(left_over == 0, format!("{left}: {left_over}"));
    }
    for listener in ["check", "admin"] {
        let label = format!("listener=\"{listener}\"");
        let open = sum_samples(replicas, "curfew_requests_in_flight", &[&label]).await;
        record_unless(
            open == 0,
            format!("{open} requests of the listener {listener} are in flight without load"),
        );
    }
    problems
}
