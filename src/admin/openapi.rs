use std::sync::LazyLock;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{explain, policies, recording, revocations, routes, sessions};

/// The OpenAPI description of the admin API.
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
        routes::list,
        revocations::revoke,
        revocations::list,
        recording::start,
        recording::read,
        recording::stop,
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

/// Builds the OpenAPI document of the admin API.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The document as JSON. All responses share this memory, so many requests of slow clients need no additional memory.
static DOCUMENT_JSON: LazyLock<Bytes> = LazyLock::new(|| {
    let text = serde_json::to_vec(&document());
    text.map_or_else(|_| Bytes::new(), Bytes::from)
});

/// Serves `/api/v1/openapi.json`. The path needs no token, because the documentation of the API is public.
pub(super) async fn serve() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT_JSON.clone())
}
