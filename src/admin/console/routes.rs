use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use curfew_kubernetes::{AuditedRoute, RouteState};
use http::StatusCode;
use serde::Deserialize;

use super::super::Admin;
use super::page::render_page;
use crate::current::Current;

/// The most rows on one page.
const PAGE_SIZE: usize = 500;

#[derive(Template)]
#[template(path = "routes.html", config = "src/admin/console/askama.toml")]
struct RoutesTemplate {
    active_page: &'static str,
    /// Why there is no report.
    problem: Option<String>,
    since: String,
    rows: Vec<Row>,
    /// The number of rows that the page leaves out.
    left_out: usize,
    counts: Vec<(RouteState, usize)>,
}

struct Row {
    route: AuditedRoute,
    state: &'static str,
    limits: Vec<String>,
}

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RoutesQuery {
    state: Option<RouteState>,
}

/// Shows the routes of the cluster, their limits, and which of them send no checks.
pub(super) async fn show(
    Current(admin): Current<Admin>,
    query: Result<Query<RoutesQuery>, QueryRejection>,
) -> Response {
    let Query(RoutesQuery { state }) = query.unwrap_or_default();
    let mut template = RoutesTemplate {
        active_page: "routes",
        problem: None,
        since: String::new(),
        rows: Vec::new(),
        left_out: 0,
        counts: Vec::new(),
    };
    match admin.route_report().await {
        Err(problem) => template.problem = Some(problem.to_string()),
        Ok(report) => {
            let count = |state| {
                let of_state = report.routes.iter().filter(|it| it.state == state);
                (state, of_state.count())
            };
            template.counts = RouteState::ALL.map(count).to_vec();
            let shown = |route: &AuditedRoute| state.is_none_or(|state| route.state == state);
            let routes: Vec<_> = report.routes.into_iter().filter(shown).collect();
            template.left_out = routes.len().saturating_sub(PAGE_SIZE);
            template.rows = routes.into_iter().take(PAGE_SIZE).map(Row::from).collect();
            template.since = report.since;
        }
    }
    render_page(StatusCode::OK, &template)
}

impl From<AuditedRoute> for Row {
    fn from(route: AuditedRoute) -> Self {
        let limits = route.limits.iter();
        let limits = limits.map(|(name, limit)| format!("{name} {}: {}", limit.value, limit.from));
        Self {
            limits: limits.collect(),
            state: describe(&route.state),
            route,
        }
    }
}

const fn describe(state: &RouteState) -> &'static str {
    match state {
        RouteState::NoCheck => "no check",
        RouteState::Uncertain => "uncertain",
        RouteState::EveryHost => "every host",
        RouteState::Conflicted => "held by another route",
        RouteState::NotServed => "not served",
        RouteState::Checked => "checked",
    }
}
