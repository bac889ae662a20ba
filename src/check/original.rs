/// The parts of the original request's URL, neither decoded nor normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalUrl<'a> {
    /// Whether the client's request arrived at the proxy over TLS, according to the proxy.
    pub secure: bool,
    /// The host as the client wrote it, with its port if it has one.
    pub host: &'a str,
    /// The path, beginning with a slash, as the client wrote it.
    pub path: &'a [u8],
    /// The text after the first question mark.
    pub query: Option<&'a [u8]>,
}

/// An input of the original request is missing or invalid. Both fields are constant texts, so headers and logs may
/// show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{input} {problem}")]
pub struct MalformedOriginal {
    /// The name of the input, such as `X-Original-URL`.
    pub input: &'static str,
    /// The problem with it, such as `is missing`.
    pub problem: &'static str,
}

impl MalformedOriginal {
    /// Creates the error for an input that the proxy does not send.
    #[must_use]
    pub const fn missing(input: &'static str) -> Self {
        Self {
            input,
            problem: "is missing",
        }
    }

    /// Creates the error for an input that the proxy sends more than once.
    #[must_use]
    pub const fn repeated(input: &'static str) -> Self {
        Self {
            input,
            problem: "comes more than once",
        }
    }
}

/// The part of a URL that is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum InvalidUrl {
    /// The scheme is not `http`, `https`, `ws` or `wss`.
    #[error("does not begin with http:// or https://")]
    Scheme,
    /// The host is missing or invalid.
    #[error("has no valid host")]
    Host,
    /// The path is missing, does not begin with a slash, or contains spaces or control characters.
    #[error("has no valid path")]
    Target,
}

impl InvalidUrl {
    /// Converts this error to an error that names the input.
    #[must_use]
    pub const fn for_input(self, input: &'static str) -> MalformedOriginal {
        let problem = match self {
            Self::Scheme => "does not begin with http:// or https://",
            Self::Host => "has no valid host",
            Self::Target => "has no valid path",
        };
        MalformedOriginal { input, problem }
    }
}

impl<'a> OriginalUrl<'a> {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// [`InvalidUrl`] if the scheme is not `http`, `https`, `ws` or `wss`, the host is missing or invalid, or the path
    /// has no leading slash. User information, spaces and control characters are errors, too.
    pub fn parse(url: &'a [u8]) -> Result<Self, InvalidUrl> {
        let (secure, rest) = split_scheme(url).ok_or(InvalidUrl::Scheme)?;
        let slash = rest
            .iter()
            .position(|byte| *byte == b'/')
            .ok_or(InvalidUrl::Target)?;
        let (host, target) = rest.split_at(slash);
        Self::from_parts(secure, host, target)
    }

    /// Reads a host and a request target (a path with an optional query) from two inputs.
    ///
    /// # Errors
    /// [`InvalidUrl`] as for [`OriginalUrl::parse`].
    pub fn from_parts(secure: bool, host: &'a [u8], target: &'a [u8]) -> Result<Self, InvalidUrl> {
        let is_space_or_control = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
        if !is_host(host) {
            return Err(InvalidUrl::Host);
        }
        if !target.starts_with(b"/") || target.iter().any(is_space_or_control) {
            return Err(InvalidUrl::Target);
        }
        let host = std::str::from_utf8(host).map_err(|_| InvalidUrl::Host)?;
        let mut parts = target.splitn(2, |byte| *byte == b'?');
        let path = parts.next().ok_or(InvalidUrl::Target)?;
        Ok(Self {
            secure,
            host,
            path,
            query: parts.next(),
        })
    }

    /// Whether a scheme (`http`, `https`, `ws`, `wss`, in any case) uses TLS.
    ///
    /// # Errors
    /// [`InvalidUrl::Scheme`] for any other scheme.
    pub fn is_secure(scheme: &[u8]) -> Result<bool, InvalidUrl> {
        let known = SCHEMES
            .into_iter()
            .find(|(known, _)| scheme.eq_ignore_ascii_case(known));
        known.map(|(_, secure)| secure).ok_or(InvalidUrl::Scheme)
    }

    /// The path and the query, byte for byte as the client sent them.
    #[must_use]
    pub fn target(&self) -> Vec<u8> {
        let mut target = self.path.to_vec();
        if let Some(query) = self.query {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        target
    }

    /// The URL with `http` or `https`, and the rest byte for byte as the client sent it.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let scheme = if self.secure { "https://" } else { "http://" };
        [scheme.as_bytes(), self.host.as_bytes(), &self.target()].concat()
    }
}

const SCHEMES: [(&[u8], bool); 4] = [
    (b"https", true),
    (b"http", false),
    (b"wss", true),
    (b"ws", false),
];

/// Returns whether the URL's scheme uses TLS, and the text after `://`.
fn split_scheme(url: &[u8]) -> Option<(bool, &[u8])> {
    SCHEMES.into_iter().find_map(|(scheme, secure)| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        let rest = rest.strip_prefix(b"://")?;
        start.eq_ignore_ascii_case(scheme).then_some((secure, rest))
    })
}

/// Whether the text is a host name, an IPv4 address or a bracketed IPv6 address, with or without a port.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !host.ends_with(b"]") => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    };
    let is_valid_port = port
        .is_none_or(|port| (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit));
    let is_valid_name = match name {
        [b'[', address @ .., b']'] => address
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')),
        _ => name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte)),
    };
    !name.is_empty() && name.len() <= 255 && is_valid_name && is_valid_port
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_urls_are_split_into_parts() {
        for (url, secure, host, path, query) in [
            (
                "https://app.example.com/",
                true,
                "app.example.com",
                "/",
                None,
            ),
            (
                "http://a:8080/x/y?z=1?2#3",
                false,
                "a:8080",
                "/x/y",
                Some("z=1?2#3"),
            ),
            ("HTTPS://[::1]:443/a%2Fb", true, "[::1]:443", "/a%2Fb", None),
            ("wss://a/socket?", true, "a", "/socket", Some("")),
            ("ws://[fe80::1]/", false, "[fe80::1]", "/", None),
            ("http://a//b/../c;d", false, "a", "//b/../c;d", None),
            ("http://a/grüße", false, "a", "/grüße", None),
            ("http://a/https://b/c", false, "a", "/https://b/c", None),
        ] {
            let expected = OriginalUrl {
                secure,
                host,
                path: path.as_bytes(),
                query: query.map(str::as_bytes),
            };
            assert_eq!(OriginalUrl::parse(url.as_bytes()), Ok(expected), "{url}");
        }
    }

    #[test]
    fn separate_parts_give_the_same_url() {
        let parts = OriginalUrl::from_parts(true, b"a:8443", b"/x%2Fy?z=1").unwrap();
        assert_eq!(OriginalUrl::parse(b"wss://a:8443/x%2Fy?z=1"), Ok(parts));
        assert_eq!(parts.to_bytes(), b"https://a:8443/x%2Fy?z=1");
        for (host, target) in [("a/b", "/"), ("a", ""), ("a", "x"), ("", "/"), ("a", "*")] {
            let parts = OriginalUrl::from_parts(true, host.as_bytes(), target.as_bytes());
            assert!(parts.is_err(), "{host} {target}");
        }
        for (scheme, secure) in [("https", Ok(true)), ("WS", Ok(false))] {
            assert_eq!(OriginalUrl::is_secure(scheme.as_bytes()), secure);
        }
        for scheme in ["", "ftp", "https,http", "https:"] {
            assert_eq!(
                OriginalUrl::is_secure(scheme.as_bytes()),
                Err(InvalidUrl::Scheme)
            );
        }
    }

    #[test]
    fn invalid_urls_are_rejected() {
        for url in [
            &b""[..],
            b"/",
            b"/path",
            b"app.example.com/",
            b"https://",
            b"https:///",
            b"https://a",
            b"ftp://a/",
            b"javascript://a/",
            b"https:/a/",
            b"https://a?b",
            b"http://*",
            b"https://user@a/",
            b"https://user:pw@a/",
            b"https://a:/",
            b"https://a:port/",
            b"https://a:123456/",
            b"https://:80/",
            b"https://[::1/",
            b"https://[]x/",
            b"https://a b/",
            b"https://a/ b",
            b"https://a/\x00",
            b"https://a/\x7f",
            b"https://a/\t",
            b"https://\xc3\xa4/",
            b"https://a\\b/",
            b"https://a#/",
            b"https://a,b/",
        ] {
            let parsed = OriginalUrl::parse(url);
            assert!(parsed.is_err(), "{}", url.escape_ascii());
        }
    }

    proptest! {
        /// The parsed parts together are the URL without its scheme.
        #[test]
        fn the_parts_form_the_url(url in "(https?|wss?)://[a-z.:\\[\\]0-9]{0,9}/\\PC{0,40}") {
            if let Ok(parsed) = OriginalUrl::parse(url.as_bytes()) {
                let mut whole = [parsed.host.as_bytes(), parsed.path].concat();
                if let Some(query) = parsed.query {
                    whole.push(b'?');
                    whole.extend_from_slice(query);
                }
                prop_assert!(url.as_bytes().ends_with(&whole));
                prop_assert_eq!(url.len(), url.find("://").unwrap() + 3 + whole.len());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = OriginalUrl::parse(&bytes);
            let _ = OriginalUrl::parse(&[b"https://a/", &bytes[..]].concat());
        }
    }
}
