//! The right that an admin token needs for each route of the API.

use http::Method;

use crate::credential::Right;

/// The method, the path and the required right of each route. A route without an entry refuses every admin token, so a
/// new route gives no access by mistake.
pub(super) const ROUTES: [(&str, &str, Right); 15] = [
    ("POST", "/api/v1/sessions", Right::Create),
    ("GET", "/api/v1/sessions", Right::Read),
    ("DELETE", "/api/v1/sessions", Right::Revoke),
    ("GET", "/api/v1/sessions/count", Right::Read),
    ("GET", "/api/v1/sessions/{id}", Right::Read),
    ("DELETE", "/api/v1/sessions/{id}", Right::Revoke),
    // Ageing moves a session past its limits, so it needs the right to end sessions.
    ("POST", "/api/v1/sessions/{id}/age", Right::Revoke),
    ("POST", "/api/v1/sessions/{id}/explain", Right::Read),
    ("POST", "/api/v1/revocations", Right::Revoke),
    ("GET", "/api/v1/revocations", Right::Read),
    ("GET", "/api/v1/policies", Right::Read),
    ("GET", "/api/v1/routes", Right::Read),
    // A recording changes no session, so `read` is enough.
    ("POST", "/api/v1/recording", Right::Read),
    ("GET", "/api/v1/recording", Right::Read),
    ("DELETE", "/api/v1/recording", Right::Read),
];

/// The right that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequiredRight {
    /// An admin token needs this right.
    Right(Right),
    /// No right is required, because the path does not support this method and the answer is 405 anyway.
    Nothing,
    /// The path is not in the table, so every admin token is refused.
    UnknownRoute,
}

/// Returns the right that a request to the route `path` requires.
pub(super) fn required_right(method: &Method, path: &str) -> RequiredRight {
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let mut routes = ROUTES
        .iter()
        .filter(|(_, route, _)| *route == path)
        .peekable();
    if routes.peek().is_none() {
        return RequiredRight::UnknownRoute;
    }
    let found = routes.find(|(route_method, ..)| *route_method == method);
    found.map_or(RequiredRight::Nothing, |(.., right)| {
        RequiredRight::Right(*right)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_is_not_in_the_table_is_refused() {
        let path = "/api/v1/sessions";
        assert_eq!(
            required_right(&Method::HEAD, path),
            RequiredRight::Right(Right::Read)
        );
        assert_eq!(required_right(&Method::PUT, path), RequiredRight::Nothing);
        assert_eq!(
            required_right(&Method::GET, "/api/v1/other"),
            RequiredRight::UnknownRoute
        );
    }
}
