use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::lifecycle::StartError;
use crate::store::StoreError;

/// An error as problem details (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The HTTP status code.
    status: u16,
    /// The standard phrase of the status code.
    title: String,
    /// What is wrong with this request, and how to fix it.
    detail: String,
}

/// Why a request to the admin API failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("no valid admin token: send a token in `Authorization: Bearer …`")]
    Unauthorized,
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("there is no session with this ID")]
    UnknownSession,
    #[error("unknown path; /api/v1/openapi.json lists all paths")]
    NotFound,
    #[error("method not allowed for this path; /api/v1/openapi.json lists the methods")]
    MethodNotAllowed,
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    UnsupportedMediaType(String),
    #[error("the routes of the cluster are known only with kubernetes.policies")]
    NoCluster,
    #[error("ageing of sessions is disabled; for tests, enable it with admin.allow_ageing")]
    AgeingDisabled,
    #[error("{0}")]
    LimitReached(String),
    #[error("too many wrong tokens from this address; wait {} s", .0.as_secs().max(1))]
    TooManyAttempts(Duration),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::UnknownSession | Self::NotFound | Self::NoCluster => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::AgeingDisabled | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::LimitReached(_) => StatusCode::CONFLICT,
            Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let problem = Problem {
            status: status.as_u16(),
            title,
            detail: self.to_string(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self {
            Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooManyAttempts(wait) => {
                headers.insert(RETRY_AFTER, retry_after(wait));
            }
            Self::Unavailable(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// Returns the value of `Retry-After`: whole seconds, rounded up.
pub(super) fn retry_after(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_millis().div_ceil(1000).max(1) as u64)
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "could not answer a request to the admin API");
        Self::Unavailable(error.to_string())
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::UnknownPolicy => Self::Invalid(format!(
                "policy: {error}; /api/v1/policies lists the policies"
            )),
            StartError::ReservedSubject => Self::Invalid(format!("subject: {error}")),
            StartError::NoRememberLimits => Self::Invalid(format!("remember: {error}")),
            StartError::UnknownClientProperty(_) => Self::Invalid(format!("client: {error}")),
            StartError::SessionLimitReached(_) => Self::LimitReached(error.to_string()),
            // A sign-in through the API starts at the current time, so it is never too old. If the error occurs
            // anyway, report an invalid request.
            StartError::TooOld => Self::Invalid(error.to_string()),
            StartError::UnknownRoutes => Self::Unavailable(error.to_string()),
            StartError::Store(error) => error.into(),
            StartError::Token(_) | StartError::TokenCollision => {
                tracing::error!(%error, "could not start a session");
                Self::Internal(error.to_string())
            }
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let text = rejection.body_text();
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge(text),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType(text),
            _ => Self::Invalid(text),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::Invalid(rejection.body_text())
    }
}

pub(super) async fn not_found() -> ApiError {
    ApiError::NotFound
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Middleware: adds `Cache-Control: no-store` to every response, so that no cache stores it.
pub(super) async fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
