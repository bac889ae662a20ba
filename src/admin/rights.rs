//! The right that each route of the API asks of an admin token.

use http::Method;

use crate::credential::Right;

/// A method, a path, and the right that it needs. A route that is not here is refused to every admin token.
pub(super) const ROUTES: [(&str, &str, Right); 14] = [
    ("POST", "/api/v1/sessions", Right::Create),
    ("GET", "/api/v1/sessions", Right::Read),
    ("DELETE", "/api/v1/sessions", Right::Revoke),
    ("GET", "/api/v1/sessions/count", Right::Read),
    ("GET", "/api/v1/sessions/{id}", Right::Read),
    ("DELETE", "/api/v1/sessions/{id}", Right::Revoke),
    // A session can end by that.
    ("POST", "/api/v1/sessions/{id}/age", Right::Revoke),
    ("POST", "/api/v1/sessions/{id}/explain", Right::Read),
    ("POST", "/api/v1/revocations", Right::Revoke),
    ("GET", "/api/v1/revocations", Right::Read),
    ("GET", "/api/v1/policies", Right::Read),
    // A recording changes no session: it is another way to see.
    ("POST", "/api/v1/recording", Right::Read),
    ("GET", "/api/v1/recording", Right::Read),
    ("DELETE", "/api/v1/recording", Right::Read),
];

/// What a route asks of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Required {
    /// This right.
    Right(Right),
    /// Nothing: the path does not take this method, which is answered with 405.
    Nothing,
    /// More than any token has: the path is not in the table.
    Unknown,
}

/// What a request to the route `path` asks of a token.
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
