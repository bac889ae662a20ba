//! How a handler gets a value that is replaced on a reload.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::live::Live;

/// The current value of the router's state, for the whole of a request.
pub struct Current<T>(pub Arc<T>);

impl<T: Send + Sync> FromRequestParts<Live<T>> for Current<T> {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, live: &Live<T>) -> Result<Self, Infallible> {
        Ok(Self(live.current()))
    }
}
