//! Measures what a large Kubernetes cluster costs a Curfew: memory, CPU, and the time until a change is in force.
//! `scripts/bench.sh --cluster` runs it. The API server is the stand-in of the tests.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking, and prints its figures"
)]

use std::path::PathBuf;
use std::time::Duration;

use curfew::clock::Stopwatch;
use curfew_testkit::curfew::{Curfew, Setup};
use curfew_testkit::kube_api::KubeApi;
use serde_json::{Value, json};

const INGRESSES: usize = 10_000;
const POLICIES: usize = 2_000;
const NAMESPACES: usize = 100;

/// The number of changes whose delay is measured.
const CHANGES: usize = 200;

/// The time at rest over which the CPU is measured.
const REST: Duration = Duration::from_secs(20);

/// A value of the length that annotations of Helm have.
const FILLER: usize = 1500;

#[tokio::main]
async fn main() {
    let api = KubeApi::start_stand_in().await;
    let base = Setup::memory().start();
    let base_memory = settled_memory(&base).await;
    let base_cpu = cpu(&base);
    tokio::time::sleep(REST).await;
    let base_rest = cpu(&base) - base_cpu;
    base.signal("TERM");
    fill(&api);
    let setup = Setup::memory()
        .limits("1h", "8h")
        .set("KUBERNETES__POLICIES", "true")
        .set("KUBERNETES__URL", &format!("http://{}", api.address));
    let stopwatch = Stopwatch::start();
    let curfew = setup.start();
    while curfew.get_ops("/readyz").await.0 != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let known = stopwatch.seconds();
    let first_list = cpu(&curfew);
    let memory = settled_memory(&curfew).await;
    let before_rest = cpu(&curfew);
    tokio::time::sleep(REST).await;
    let rest = cpu(&curfew) - before_rest;
    // By then, the statuses are written.
    let memory_at_rest = settled_memory(&curfew).await;
    let mut delays = Vec::new();
    for number in 0..CHANGES {
        delays.push(delay_of_change(&api, &curfew, number).await);
    }
    delays.sort_by(f64::total_cmp);
    let mebibytes = |bytes: f64| bytes / 1024.0 / 1024.0;
    println!("| figure ({INGRESSES} Ingresses, {POLICIES} policies) | value |\n|---|--:|");
    println!("| time until all objects are known | {known:.2} s |");
    println!("| CPU until then, with the start | {first_list:.2} s |");
    println!(
        "| memory above a Curfew without a cluster: when all objects are known, and {} s later | {:.1}, {:.1} MiB |",
        REST.as_secs(),
        mebibytes(memory - base_memory),
        mebibytes(memory_at_rest - base_memory)
    );
    let share = |seconds: f64| seconds / REST.as_secs_f64() * 100.0;
    println!(
        "| CPU at rest, above a Curfew without a cluster | {:.2} % of a core |",
        share(rest - base_rest)
    );
    println!(
        "| time from a change to its effect: median, p99, maximum | {:.0}, {:.0}, {:.0} ms |",
        delays[CHANGES / 2] * 1000.0,
        delays[CHANGES * 99 / 100] * 1000.0,
        delays[CHANGES - 1] * 1000.0
    );
}

fn fill(api: &KubeApi) {
    api.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": { "name": "nginx" }, "spec": { "controller": "k8s.io/ingress-nginx" },
    }));
    for number in 0..NAMESPACES {
        api.put(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": format!("team-{number}") }, "spec": {},
        }));
    }
    for number in 0..INGRESSES {
        api.put(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {
                "name": format!("app-{number}"), "namespace": format!("team-{}", number % NAMESPACES),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "app.kubernetes.io/name": "app", "app.kubernetes.io/managed-by": "Helm" },
                "annotations": { "example.com/last-applied": "x".repeat(FILLER) },
            },
            "spec": { "ingressClassName": "nginx", "rules": [{
                "host": format!("app-{number}.example.com"),
                "http": { "paths": [{
                    "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "app" } },
                }] },
            }] },
        }));
    }
    for number in 0..POLICIES {
        put_policy(api, number, &json!({ "idle": "30m" }));
    }
}

fn put_policy(api: &KubeApi, number: usize, fields: &Value) {
    let target = json!({
        "group": "networking.k8s.io", "kind": "Ingress", "name": format!("app-{number}"),
    });
    let mut spec = json!({ "targetRefs": [target] });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    api.put(json!({
        "apiVersion": "curfew.dev/v1alpha1", "kind": "SessionPolicy",
        "metadata": { "name": format!("app-{number}"), "namespace": format!("team-{}", number % NAMESPACES) },
        "spec": spec,
    }));
}

/// Requires a group for an application, and returns the seconds until a check is denied.
async fn delay_of_change(api: &KubeApi, curfew: &Curfew, number: usize) -> f64 {
    let host = format!("app-{number}.example.com");
    let session = curfew.sign_in("alice").await;
    let cookie = session.cookie();
    put_policy(api, number, &json!({ "requireGroups": ["nobody"] }));
    let stopwatch = Stopwatch::start();
    while curfew.check_with_host(&host, &cookie).await.0 != 403 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stopwatch.seconds()
}

/// Returns the resident memory in bytes, after a minute with few checks. The allocator returns memory to the system only
/// while the program allocates.
async fn settled_memory(curfew: &Curfew) -> f64 {
    for _ in 0..70 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        curfew.check_with_host("other.example.com", "").await;
    }
    let status = std::fs::read_to_string(proc_file(curfew, "status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: f64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kibibytes * 1024.0
}

/// Returns the CPU seconds of the process so far.
fn cpu(curfew: &Curfew) -> f64 {
    let stat = std::fs::read_to_string(proc_file(curfew, "stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // The kernel reports hundredths of a second.
    ticks / 100.0
}

fn proc_file(curfew: &Curfew, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{name}", curfew.process_id()))
}
