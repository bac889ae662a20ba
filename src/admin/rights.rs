//! The right that an admin token needs for each route of the API.

use http::Method;

use crate::credential::Right;

/// The method, the path and the required right of each route. Every admin token is refused on a route that is not in
/// this table.
pub(super) const ROUTES: [(&str, &str, Right); 14] = [
    ("POST", "/api/v1/sessions", Right::Create),
    ("GET", "/api/v1/sessions", Right::Read),
    ("DELETE", "/api/v1/sessions", Right::Revoke),
    ("GET", "/api/v1/sessions/count", Right::Read),
    ("GET", "/api/v1/sessions/{id}", Right::Read),
    ("DELETE", "/api/v1/sessions/{id}", Right::Revoke),
    // Ageing can end a session.
    ("POST", "/api/v1/sessions/{id}/age", Right::Revoke),
    ("POST", "/api/v1/sessions/{id}/explain", Right::Read),
    ("POST", "/api/v1/revocations", Right::Revoke),
    ("GET", "/api/v1/revocations", Right::Read),
    ("GET", "/api/v1/policies", Right::Read),
    // A recording changes no session, so `read` is enough.
    ("POST", "/api/v1/recording", Right::Read),
    ("GET", "/api/v1/recording", Right::Read),
    ("DELETE", "/api/v1/recording", Right::Read),
];

/// The right that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Required {
    /// An admin token needs this right.
    Right(Right),
    /// No right is required: the path does not support this method, and the answer is 405.
    Nothing,
    /// The path is not in the table, so every admin token is refused.
    Unknown,
}

/// Returns the right that a request to the route `path` requires.
pub(super) fn required(method: &Method, path: &str) -> Required {
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let mut routes = ROUTES
        .iter()
        .filter(|(_, known, _)| *known == path)
        .peekable();
    if routes.peek().is_none() {
        return Required::Unknown;
    }
    let found = routes.find(|(known, ..)| *known == method);
    found.map_or(Required::Nothing, |(.., right)| Required::Right(*right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_is_not_in_the_table_is_refused() {
        let path = "/api/v1/sessions";
        assert_eq!(required(&Method::HEAD, path), Required::Right(Right::Read));
        assert_eq!(required(&Method::PUT, path), Required::Nothing);
        assert_eq!(required(&Method::GET, "/api/v1/other"), Required::Unknown);
    }
}
