//! The stack of `docker-compose.yml` in containers: `scripts/compose.sh` starts it, and runs this test.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it saw"
)]

use curfew_testkit as support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use serde_json::Value;
use support::curfew::client;
use support::eventually;

/// The proxies and their published ports.
const PROXIES: [(&str, u16); 5] = [
    ("NGINX", 8081),
    ("Traefik", 8082),
    ("Envoy", 8083),
    ("HAProxy", 8084),
    ("Caddy", 8085),
];

/// The idle limit in `deploy/compose/curfew.yaml`.
const IDLE: Duration = Duration::from_secs(60);

/// The pause between two requests of the load.
const PAUSE: Duration = Duration::from_millis(40);

/// How long the load goes on before and after a fault.
const AROUND: Duration = Duration::from_secs(8);

/// Runs docker-compose.
fn compose(arguments: &[&str]) {
    let output = Command::new("docker-compose")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
}

/// Sends a navigation to a proxy. Returns the status, or `None` if there was no answer.
async fn get(http: &reqwest::Client, port: u16, path: &str, cookie: &str) -> Option<u16> {
    let request = http
        .get(format!("http://localhost:{port}{path}"))
        .header(COOKIE, cookie)
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document");
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}

/// Signs a person in at the first proxy. Returns the cookie.
async fn sign_in(subject: &str) -> String {
    let answer = client()
        .post("http://localhost:8081/sign-in")
        .header("origin", "http://localhost:8081")
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "subject={subject}&rd=http%3A%2F%2Flocalhost%3A8081%2Forders"
        ))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 303);
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// The answers during a fault.
#[derive(Debug, Default)]
struct Counts {
    served: usize,
    denied: usize,
    errors: Vec<Option<u16>>,
    wrong: Vec<String>,
}

/// Sends requests with and without a session to a proxy until `ends` is set.
async fn load(port: u16, cookie: String, ends: Arc<AtomicBool>) -> Counts {
    let http = client();
    let mut counts = Counts::default();
    while !ends.load(Ordering::Relaxed) {
        for (cookie, expected) in [(&*cookie, 200), ("", 302)] {
            match get(&http, port, "/orders", cookie).await {
                Some(status) if status == expected => match expected {
                    200 => counts.served += 1,
                    _ => counts.denied += 1,
                },
                Some(status) if status < 500 => {
                    counts.wrong.push(format!("{status} for {expected}"))
                }
                error => counts.errors.push(error),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    counts
}

/// Sends requests through all proxies while `fault` runs. Returns the counts of each proxy.
async fn during(cookie: &str, fault: impl FnOnce() + Send + 'static) -> Vec<Counts> {
    let ends = Arc::new(AtomicBool::new(false));
    let loads =
        PROXIES.map(|(_, port)| tokio::spawn(load(port, cookie.to_owned(), Arc::clone(&ends))));
    tokio::time::sleep(AROUND).await;
    tokio::task::spawn_blocking(fault).await.unwrap();
    tokio::time::sleep(AROUND).await;
    ends.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for load in loads {
        all.push(load.await.unwrap());
    }
    all
}

/// Asks Prometheus.
async fn ask_prometheus(path: &str) -> Option<Value> {
    let request = client().get(format!("http://localhost:9090/api/v1/{path}"));
    let body = request.send().await.ok()?.bytes().await.ok()?;
    Some(serde_json::from_slice::<Value>(&body).ok()?["data"].take())
}

/// Waits until Prometheus has scraped both replicas and evaluated all alerts without an error.
async fn await_prometheus() {
    eventually("Prometheus scrapes both replicas", async || {
        let query = "query?query=up%7Bjob%3D%22curfew%22%7D";
        let answer = ask_prometheus(query).await.unwrap_or_default();
        let samples = answer["result"].as_array().cloned().unwrap_or_default();
        let mut replicas: Vec<_> = samples
            .iter()
            .filter(|sample| sample["value"][1] == "1")
            .filter_map(|sample| sample["metric"]["instance"].as_str())
            .collect();
        replicas.sort_unstable();
        replicas == ["curfew-1:9189", "curfew-2:9189"]
    })
    .await;
    eventually("Prometheus evaluates the alerts", async || {
        let answer = ask_prometheus("rules").await.unwrap_or_default();
        let rules = answer["groups"][0]["rules"].as_array().cloned();
        let rules = rules.unwrap_or_default();
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule}");
        }
        rules.len() > 10 && rules.iter().all(|rule| rule["health"] == "ok")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_survives_the_loss_of_a_replica_and_ends_sessions() {
    for (name, port) in PROXIES {
        eventually(
            &format!("{name} redirects to the sign-in page"),
            async || get(&client(), port, "/orders", "").await == Some(302),
        )
        .await;
    }
    await_prometheus().await;
    let cookie = sign_in("alice").await;
    for (name, port) in PROXIES {
        assert_eq!(
            get(&client(), port, "/orders", &cookie).await,
            Some(200),
            "{name}"
        );
        assert_eq!(
            get(&client(), port, "/orders", "session=forged").await,
            Some(302),
            "{name}"
        );
        assert_eq!(
            get(&client(), port, "/.curfew/session", &cookie).await,
            Some(200),
            "{name}"
        );
    }
    println!("| fault | proxy | served | denied | errors | wrong |\n|---|---|--:|--:|--:|--:|");
    let mut failures = Vec::new();
    let faults: [(&str, &'static [&'static str]); 4] = [
        ("a replica is stopped", &["stop", "curfew-1"]),
        ("it starts again", &["start", "curfew-1"]),
        ("the other replica is killed", &["kill", "curfew-2"]),
        ("it starts again", &["start", "curfew-2"]),
    ];
    for (fault, command) in faults {
        let all = during(&cookie, move || compose(command)).await;
        for ((name, _), counts) in PROXIES.iter().zip(all) {
            let Counts {
                served,
                denied,
                errors,
                wrong,
            } = &counts;
            println!(
                "| {fault} | {name} | {served} | {denied} | {} | {} |",
                errors.len(),
                wrong.len()
            );
            let is_right = wrong.is_empty() && errors.len() <= 1 && *served > 50 && *denied > 50;
            if !is_right {
                failures.push(format!("{fault}: {name}: {counts:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    // Without requests, the session ends at every proxy.
    tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
    for (name, port) in PROXIES {
        assert_eq!(
            get(&client(), port, "/orders", &cookie).await,
            Some(302),
            "{name}"
        );
    }
}
