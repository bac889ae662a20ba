//! The `ops` listener: metrics and probes. It decides nothing about sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::store::SessionStore;
use crate::telemetry::Metrics;

/// How long the store gets to say that it is there.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the probes look at.
pub struct Ops {
    /// The store that must be reachable.
    pub store: Arc<dyn SessionStore>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Set when the process has been told to stop.
    pub draining: Arc<AtomicBool>,
}

/// The routes of the `ops` listener.
pub fn router(ops: Arc<Ops>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(ops)
}

/// Whether traffic should be sent here: the store answers, and the process is not stopping.
async fn ready(State(ops): State<Arc<Ops>>) -> Response {
    if ops.draining.load(Ordering::Relaxed) {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "draining: the process is stopping\n",
        )
            .into_response();
    }
    match tokio::time::timeout(STORE_TIMEOUT, ops.store.ready()).await {
        Ok(Ok(())) => "ok\n".into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store does not answer\n",
        )
            .into_response(),
    }
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    match ops.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
