use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Admin;
use super::model::{PolicyList, PolicyView};

/// The policies in force.
#[utoipa::path(
    get,
    path = "/api/v1/policies",
    tag = "policies",
    security(("token" = [])),
    responses((status = 200, body = PolicyList), (status = 401, body = super::error::Problem)),
)]
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<PolicyList> {
    let policies = &admin.lifecycle.policies;
    let views = policies
        .iter()
        .map(|(name, policy)| PolicyView::new(name, policy, name == policies.default_name()));
    Json(PolicyList {
        policies: views.collect(),
    })
}
