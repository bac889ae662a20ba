use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Contracts;
use crate::check::CheckRequest;
use crate::current::Current;
use crate::identity::Identity;
use crate::session::Session;

/// The header with the signed identity assertion.
pub(super) const ASSERTION_HEADER: HeaderName = HeaderName::from_static("x-curfew-assertion");

/// How long applications may cache the keys.
const JWKS_CACHE_CONTROL: &str = "public, max-age=300";

impl Contracts {
    /// Adds the header with the signed assertion of the identity, if assertions are on. Without a session, the header
    /// is empty, so that it replaces a header of the client.
    pub(super) fn add_assertion(
        &self,
        headers: &mut HeaderMap,
        request: &CheckRequest<'_>,
        identity_and_session: Option<(&Identity<'_>, &Session)>,
    ) {
        let (Some(signer), Ok(original)) = (&self.assertion_signer, &request.original) else {
            return;
        };
        let now = self.checker.clock.now();
        let signed = identity_and_session.and_then(|(identity, session)| {
            let token = signer.sign(identity, session, original.url.host, now);
            HeaderValue::try_from(token).ok()
        });
        let empty = || HeaderValue::from_static("");
        headers.insert(ASSERTION_HEADER, signed.unwrap_or_else(empty));
    }
}

/// `GET /.well-known/jwks.json`: the keys that verify assertions; 404 if assertions are off.
pub async fn serve_assertion_keys(Current(contracts): Current<Contracts>) -> Response {
    match &contracts.assertion_signer {
        Some(signer) => (
            [(CACHE_CONTROL, JWKS_CACHE_CONTROL)],
            Json(signer.public_key_set()),
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
