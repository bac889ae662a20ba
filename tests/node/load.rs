//! Requests to the Service of Curfew, as proxies send them, and the sessions in them.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::deployment::installed_path;
use crate::support::kubectl::kubectl;
use crate::support::{self, eventually, free_port, repository_root};
use crate::{NAMESPACE, Namespace};

/// The pause between two requests of a client.
const PAUSE: Duration = Duration::from_millis(20);

/// The admin API of one replica, through `kubectl port-forward`.
pub struct Admin {
    forward: Child,
    address: String,
    token: String,
}

impl Admin {
    pub async fn connect(namespace: &Namespace) -> Self {
        let port = free_port();
        let forward = Command::new(installed_path("kubectl"))
            .current_dir(repository_root())
            .args([
                "port-forward",
                "--namespace",
                NAMESPACE,
                "deployment/curfew",
            ])
            .arg(format!("{port}:9188"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let admin = Self {
            forward,
            address: format!("http://127.0.0.1:{port}/api/v1/sessions"),
            token: namespace.admin_token.clone(),
        };
        eventually("the admin API answers", async || {
            let request = client(true).get(&admin.address).bearer_auth(&admin.token);
            request
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        admin
    }

    /// Starts a session. Returns its ID and its cookie.
    pub async fn sign_in(&self, subject: &str) -> (String, String) {
        let request = client(true).post(&self.address).bearer_auth(&self.token);
        let answer = request
            .json(&json!({ "subject": subject }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201);
        let answer: Value = answer.json().await.unwrap();
        let id = answer["session"]["id"].as_str().unwrap().to_owned();
        let token = answer["token"].as_str().unwrap();
        (id, format!("__Host-session={token}"))
    }

    pub async fn end(&self, id: &str) {
        let request = client(true).delete(format!("{}/{id}", self.address));
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        assert!(answer.status().is_success());
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}

/// A client that uses connections again, or one that opens a connection for each request.
fn client(keeps_connections: bool) -> reqwest::Client {
    support::tls::install_provider();
    let limit = if keeps_connections { usize::MAX } else { 0 };
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(limit)
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

/// The answers during a fault.
#[derive(Debug, Default)]
pub struct Counts {
    pub allowed: usize,
    pub denied: usize,
    /// Answers that tell of trouble, and requests without an answer. A proxy denies these requests, but keeps the session.
    pub errors: Vec<String>,
    /// Answers that contradict the state of the session.
    pub wrong: Vec<String>,
}

/// The Service of Curfew, and the cookies of a session and of an ended session.
#[derive(Clone)]
pub struct Service {
    url: String,
    session: String,
    ended: String,
}

impl Service {
    /// Starts both sessions, and waits until the Service answers.
    pub async fn start(namespace: &Namespace) -> Self {
        let admin = Admin::connect(namespace).await;
        let (_, session) = admin.sign_in("alice").await;
        let (id, ended) = admin.sign_in("bob").await;
        admin.end(&id).await;
        let service = Self {
            url: url(),
            session,
            ended,
        };
        eventually(
            "the Service allows a session and denies others",
            async || {
                service
                    .round(&client(false))
                    .await
                    .iter()
                    .all(|(expected, answer)| {
                        answer.as_ref().is_ok_and(|status| status == expected)
                    })
            },
        )
        .await;
        service
    }

    /// Sends a check with the session, with an ended session and without a session. Returns the expected statuses and the
    /// answers.
    async fn round(&self, http: &reqwest::Client) -> Vec<(u16, Result<u16, String>)> {
        let mut answers = Vec::new();
        for (cookie, expected) in [(&*self.session, 200), (&*self.ended, 401), ("", 401)] {
            answers.push((expected, check(http, &self.url, cookie).await));
        }
        answers
    }

    /// Sends checks while `fault` runs, and for some time after it.
    pub async fn during(&self, name: &str, fault: impl FnOnce() + Send + 'static) -> Counts {
        let ends = Arc::new(AtomicBool::new(false));
        let loads: Vec<JoinHandle<Counts>> = [true, true, false, false]
            .map(|keeps_connections| {
                let (service, ends) = (self.clone(), Arc::clone(&ends));
                tokio::spawn(async move { service.load(&client(keeps_connections), &ends).await })
            })
            .into();
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::spawn_blocking(fault).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        ends.store(true, Ordering::Relaxed);
        let mut all = Counts::default();
        for load in loads {
            let counts = load.await.unwrap();
            all.allowed += counts.allowed;
            all.denied += counts.denied;
            all.errors.extend(counts.errors);
            all.wrong.extend(counts.wrong);
        }
        let Counts {
            allowed,
            denied,
            errors,
            wrong,
        } = &all;
        println!(
            "{name}: {allowed} allowed, {denied} denied, {} errors, {} wrong",
            errors.len(),
            wrong.len()
        );
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        assert!(*allowed > 100 && *denied > 100, "{name}: {errors:?}");
        all
    }

    async fn load(&self, http: &reqwest::Client, ends: &AtomicBool) -> Counts {
        let mut counts = Counts::default();
        while !ends.load(Ordering::Relaxed) {
            for (expected, answer) in self.round(http).await {
                match answer {
                    Ok(status) if status == expected && status == 200 => counts.allowed += 1,
                    Ok(status) if status == expected => counts.denied += 1,
                    Ok(status) if status < 500 => {
                        counts.wrong.push(format!("{status} for {expected}"));
                    }
                    Ok(status) => counts.errors.push(status.to_string()),
                    Err(error) => counts.errors.push(error),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        counts
    }
}

/// The URL of checks at the Service of Curfew.
pub fn url() -> String {
    let arguments = ["get", "service", "curfew", "--namespace", NAMESPACE];
    let output = ["--output", "jsonpath={.spec.clusterIP}"];
    let address = kubectl(&[&arguments[..], &output].concat(), "");
    format!("http://{address}:9180/forward-auth")
}

/// Sends a check. Returns the status, or the error of the connection.
async fn check(http: &reqwest::Client, url: &str, cookie: &str) -> Result<u16, String> {
    let request = http
        .get(url)
        .header("x-forwarded-method", "GET")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "app.example.com")
        .header("x-forwarded-uri", "/orders")
        .header("cookie", cookie);
    match request.send().await {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Sends a check without a session. Returns the status, or `None` without an answer.
pub async fn check_without_session() -> Option<u16> {
    check(&client(false), &url(), "").await.ok()
}
