use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{explain, policies, sessions};

/// The description of the admin API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Curfew admin API",
        description = "Starts, shows and ends sessions.",
    ),
    paths(
        sessions::create,
        sessions::list,
        sessions::revoke_all,
        sessions::count,
        sessions::show,
        sessions::revoke,
        sessions::age,
        explain::explain_session,
        policies::list,
    ),
    modifiers(&BearerToken),
)]
struct Document;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The OpenAPI document of the admin API.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `/api/v1/openapi.json`: public, as this documentation is.
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
