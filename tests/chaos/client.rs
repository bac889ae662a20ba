//! Sends requests to the two replicas over HTTP, and records when each request was sent and answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::record::Record;
use crate::stream::Stream;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The addresses of a replica. A restart does not change them.
#[derive(Clone, Copy)]
pub struct Addresses {
    pub check: SocketAddr,
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
}

pub struct Client {
    http: reqwest::Client,
    admin_token: String,
    addresses: [Addresses; 2],
    record: Arc<Record>,
}

/// A request and its answer.
pub struct Exchange {
    pub replica: usize,
    pub sent: Instant,
    pub arrived: Instant,
    /// None if no answer arrived.
    pub status: Option<u16>,
    /// The reason of a denial. If no answer arrived, the cause.
    pub reason: String,
    pub body: Value,
}

impl Exchange {
    /// Returns whether the replica gave no verdict: no answer, or the status 503.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.status, None | Some(503))
    }

    /// Returns the exchange for a stream that this exchange opened and that ended at `end`.
    pub fn until(&self, end: Instant, reason: &str) -> Self {
        Self {
            replica: self.replica,
            sent: self.sent,
            arrived: end,
            status: None,
            reason: reason.to_owned(),
            body: Value::Null,
        }
    }
}

/// Returns the index of a random replica.
pub fn random_replica() -> usize {
    random_below(2).try_into().unwrap()
}

/// Returns a random number below `end`.
pub fn random_below(end: u32) -> u32 {
    getrandom::u32().unwrap() % end
}

impl Client {
    pub fn new(admin_token: &str, addresses: [Addresses; 2], record: Arc<Record>) -> Self {
        crate::support::tls::install_provider();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_TIMEOUT)
            .build()
            .unwrap();
        Self {
            http,
            admin_token: admin_token.to_owned(),
            addresses,
            record,
        }
    }

    /// Sends a check in the format of NGINX.
    pub async fn check(&self, replica: usize, cookie: &str) -> Exchange {
        let url = format!("http://{}/auth-request", self.addresses[replica].check);
        let request = self
            .http
            .get(url)
            .header("x-original-url", "https://app.example.com/")
            .header("x-original-method", "GET")
            .header("cookie", cookie);
        self.exchange(replica, request).await
    }

    /// Opens a WebSocket. The exchange has the status 200 if it is open.
    pub async fn open_stream(&self, replica: usize, cookie: &str) -> (Exchange, Option<Stream>) {
        let sent = Instant::now();
        let opening = Stream::open(self.addresses[replica].proxy, cookie);
        let opened = tokio::time::timeout(ANSWER_TIMEOUT, opening).await;
        let (status, reason, stream) = match opened {
            Ok(Ok((101, reason, stream))) => (Some(200), reason, stream),
            Ok(Ok((status, reason, _))) => (Some(status), reason, None),
            Ok(Err(error)) => (None, error.to_string(), None),
            Err(_) => (None, "no answer in time".to_owned(), None),
        };
        let exchange = Exchange {
            replica,
            sent,
            arrived: Instant::now(),
            status,
            reason,
            body: Value::Null,
        };
        self.record.add_exchange(&exchange);
        if stream.is_some() {
            self.record.add_stream();
        }
        (exchange, stream)
    }

    pub async fn sign_in(&self, replica: usize, subject: &str, policy: &str) -> Exchange {
        let url = format!("http://{}/api/v1/sessions", self.addresses[replica].admin);
        let body = json!({ "subject": subject, "policy": policy });
        let request = self.http.post(url).bearer_auth(&self.admin_token);
        self.exchange(replica, request.json(&body)).await
    }

    pub async fn revoke(&self, replica: usize, id: &str) -> Exchange {
        let url = format!(
            "http://{}/api/v1/sessions/{id}",
            self.addresses[replica].admin
        );
        let request = self.http.delete(url).bearer_auth(&self.admin_token);
        self.exchange(replica, request).await
    }

    async fn exchange(&self, replica: usize, request: RequestBuilder) -> Exchange {
        let sent = Instant::now();
        let answer = send_and_read(request).await;
        let arrived = Instant::now();
        let (status, reason, body) = match answer {
            Ok((status, reason, body)) => (Some(status), reason, body),
            Err(error) => (None, error.to_string(), Value::Null),
        };
        let exchange = Exchange {
            replica,
            sent,
            arrived,
            status,
            reason,
            body,
        };
        self.record.add_exchange(&exchange);
        exchange
    }
}

async fn send_and_read(request: RequestBuilder) -> reqwest::Result<(u16, String, Value)> {
    let response = request.send().await?;
    let (status, reason) = (response.status().as_u16(), reason_of(&response));
    let body = response.bytes().await?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok((status, reason, body))
}

fn reason_of(response: &Response) -> String {
    let reason = response.headers().get("x-session-reason");
    reason.map_or("", |reason| reason.to_str().unwrap()).into()
}
