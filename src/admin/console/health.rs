use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::super::Admin;
use super::page::page;
use crate::telemetry::Event;

#[derive(Template)]
#[template(path = "health.html", config = "src/admin/console/askama.toml")]
struct Health {
    place: &'static str,
    ready: Result<(), String>,
    store: &'static str,
    offset: String,
    advice: Vec<String>,
    version: &'static str,
    events: Vec<Event>,
}

/// How this replica is, and what happened on it.
pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Response {
    let ops = &admin.ops;
    let shown = Health {
        place: "health",
        ready: ops.ready().await,
        store: admin.store,
        offset: format!("{:+.3} s", ops.metrics.clock_offset.get()),
        advice: ops.advice.lines(),
        version: env!("CARGO_PKG_VERSION"),
        events: admin.lifecycle.recent.events(),
    };
    page(StatusCode::OK, &shown)
}
