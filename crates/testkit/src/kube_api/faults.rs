//! What tests do to an API server: failures, delays, lost watches. It also records what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::StreamExt as _;
use http::request::Parts;
use http::{Method, StatusCode};
use tokio::sync::broadcast;
use url::form_urlencoded::parse;

use super::error_response;

/// A request to the server.
pub(super) struct Asked {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) query: BTreeMap<String, String>,
}

impl Asked {
    pub(super) fn new(head: Parts, body: Bytes) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let query = parse(query.as_bytes()).into_owned().collect();
        Self { head, body, query }
    }

    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value == "true")
    }

    pub(super) fn is_watch(&self) -> bool {
        self.is_set("watch")
    }

    /// The resource version from which a watch starts; `None` if it starts with all objects.
    fn watched_version(&self) -> Option<u64> {
        if !self.is_watch() || self.is_set("sendInitialEvents") {
            return None;
        }
        let version = self.query.get("resourceVersion")?.parse().ok()?;
        (version > 0).then_some(version)
    }

    fn content_type(&self) -> String {
        let kind = self.head.headers.get("content-type");
        kind.map_or("", |kind| kind.to_str().unwrap()).to_owned()
    }
}

pub(super) struct Faults {
    state: Arc<Mutex<FaultsState>>,
    /// Ends the watches.
    ends: broadcast::Sender<()>,
}

#[derive(Default)]
struct FaultsState {
    /// The status of every answer, while the server fails.
    failure: Option<StatusCode>,
    /// The resources that the server does not have.
    missing: Vec<String>,
    /// The only token that the server accepts. Without it, the server accepts all requests.
    token: Option<String>,
    /// The pause before each answer and each event.
    delay: Duration,
    /// The resource version up to which the server has removed the events. A watch from an older version gets 410.
    compacted_version: u64,
    /// The status writes, with path, content type and body.
    statuses: Vec<(String, String, Bytes)>,
    requests: Vec<String>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            ends: broadcast::channel(1).0,
        }
    }
}

impl Faults {
    pub(super) fn compact(&self, version: u64) {
        self.state.lock().unwrap().compacted_version = version;
    }

    pub(super) fn fail(&self, status: Option<StatusCode>) {
        self.state.lock().unwrap().failure = status;
        self.end_watches();
    }

    pub(super) fn end_watches(&self) {
        let _ = self.ends.send(());
    }

    pub(super) fn require_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
        self.end_watches();
    }

    pub(super) fn slow_down(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    pub(super) fn remove_resource(&self, plural: &str) {
        let missing = &mut self.state.lock().unwrap().missing;
        missing.push(plural.to_owned());
    }

    pub(super) fn statuses(&self) -> Vec<(String, String, Bytes)> {
        self.state.lock().unwrap().statuses.clone()
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Records a request, and waits if the server is slow. Returns the answer if the server fails.
    pub(super) async fn answer(&self, asked: &Asked) -> Option<Response> {
        let (path, query) = (asked.path(), asked.head.uri.query().unwrap_or(""));
        let delay = {
            let mut state = self.state.lock().unwrap();
            let request = format!("{} {path}?{query}", asked.head.method);
            state.requests.push(request);
            if let Some(status) = state.failure {
                return Some(error_response(status));
            }
            let token = asked.head.headers.get("authorization");
            let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
            if expected.is_some_and(|expected| token.is_none_or(|token| *token != *expected)) {
                return Some(error_response(StatusCode::UNAUTHORIZED));
            }
            if path
                .split('/')
                .any(|it| state.missing.iter().any(|missing| missing == it))
            {
                return Some(error_response(StatusCode::NOT_FOUND));
            }
            let from = asked.watched_version();
            if from.is_some_and(|from| from < state.compacted_version) {
                return Some(error_response(StatusCode::GONE));
            }
            let is_write = [Method::PATCH, Method::PUT].contains(&asked.head.method);
            if is_write && path.ends_with("/status") {
                let write = (path.to_owned(), asked.content_type(), asked.body.clone());
                state.statuses.push(write);
            }
            state.delay
        };
        tokio::time::sleep(delay).await;
        None
    }

    /// Delays and ends the events of a watch.
    pub(super) fn disturb(&self, answer: Response) -> Response {
        let mut ends = self.ends.subscribe();
        let state = Arc::clone(&self.state);
        let (head, body) = answer.into_parts();
        let events = body
            .into_data_stream()
            .take_until(async move { ends.recv().await })
            .then(move |event| {
                let delay = state.lock().unwrap().delay;
                async move {
                    tokio::time::sleep(delay).await;
                    event
                }
            });
        Response::from_parts(head, Body::from_stream(events))
    }
}
