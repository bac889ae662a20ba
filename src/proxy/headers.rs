//! The headers that a proxy must not forward.

use http::header::{
    CONNECTION, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::relay::list_items;

/// The headers that apply to one connection only (RFC 9110, section 7.6.1), besides those that `Connection` lists.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The headers that `Connection` cannot remove, although a client lists them there. A client could otherwise remove
/// what Curfew or a trusted proxy says about the request.
const NOT_REMOVABLE: [HeaderName; 6] = [
    HOST,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
];

/// Removes the headers that apply to one connection only. Keeps `TE: trailers`, because Curfew forwards trailers.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = list_items(headers, &CONNECTION)
        .filter_map(|item| item.parse().ok())
        .filter(|name| !NOT_REMOVABLE.contains(name))
        .collect();
    let accepts_trailers = list_items(headers, &TE).any(|item| {
        let coding = item.split(';').next().unwrap_or(item).trim();
        coding.eq_ignore_ascii_case("trailers")
    });
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn headers_of_one_connection_are_removed() {
        let mut all = headers(&[
            ("connection", "keep-alive, X-Debug"),
            ("connection", "close, host, via"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip;q=0.5, Trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-debug", "1"),
            ("host", "app.example.com"),
            ("via", "1.1 edge"),
            ("trailer", "x-checksum"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut all);
        assert_eq!(names(&all), ["accept", "host", "te", "trailer", "via"]);
        assert_eq!(all["te"], "trailers");
        let mut without = headers(&[("te", "gzip")]);
        remove_hop_by_hop(&mut without);
        assert!(without.is_empty());
    }
}
