use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use hyper::ext::Protocol;

use crate::streams::{StreamGuard, StreamKind};

/// The protocol that a request wants to use instead of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeKind {
    /// A WebSocket (RFC 6455).
    WebSocket,
    /// Another protocol.
    Other,
}

impl UpgradeKind {
    const fn new(is_websocket: bool) -> Self {
        if is_websocket {
            Self::WebSocket
        } else {
            Self::Other
        }
    }
}

impl From<UpgradeKind> for StreamKind {
    fn from(kind: UpgradeKind) -> Self {
        match kind {
            UpgradeKind::WebSocket => Self::WebSocket,
            UpgradeKind::Other => Self::Upgrade,
        }
    }
}

/// An upgrade that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The kind of the protocol.
    pub kind: UpgradeKind,
    /// The protocol, as the header `Upgrade` names it.
    pub protocol: HeaderValue,
}

/// Returns the upgrade that a request asks for; `None` without an upgrade. Over HTTP/1.1, the request asks with the
/// header `Upgrade`, over HTTP/2 with the extended CONNECT method (RFC 8441).
///
/// An upgrade to another version of HTTP or to TLS counts as none, because the requests on such a connection would
/// bypass the checks. Curfew may ignore an upgrade (RFC 9110, section 7.8).
#[must_use]
pub fn requested_upgrade<B>(request: &Request<B>) -> Option<Upgrade> {
    let protocols: Vec<&str> = if let Some(protocol) = request.extensions().get::<Protocol>() {
        // Exactly one protocol is valid here. A list would name others in the header `Upgrade`.
        vec![Some(protocol.as_str()).filter(|name| !name.contains(','))?]
    } else if request.version() == Version::HTTP_11
        && has_item(request.headers(), &CONNECTION, "upgrade")
    {
        list_items(request.headers(), &UPGRADE).collect()
    } else {
        return None;
    };
    if protocols.iter().any(|name| carries_requests(name)) {
        return None;
    }
    let is_websocket = |name: &&&str| name.eq_ignore_ascii_case("websocket");
    let name = match protocols.iter().find(is_websocket) {
        Some(_) => "websocket",
        None => protocols.first().filter(|name| !name.is_empty())?,
    };
    Upgrade::new(HeaderValue::from_str(name).ok()?)
}

/// Whether requests could follow in this protocol: another version of HTTP, or TLS.
fn carries_requests(protocol: &str) -> bool {
    let name = protocol.trim().to_ascii_lowercase();
    name.starts_with("h2") || name.starts_with("http") || name.starts_with("tls")
}

/// Whether a request begins another protocol over HTTP/2 (RFC 8441).
#[must_use]
pub fn is_extended_connect<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Protocol>().is_some()
}

/// Returns the method for the check. A WebSocket over HTTP/2 begins with the extended CONNECT method, and over HTTP/1.1
/// with GET. Both are checked as GET, so that one rule applies to both (RFC 8441, section 5).
#[must_use]
pub fn checked_method<B>(request: &Request<B>) -> Method {
    if is_extended_connect(request) {
        Method::GET
    } else {
        request.method().clone()
    }
}

/// Removes the WebSocket extensions that the client offers, if the relay must recognise heartbeats. An extension such as
/// `permessage-deflate` (RFC 7692) changes the payload, and the application accepts only what the client offers.
pub fn remove_extensions(headers: &mut HeaderMap, guard: Option<&StreamGuard>) {
    if guard.is_some_and(|guard| guard.heartbeats().is_some()) {
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
}

/// Returns the items of a comma-separated header, without empty items.
pub fn list_items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Whether a header has an item. Items are compared without case, because a comparison with case would not recognise
/// `Upgrade: WebSocket`.
fn has_item(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    list_items(headers, name).any(|it| it.eq_ignore_ascii_case(item))
}

impl Upgrade {
    fn new(protocol: HeaderValue) -> Option<Self> {
        let name = protocol.to_str().ok()?;
        let kind = UpgradeKind::new(name.eq_ignore_ascii_case("websocket"));
        Some(Self { kind, protocol })
    }

    /// Whether an answer switches to the requested protocol.
    #[must_use]
    pub fn is_accepted_by(&self, headers: &HeaderMap) -> bool {
        let name = self.protocol.to_str().unwrap_or_default();
        has_item(headers, &UPGRADE, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_of_an_upgrade_is_found_in_any_case() {
        for (connection, upgrade, expected) in [
            (
                "Upgrade",
                "websocket",
                Some((UpgradeKind::WebSocket, "websocket")),
            ),
            (
                "keep-alive, UPGRADE",
                "WebSocket",
                Some((UpgradeKind::WebSocket, "websocket")),
            ),
            (
                "upgrade",
                "tcp, WEBSOCKET",
                Some((UpgradeKind::WebSocket, "websocket")),
            ),
            ("upgrade", "tcp", Some((UpgradeKind::Other, "tcp"))),
            ("keep-alive", "websocket", None),
            ("upgrade;x", "websocket", None),
            ("upgrade", "", None),
            // These protocols would carry requests without a check.
            ("upgrade", "h2c", None),
            ("upgrade", "H2C, websocket", None),
            ("upgrade", "websocket, h2c", None),
            ("upgrade", "HTTP/2.0", None),
            ("upgrade", "TLS/1.0", None),
        ] {
            let request = Request::builder()
                .header("connection", connection)
                .header("upgrade", upgrade);
            let found = requested_upgrade(&request.body(()).unwrap());
            let found = found
                .as_ref()
                .map(|it| (it.kind, it.protocol.to_str().unwrap()));
            assert_eq!(found, expected, "{connection} {upgrade}");
        }
        assert_eq!(requested_upgrade(&Request::new(())), None);
        let old = Request::builder()
            .version(Version::HTTP_10)
            .header("connection", "upgrade")
            .header("upgrade", "websocket");
        assert_eq!(requested_upgrade(&old.body(()).unwrap()), None);
    }

    /// Over HTTP/2, the application gets the protocol in the header `Upgrade`. So the same protocols are refused.
    #[test]
    fn the_protocol_over_http_2_follows_the_same_rules() {
        for (protocol, expected) in [
            ("websocket", Some((UpgradeKind::WebSocket, "websocket"))),
            ("WebSocket", Some((UpgradeKind::WebSocket, "websocket"))),
            ("connect-udp", Some((UpgradeKind::Other, "connect-udp"))),
            ("h2c", None),
            (" H2C", None),
            ("h2", None),
            ("HTTP/2.0", None),
            ("TLS/1.2", None),
            ("websocket, h2c", None),
            ("websocket,other", None),
            ("", None),
            ("a\nb", None),
        ] {
            let request = Request::connect("https://app.example.com/ws")
                .version(Version::HTTP_2)
                .extension(Protocol::from_static(protocol));
            let found = requested_upgrade(&request.body(()).unwrap());
            let found = found
                .as_ref()
                .map(|it| (it.kind, it.protocol.to_str().unwrap()));
            assert_eq!(found, expected, "{protocol:?}");
        }
    }
}
