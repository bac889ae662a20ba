use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

/// The header with the client's address, for proxies that send the address only in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressHeader {
    /// A header with a list of addresses, such as `X-Forwarded-For`. Every proxy appends the address of its peer.
    pub name: HeaderName,
    /// The number of trusted proxies that append to the header. The client's address is at this position, counted
    /// from the end of the list. The client can forge every address before this position.
    pub proxies: usize,
}

impl AddressHeader {
    /// The client's address; `None` if the header is missing, too short, or has no address at the position of the
    /// client.
    #[must_use]
    pub fn read(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let lines: Vec<_> = headers.get_all(&self.name).into_iter().collect();
        let items_from_the_end = lines
            .iter()
            .rev()
            .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let item = items_from_the_end
            .into_iter()
            .nth(self.proxies.checked_sub(1)?)?;
        parse_address(std::str::from_utf8(item).ok()?.trim_matches([' ', '\t']))
    }
}

/// Parses an address with or without a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let ip = bracketed.unwrap_or(text).parse().ok();
    ip.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_client_address_from_the_header() {
        for (proxies, lines, expected) in [
            (1, &["203.0.113.7"][..], Some("203.0.113.7")),
            (1, &["6.6.6.6, 203.0.113.7"], Some("203.0.113.7")),
            (1, &["6.6.6.6", "203.0.113.7"], Some("203.0.113.7")),
            (1, &["6.6.6.6,\t203.0.113.7 "], Some("203.0.113.7")),
            (2, &["6.6.6.6, 203.0.113.7, 10.0.0.1"], Some("203.0.113.7")),
            (
                2,
                &["6.6.6.6, 203.0.113.7", "10.0.0.1"],
                Some("203.0.113.7"),
            ),
            (2, &["10.0.0.1"], None),
            (1, &["203.0.113.7:4711"], Some("203.0.113.7")),
            (1, &["2001:db8::7"], Some("2001:db8::7")),
            (1, &["[2001:db8::7]"], Some("2001:db8::7")),
            (1, &["[2001:db8::7]:4711"], Some("2001:db8::7")),
            (1, &["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (1, &["6.6.6.6, unknown"], None),
            (1, &["203.0.113.7,"], None),
            (1, &["203.0.113"], None),
            (1, &["_hidden"], None),
            (1, &[""], None),
            (1, &[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let header = AddressHeader {
                name: HeaderName::from_static("x-forwarded-for"),
                proxies,
            };
            let expected: Option<IpAddr> = expected.map(|text| text.parse().unwrap());
            assert_eq!(header.read(&headers), expected, "{proxies} {lines:?}");
        }
    }
}
