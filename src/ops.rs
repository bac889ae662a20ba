//! The `ops` listener: metrics and probes. Its requests do not affect sessions.

pub mod grpc_health;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::escape;
use crate::live::Live;
use crate::policy::Routes;
use crate::store::SessionStore;
use crate::telemetry::{Diagnostics, Metrics, Replicas};

/// The timeout of the store's health check.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The dependencies of the probes and the metrics.
pub struct Ops {
    /// The store that must be reachable.
    pub store: Arc<dyn SessionStore>,
    /// The metrics for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Recommendations for the operator.
    pub diagnostics: Arc<Diagnostics>,
    /// The replicas that share the store.
    pub replicas: Arc<Replicas>,
    /// The routes of the cluster.
    pub routes: Live<Routes>,
    /// Whether the process is stopping.
    pub draining: Arc<AtomicBool>,
}

/// Builds the router of the `ops` listener.
pub fn router(ops: Arc<Ops>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(ops)
}

/// Returns `ok`, or the reason why the process is not ready. With `?verbose` (as in Kubernetes), adds recommendations
/// and other information for the operator.
async fn readyz(State(ops): State<Arc<Ops>>, RawQuery(query): RawQuery) -> Response {
    let (status, mut text) = match ops.ready().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            escape::line(&reason).into_owned() + "\n",
        ),
    };
    if query.is_some_and(|query| query.split('&').any(|word| word == "verbose")) {
        for line in ops.diagnostics.recommendations() {
            text = text + "advice: " + &escape::line(&line) + "\n";
        }
        for line in ops.diagnostics.information() {
            text = text + "info: " + &escape::line(&line) + "\n";
        }
    }
    (status, text).into_response()
}

impl Ops {
    /// Whether the process is ready: the store answers, the required policies of the cluster are known, and the process is
    /// not stopping.
    ///
    /// # Errors
    /// The reason as a text for the operator.
    pub async fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining: the process is stopping".to_owned());
        }
        if matches!(*self.routes.current(), Routes::Unknown) {
            return Err("the policies of the cluster are not known yet".to_owned());
        }
        match tokio::time::timeout(STORE_TIMEOUT, self.store.ready()).await {
            Ok(ready) => ready.map_err(|error| error.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        }
    }
}

async fn render_metrics(State(ops): State<Arc<Ops>>) -> Response {
    match ops.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "could not render metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
