use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::super::Admin;
use super::page::page;
use crate::current::Current;
use crate::telemetry::{Event, Replica};

#[derive(Template)]
#[template(path = "health.html", config = "src/admin/console/askama.toml")]
struct Health {
    active_page: &'static str,
    ready: Result<(), String>,
    store: &'static str,
    offset: String,
    near_cache: String,
    pending: i64,
    unconfirmed: u64,
    advice: Vec<String>,
    replicas: Vec<Replica>,
    this: String,
    events: Vec<Event>,
}

/// Shows the state of this replica and its recent events.
pub(super) async fn show(Current(admin): Current<Admin>) -> Response {
    let ops = &admin.ops;
    let near = &ops.metrics.near_cache;
    let near_cache = match near.usable.get() {
        0 => "off".to_owned(),
        _ => format!("on, {} sessions", near.entries.get()),
    };
    let shown = Health {
        active_page: "health",
        ready: ops.ready().await,
        store: admin.store,
        offset: format!("{:+.3} s", ops.metrics.store.clock_offset.get()),
        near_cache,
        pending: ops.metrics.store.touches_pending.get(),
        unconfirmed: ops.metrics.store.unconfirmed.get(),
        advice: ops.advice.lines(),
        replicas: ops.replicas.all(),
        this: ops.replicas.this().name.clone(),
        events: admin.recent.events(),
    };
    page(StatusCode::OK, &shown)
}
