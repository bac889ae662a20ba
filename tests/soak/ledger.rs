//! Compares the replicas' metrics with the counts of the workers.

use std::collections::BTreeMap;

use crate::support::curfew::Curfew;
use crate::workload::Workload;

/// Fetches the samples of a metric. Returns the text of the labels and the value of each sample.
pub async fn samples(curfew: &Curfew, name: &str) -> Vec<(String, u64)> {
    let (_, text) = curfew.get_ops("/metrics").await;
    parse_samples(&text, name)
}

pub fn parse_samples(text: &str, name: &str) -> Vec<(String, u64)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let numbered = lines.filter(|line| line.starts_with(['{', ' ']));
    numbered
        .map(|line| {
            let (labels, number) = line.rsplit_once(' ').unwrap();
            (labels.to_owned(), number.parse::<f64>().unwrap() as u64)
        })
        .collect()
}

/// Returns the sum of the samples that have these labels, over both replicas.
async fn sum(replicas: &[Curfew; 2], name: &str, labels: &[&str]) -> u64 {
    let mut sum = 0;
    for replica in replicas {
        let samples = samples(replica, name).await;
        let fitting = samples
            .iter()
            .filter(|(found, _)| labels.iter().all(|label| found.contains(label)));
        sum += fitting.map(|(_, number)| number).sum::<u64>();
    }
    sum
}

/// Returns whether every session has ended, and all touches are written.
pub async fn all_have_ended(replicas: &[Curfew; 2], workload: &Workload) -> bool {
    let created = workload.counts.lock().unwrap().created;
    let told = sum(replicas, "curfew_sessions_ended_total", &[]).await;
    told >= created && sum(replicas, "curfew_touches_pending", &[]).await == 0
}

/// Compares the counts after the end of the load. Returns a description of each difference.
pub async fn compare(replicas: &[Curfew; 2], workload: &Workload) -> Vec<String> {
    let counts = workload.counts.lock().unwrap().clone();
    let mut problems = Vec::new();
    let mut expect = |right: bool, what: String| {
        if !right {
            problems.push(what);
        }
    };
    let mut counted = BTreeMap::new();
    for reason in counts.answers.keys() {
        let label = format!("verdict=\"{reason}\"");
        counted.insert(
            reason.clone(),
            sum(replicas, "curfew_checks_total", &[&label]).await,
        );
    }
    expect(
        counted == counts.answers,
        format!("answers: {:?}, counted {counted:?}", counts.answers),
    );
    let all = sum(replicas, "curfew_checks_total", &[]).await;
    let answered: u64 = counts.answers.values().sum();
    expect(
        all == answered,
        format!("{answered} answers, counted {all}"),
    );
    let created = sum(replicas, "curfew_sessions_created_total", &[]).await;
    expect(
        created == counts.created,
        format!("{} sessions came, counted {created}", counts.created),
    );
    let told = sum(
        replicas,
        "curfew_sessions_ended_total",
        &["redelivered=\"false\""],
    )
    .await;
    let again = sum(
        replicas,
        "curfew_sessions_ended_total",
        &["redelivered=\"true\""],
    )
    .await;
    println!("{told} ends published, {again} redelivered");
    let most = counts.created + counts.possibly_created;
    expect(
        told <= most,
        format!("{told} ends published for at most {most} sessions"),
    );
    expect(
        told + again >= counts.created,
        format!(
            "{} sessions started, but only {told} ends and {again} redelivered ends were published",
            counts.created
        ),
    );
    let revoked = ["reason=\"revoked\""];
    let revoked = sum(replicas, "curfew_sessions_ended_total", &revoked).await;
    expect(
        revoked >= counts.revoked,
        format!("{} revocations, metric: {revoked}", counts.revoked),
    );
    for left in ["curfew_touches_pending", "curfew_touches_dropped_total"] {
        let left_over = sum(replicas, left, &[]).await;
        expect(left_over == 0, format!("{left}: {left_over}"));
    }
    for listener in ["check", "admin"] {
        let label = format!("listener=\"{listener}\"");
        let open = sum(replicas, "curfew_requests_in_flight", &[&label]).await;
        expect(
            open == 0,
            format!("{open} requests of {listener} are in flight without load"),
        );
    }
    problems
}
