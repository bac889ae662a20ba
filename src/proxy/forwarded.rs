//! What the application learns about the client: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via`.

use std::net::IpAddr;

use http::header::{FORWARDED, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use ipnet::IpNet;

use crate::contract::remove_spellings;
use crate::policy::AddressHeader;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// Further headers of this kind. Curfew never continues them.
const OTHERS: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-forwarded-scheme"),
];

/// The client of a request, as Curfew sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientView {
    /// The address of the client.
    pub(super) address: Option<IpAddr>,
    /// The address of the peer: the client, or the last proxy before Curfew.
    pub(super) peer: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(super) is_trusted: bool,
    /// Whether the client's request arrived over TLS.
    pub(super) secure: bool,
    /// The header in which trusted proxies send the client's address.
    pub(super) address_header: HeaderName,
}

impl ClientView {
    /// Determines the client. `is_tls` says whether the peer uses TLS.
    pub(super) fn new(
        peer: IpAddr,
        is_tls: bool,
        headers: &HeaderMap,
        trusted: &[IpNet],
        address_header: &AddressHeader,
    ) -> Self {
        let is_trusted = trusted.iter().any(|network| network.contains(&peer));
        if !is_trusted {
            return Self {
                address: Some(peer),
                peer,
                is_trusted,
                secure: is_tls,
                address_header: address_header.name.clone(),
            };
        }
        let proto = headers.get(PROTO).map(HeaderValue::as_bytes);
        let proto = proto.and_then(|text| text.split(|byte| *byte == b',').next());
        Self {
            address_header: address_header.name.clone(),
            address: address_header.read(headers),
            peer,
            is_trusted,
            secure: proto.map_or(is_tls, |proto| {
                let proto = proto.trim_ascii();
                proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss")
            }),
        }
    }

    /// Sets the headers for the application. The headers of a trusted proxy are continued; all others are replaced.
    pub(super) fn write(&self, headers: &mut HeaderMap, host: &str, version: Version) {
        let before = if self.is_trusted {
            let lines = headers.get_all(FOR).into_iter();
            lines
                .filter_map(|line| line.to_str().ok())
                .collect::<Vec<_>>()
                .join(", ")
        } else {
            String::new()
        };
        let kept_host = headers.get(HOST).filter(|_| self.is_trusted).cloned();
        let kept_port = headers.get(PORT).filter(|_| self.is_trusted).cloned();
        if !self.is_trusted {
            remove_spellings(headers, [&self.address_header].into_iter());
        }
        remove_spellings(headers, [FOR, HOST, PROTO, PORT].iter().chain(&OTHERS));
        let peer = self.peer;
        let addresses = match before.is_empty() {
            true => peer.to_string(),
            false => format!("{before}, {peer}"),
        };
        let scheme = if self.secure { "https" } else { "http" };
        let default_port = if self.secure { "443" } else { "80" };
        let port = host.rsplit_once(':').filter(|_| !host.ends_with(']'));
        let port = port.map_or(default_port, |(_, port)| port);
        insert(headers, FOR, &addresses);
        insert(headers, PROTO, scheme);
        match kept_host {
            Some(value) => drop(headers.insert(HOST, value)),
            None => insert(headers, HOST, host),
        }
        match kept_port {
            Some(value) => drop(headers.insert(PORT, value)),
            None => insert(headers, PORT, port),
        }
        if let Some(address) = self.address {
            insert(headers, OTHERS[1].clone(), &address.to_string());
        }
        let forwarded = forwarded(self.address, host, scheme);
        insert(headers, FORWARDED, &forwarded);
        add_via(headers, version);
    }
}

/// Returns the value of `Forwarded`. The host is quoted, because it can contain a colon.
fn forwarded(address: Option<IpAddr>, host: &str, scheme: &str) -> String {
    let client = match address {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        None => "unknown".to_owned(),
    };
    format!("for={client};host=\"{host}\";proto={scheme}")
}

/// Adds this proxy to `Via` (RFC 9110, section 7.6.3). `version` is the version of the message that Curfew received.
pub(super) fn add_via(headers: &mut HeaderMap, version: Version) {
    let protocol = match version {
        Version::HTTP_09 | Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{protocol} curfew")) {
        headers.append(VIA, value);
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(peer: &str, lines: &[(&str, &str)], trusted: &[&str]) -> (ClientView, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let address = AddressHeader {
            name: FOR,
            proxies: 1,
        };
        let view = ClientView::new(peer.parse().unwrap(), false, &headers, &trusted, &address);
        view.write(&mut headers, "app.example.com:8443", Version::HTTP_11);
        (view, headers)
    }

    fn texts<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        let lines = headers.get_all(name).into_iter();
        lines.map(|line| line.to_str().unwrap()).collect()
    }

    const FORGED: [(&str, &str); 7] = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "edge.example.com"),
        ("x-forwarded-port", "444"),
        ("X_Forwarded_Prefix", "/x"),
        ("forwarded", "for=6.6.6.6"),
        ("via", "1.1 edge"),
    ];

    #[test]
    fn an_unknown_client_cannot_set_the_forwarded_headers() {
        let (view, headers) = view("192.0.2.1", &FORGED, &["10.0.0.0/8"]);
        assert_eq!(view.address, Some("192.0.2.1".parse().unwrap()));
        assert!(!view.secure);
        for (name, expected) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "app.example.com:8443"),
            ("x-forwarded-port", "8443"),
            ("x-real-ip", "192.0.2.1"),
            (
                "forwarded",
                "for=192.0.2.1;host=\"app.example.com:8443\";proto=http",
            ),
        ] {
            assert_eq!(texts(&headers, name), [expected], "{name}");
        }
        assert_eq!(texts(&headers, "via"), ["1.1 edge", "1.1 curfew"]);
        assert!(!headers.contains_key("x_forwarded_prefix"));
    }

    #[test]
    fn the_headers_of_a_trusted_proxy_are_continued() {
        let (view, headers) = view("10.1.2.3", &FORGED, &["10.0.0.0/8"]);
        assert_eq!(view.address, Some("203.0.113.7".parse().unwrap()));
        assert!(view.secure);
        for (name, expected) in [
            ("x-forwarded-for", "203.0.113.7, 10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "edge.example.com"),
            ("x-forwarded-port", "444"),
            ("x-real-ip", "203.0.113.7"),
            (
                "forwarded",
                "for=203.0.113.7;host=\"app.example.com:8443\";proto=https",
            ),
        ] {
            assert_eq!(texts(&headers, name), [expected], "{name}");
        }
        assert!(!headers.contains_key("x_forwarded_prefix"));
    }

    #[test]
    fn an_ipv6_client_is_quoted() {
        let (_, headers) = view("2001:db8::7", &[], &[]);
        let expected = "for=\"[2001:db8::7]\";host=\"app.example.com:8443\";proto=http";
        assert_eq!(texts(&headers, "forwarded"), [expected]);
    }
}
