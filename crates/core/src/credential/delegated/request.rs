use std::net::IpAddr;

use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, ORIGIN, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{DelegatedService, SessionKey};

/// The headers of the client that every delegated service receives. The service receives other headers only if they
/// can contain the credential, or if the configuration names them. Otherwise a client could send a header that only a
/// proxy may set, such as a header with an identity.
const FORWARDED_HEADERS: [HeaderName; 9] = [
    ACCEPT,
    ACCEPT_LANGUAGE,
    USER_AGENT,
    ORIGIN,
    REFERER,
    HeaderName::from_static("x-requested-with"),
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
];

/// The client's request, which Curfew describes to another authorization service.
#[derive(Clone, Copy, Debug)]
pub struct DelegatedCheck<'a> {
    /// The headers of the client's request.
    pub headers: &'a HeaderMap,
    /// The address of the client; `None` if unknown.
    pub address: Option<IpAddr>,
    /// The method of the client's request.
    pub method: &'a Method,
    /// Whether the client used TLS.
    pub secure: bool,
    /// The host, with its port if the client sent one.
    pub host: &'a str,
    /// The path and query of the client's request.
    pub target: &'a [u8],
}

impl DelegatedService {
    /// The headers of the request to the service. The headers include `X-Original-URL` and `X-Forwarded-…`, because
    /// some services read `X-Original-URL` and others read `X-Forwarded-…`. If a cookie identifies the session,
    /// Curfew sends no other cookie. Therefore the service cannot use the cookie of another session.
    #[must_use]
    pub fn request_headers(&self, check: &DelegatedCheck<'_>, cookie: Option<&[u8]>) -> HeaderMap {
        let mut request_headers = HeaderMap::new();
        let mut copy = |name: &HeaderName| {
            for value in check.headers.get_all(name) {
                request_headers.append(name.clone(), value.clone());
            }
        };
        FORWARDED_HEADERS
            .iter()
            .chain(&self.forwarded_headers)
            .for_each(&mut copy);
        match &self.key {
            SessionKey::Cookie { name, .. } => {
                let line = cookie.map(|value| [name.as_bytes(), b"=", value].concat());
                set_or_remove(&mut request_headers, COOKIE, line.as_deref());
            }
            SessionKey::Header(_) | SessionKey::Claim(_) => {
                [COOKIE, AUTHORIZATION].iter().for_each(copy);
            }
        }
        let scheme = if check.secure { "https" } else { "http" };
        let url = [
            scheme.as_bytes(),
            b"://",
            check.host.as_bytes(),
            check.target,
        ]
        .concat();
        let method = check.method.as_str().as_bytes();
        let address = check.address.map(|address| address.to_string());
        for (name, value) in [
            ("x-original-url", Some(&*url)),
            ("x-original-method", Some(method)),
            ("x-forwarded-method", Some(method)),
            ("x-forwarded-proto", Some(scheme.as_bytes())),
            ("x-forwarded-host", Some(check.host.as_bytes())),
            ("x-forwarded-uri", Some(check.target)),
            ("x-forwarded-for", address.as_deref().map(str::as_bytes)),
        ] {
            set_or_remove(&mut request_headers, HeaderName::from_static(name), value);
        }
        request_headers
    }
}

/// Sets a header. If `value` is `None`, removes the header.
fn set_or_remove(headers: &mut HeaderMap, name: HeaderName, value: Option<&[u8]>) {
    // The bytes come from a valid request, so they are a valid header value.
    match value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}
