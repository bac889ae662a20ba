//! An axum extractor for values that a reload of the configuration replaces.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::live::Live;

/// The value of the router's state at the start of a request. A reload does not replace it during the request.
pub struct Current<T>(pub Arc<T>);

impl<T: Send + Sync> FromRequestParts<Live<T>> for Current<T> {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, live: &Live<T>) -> Result<Self, Infallible> {
        Ok(Self(live.current()))
    }
}
