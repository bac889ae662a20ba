use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::{Extension, Json};
use curfew_kubernetes::{RouteReport, RouteState};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Admin;
use super::caller::Caller;
use super::error::ApiError;
use crate::current::Current;
use crate::kubernetes::Verb;

/// The query of a report on routes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteQuery {
    /// Only the routes in this state.
    state: Option<RouteState>,
}

/// Lists the routes of the cluster, and which of them have sent a check.
#[utoipa::path(
    get,
    path = "/api/v1/routes",
    tag = "policies",
    security(("token" = [])),
    params(RouteQuery),
    responses(
        (status = 200, body = RouteReport),
        (status = 400, description = "an unknown parameter or state", body = super::error::Problem),
        (status = 401, body = super::error::Problem),
        (status = 404, description = "`kubernetes.policies` is not set", body = super::error::Problem),
        (status = 429, description = "too many wrong tokens from this address", body = super::error::Problem),
        (status = 403, description = "the admin token lacks the right `read`, or no Kubernetes role allows it", body = super::error::Problem),
        (status = 503, description = "the objects of the cluster are not known yet", body = super::error::Problem),
    ),
)]
pub(super) async fn list(
    Current(admin): Current<Admin>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<RouteQuery>, QueryRejection>,
) -> Result<Json<RouteReport>, ApiError> {
    caller.require_verb(Verb::List, None).await?;
    let Query(RouteQuery { state }) = query?;
    let mut report = admin.route_report().await?;
    report
        .routes
        .retain(|route| state.is_none_or(|state| route.state == state));
    Ok(Json(report))
}

impl Admin {
    /// Returns the report on the routes of the cluster.
    pub(super) async fn route_report(&self) -> Result<RouteReport, ApiError> {
        /// How long a request waits for the first list of the API server.
        const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
        let reports = self.route_reports.as_ref().ok_or(ApiError::NoCluster)?;
        let report = tokio::time::timeout(TIMEOUT, reports.report()).await;
        let unknown =
            || ApiError::Unavailable("the routes of the cluster are not known yet".to_owned());
        report.ok().flatten().ok_or_else(unknown)
    }
}
