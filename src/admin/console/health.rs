use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::super::Admin;
use super::page::render_page;
use crate::current::Current;
use crate::telemetry::{RecentEvent, Replica};

#[derive(Template)]
#[template(path = "health.html", config = "src/admin/console/askama.toml")]
struct HealthTemplate {
    active_page: &'static str,
    ready: Result<(), String>,
    store: &'static str,
    clock_offset: String,
    near_cache: String,
    pending_touches: i64,
    unconfirmed_writes: u64,
    recommendations: Vec<String>,
    replicas: Vec<Replica>,
    this_replica: String,
    events: Vec<RecentEvent>,
}

/// Shows the state of this replica and its recent events.
pub(super) async fn show(Current(admin): Current<Admin>) -> Response {
    let ops = &admin.ops;
    let near = &ops.metrics.near_cache;
    let near_cache = match near.usable.get() {
        0 => "off".to_owned(),
        _ => format!("on, {} sessions", near.entries.get()),
    };
    let template = HealthTemplate {
        active_page: "health",
        ready: ops.ready().await,
        store: admin.store_kind,
        clock_offset: format!("{:+.3} s", ops.metrics.store.clock_offset.get()),
        near_cache,
        pending_touches: ops.metrics.store.touches_pending.get(),
        unconfirmed_writes: ops.metrics.store.unconfirmed.get(),
        recommendations: ops.diagnostics.recommendations(),
        replicas: ops.replicas.all(),
        this_replica: ops.replicas.this().name.clone(),
        events: admin.recent_events.events(),
    };
    render_page(StatusCode::OK, &template)
}
