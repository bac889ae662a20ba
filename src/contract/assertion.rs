use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Contracts;
use crate::check::CheckRequest;
use crate::current::Current;
use crate::identity::Identity;
use crate::session::Session;

/// The header that holds the assertion of who is there.
pub(super) const ASSERTION: HeaderName = HeaderName::from_static("x-curfew-assertion");

/// How long applications may keep the keys.
const CACHING: &str = "public, max-age=300";

impl Contracts {
    /// Signs who is there, where that is wanted; where nobody is, the header is empty.
    pub(super) fn add_identity(
        &self,
        headers: &mut HeaderMap,
        request: &CheckRequest<'_>,
        somebody: Option<(&Identity<'_>, &Session)>,
    ) {
        let (Some(signer), Ok(original)) = (&self.assertion, &request.original) else {
            return;
        };
        let now = self.checker.lifecycle.clock.now();
        let signed = somebody.and_then(|(identity, session)| {
            let token = signer.sign(identity, session, original.url.host, now);
            HeaderValue::try_from(token).ok()
        });
        let empty = || HeaderValue::from_static("");
        headers.insert(ASSERTION, signed.unwrap_or_else(empty));
    }
}

/// `GET /.well-known/jwks.json`: the keys to verify assertions with; 404 where none are signed.
pub async fn keys(Current(contracts): Current<Contracts>) -> Response {
    match &contracts.assertion {
        Some(signer) => ([(CACHE_CONTROL, CACHING)], Json(signer.published())).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
