//! Redacts headers and URLs for a recording. Replaces every value with its length, unless the value is known to be
//! harmless.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue};

/// The maximum number of bytes that a recording shows of one value.
const MAX_VALUE_BYTES: usize = 512;

/// Headers whose values are shown, because they describe only the request or the kind of client.
const SHOWN_HEADERS: [&str; 34] = [
    "accept",
    "access-control-request-headers",
    "access-control-request-method",
    "connection",
    "content-length",
    "content-type",
    "host",
    "kbn-system-api",
    "kbn-system-request",
    "method",
    "origin",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-purpose",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-graylog-no-session-extension",
    "x-original-method",
    "x-real-ip",
    "x-requested-with",
    "x-scheme",
    "x-sent-from",
    "x-session-passive",
];

/// Headers that contain a URL or a part of one; shown without the values of the query.
const URL_HEADERS: [&str; 7] = [
    "path",
    "referer",
    "x-auth-request-redirect",
    "x-forwarded-uri",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Returns the value of a header without its secrets.
pub(super) fn redact_header(name: &HeaderName, value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    if *name == COOKIE {
        return redact_cookies(bytes);
    }
    if *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION {
        let scheme = bytes.split(|byte| *byte == b' ').next();
        let scheme = scheme.filter(|scheme| scheme.len() < bytes.len());
        let scheme = escape_and_shorten(scheme.unwrap_or_default());
        return format!(
            "{scheme} {}",
            length_placeholder(bytes.len() - scheme.len())
        );
    }
    if SHOWN_HEADERS.contains(&name.as_str()) {
        return escape_and_shorten(bytes);
    }
    if URL_HEADERS.contains(&name.as_str()) {
        return redact_url(bytes);
    }
    length_placeholder(bytes.len())
}

/// Returns a URL without the values of its query and without its fragment.
pub(super) fn redact_url(bytes: &[u8]) -> String {
    let (address, query) = match bytes.iter().position(|byte| *byte == b'?') {
        Some(question_mark) => (&bytes[..question_mark], Some(&bytes[question_mark + 1..])),
        None => (bytes, None),
    };
    let address = address.split(|byte| *byte == b'#').next();
    let address = without_parameters(address.unwrap_or_default());
    let Some(query) = query else {
        return address;
    };
    let parts = query.split(|byte| *byte == b'&').take(32);
    let parts = parts.map(|part| match part.iter().position(|byte| *byte == b'=') {
        Some(equals) => format!(
            "{}={}",
            escape_and_shorten(&part[..equals]),
            length_placeholder(part.len() - equals - 1)
        ),
        // A name without a value can itself be the secret.
        None => length_placeholder(part.len()),
    });
    let parts: Vec<String> = parts.collect();
    format!("{address}?{}", parts.join("&"))
}

/// Returns a URL without user information and without path parameters (`;jsessionid=…`).
fn without_parameters(address: &[u8]) -> String {
    let segments = address.split(|byte| *byte == b'/').enumerate().take(64);
    let segments = segments.map(|(index, segment)| {
        // In an absolute URL, the segments 0 to 2 are the scheme, an empty text, and the authority.
        let is_authority = index == 2 && address.contains(&b':');
        let user = segment.iter().rposition(|byte| *byte == b'@');
        let (user, segment) = match user.filter(|_| is_authority) {
            Some(at) => (format!("{}@", length_placeholder(at)), &segment[at + 1..]),
            None => (String::new(), segment),
        };
        match segment.iter().position(|byte| *byte == b';') {
            Some(semicolon) => format!(
                "{user}{};{}",
                escape_and_shorten(&segment[..semicolon]),
                length_placeholder(segment.len() - semicolon - 1)
            ),
            None => user + &escape_and_shorten(segment),
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Escapes a text, and shortens it to [`MAX_VALUE_BYTES`].
pub(super) fn shorten_text(text: &str) -> String {
    escape_and_shorten(text.as_bytes())
}

/// Returns the names of the cookies, with the lengths of their values.
fn redact_cookies(line: &[u8]) -> String {
    let pairs = line.split(|byte| *byte == b';').take(50);
    let pairs = pairs.map(|pair| {
        let pair = pair.trim_ascii();
        match pair.iter().position(|byte| *byte == b'=') {
            Some(equals) => format!(
                "{}={}",
                escape_and_shorten(&pair[..equals]),
                length_placeholder(pair.len() - equals - 1)
            ),
            None => length_placeholder(pair.len()),
        }
    });
    let pairs: Vec<String> = pairs.collect();
    pairs.join("; ")
}

/// Returns the text that replaces a secret of this length.
fn length_placeholder(length: usize) -> String {
    format!("({length} bytes)")
}

/// Escapes bytes that are not printable ASCII, and shortens the text to [`MAX_VALUE_BYTES`].
fn escape_and_shorten(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_VALUE_BYTES)];
    let omitted = bytes.len() - shown.len();
    let shown = shown.escape_ascii().to_string();
    match omitted {
        0 => shown,
        omitted => format!("{shown}… ({omitted} bytes more)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_parts_are_shown() {
        for (name, value, shown) in [
            (
                "cookie",
                "a=12345; b; c=",
                "a=(5 bytes); (1 bytes); c=(0 bytes)",
            ),
            ("authorization", "Bearer abc", "Bearer (4 bytes)"),
            ("authorization", "abc", " (3 bytes)"),
            ("x-api-key", "abc", "(3 bytes)"),
            ("x-forwarded-host", "app.example.com", "app.example.com"),
            ("x-forwarded-uri", "/a?b=c&d", "/a?b=(1 bytes)&(1 bytes)"),
            ("referer", "https://a/b?c#d", "https://a/b?(3 bytes)"),
            (
                "referer",
                "https://u:secret@a/b@c",
                "https://(8 bytes)@a/b@c",
            ),
            (
                "x-forwarded-uri",
                "/a;jsessionid=secret/b;c",
                "/a;(17 bytes)/b;(1 bytes)",
            ),
        ] {
            let name: HeaderName = name.parse().unwrap();
            let value = HeaderValue::from_str(value).unwrap();
            assert_eq!(redact_header(&name, &value), shown, "{name}");
        }
    }
}
