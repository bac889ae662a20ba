//! Sessions of another authorization service: the request to the service, and the interpretation of its response.

mod request;
mod response;
mod session_key;

use std::time::Duration;

use http::{HeaderName, HeaderValue};

pub use request::DelegatedCheck;
pub use response::{AllowedResponse, UnusableResponse};
pub use session_key::SessionKey;

use crate::policy::MaxAge;

/// The settings for another authorization service, such as oauth2-proxy.
#[derive(Clone, Debug)]
pub struct DelegatedService {
    /// The name of the service in the configuration.
    pub name: String,
    /// The part of a request or response that identifies the session.
    pub key: SessionKey,
    /// The response header with the subject.
    pub user: HeaderName,
    /// The response header with the subject's groups.
    pub groups: Option<HeaderName>,
    /// The delimiter between two groups.
    pub groups_separator: char,
    /// The response header with the subject's email address.
    pub email: Option<HeaderName>,
    /// The response header with the subject's display name.
    pub display_name: Option<HeaderName>,
    /// The response header with a token of the identity provider.
    pub token: Option<HeaderName>,
    /// The response header with the time of the authentication; with `None`, the token's `auth_time` counts.
    pub auth_time: Option<HeaderName>,
    /// The maximum age of the authentication when a session starts.
    pub max_age: MaxAge,
    /// Additional request headers that Curfew forwards to the service.
    pub forwarded_headers: Vec<HeaderName>,
    /// Response headers that Curfew passes on to the back end.
    pub passed_headers: Vec<HeaderName>,
    /// How long the service's sessions can live after a sign-in.
    pub lifetime: Duration,
    /// The `Set-Cookie` value that deletes the service's cookie.
    pub cleared_cookie: Option<HeaderValue>,
}
