use std::net::IpAddr;

use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, ORIGIN, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{Delegated, SessionKey};

/// The client's headers that every service is told. No others are: under its name a client could
/// say what only a proxy may, such as who it is.
const TOLD: [HeaderName; 9] = [
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

/// The original request, as another service is asked about it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The client's headers.
    pub headers: &'a HeaderMap,
    /// Where the client is, if that is known.
    pub address: Option<IpAddr>,
    /// The original method.
    pub method: &'a Method,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The host, with its port where one was written.
    pub host: &'a str,
    /// The path and the query.
    pub target: &'a [u8],
}

impl Delegated {
    /// The headers to ask with, for services of every kind: those that read `X-Original-URL`, and those
    /// that read `X-Forwarded-…`. Where a cookie names the session it is the only one that is told,
    /// so that the service can't take the request for another session's.
    #[must_use]
    pub fn ask(&self, question: &Question<'_>, cookie: Option<&[u8]>) -> HeaderMap {
        let mut asked = HeaderMap::new();
        let mut tell = |name: &HeaderName| {
            for value in question.headers.get_all(name) {
                asked.append(name.clone(), value.clone());
            }
        };
        TOLD.iter().chain(&self.forward).for_each(&mut tell);
        match &self.key {
            SessionKey::Cookie { name, .. } => {
                let line = cookie.map(|value| [name.as_bytes(), b"=", value].concat());
                set(&mut asked, COOKIE, line.as_deref());
            }
            SessionKey::Header(_) | SessionKey::Claim(_) => {
                [COOKIE, AUTHORIZATION].iter().for_each(tell);
            }
        }
        let scheme = if question.secure { "https" } else { "http" };
        let url = [
            scheme.as_bytes(),
            b"://",
            question.host.as_bytes(),
            question.target,
        ]
        .concat();
        let method = question.method.as_str().as_bytes();
        let address = question.address.map(|address| address.to_string());
        for (name, value) in [
            ("x-original-url", Some(&*url)),
            ("x-original-method", Some(method)),
            ("x-forwarded-method", Some(method)),
            ("x-forwarded-proto", Some(scheme.as_bytes())),
            ("x-forwarded-host", Some(question.host.as_bytes())),
            ("x-forwarded-uri", Some(question.target)),
            ("x-forwarded-for", address.as_deref().map(str::as_bytes)),
        ] {
            set(&mut asked, HeaderName::from_static(name), value);
        }
        asked
    }
}

/// Sets a header, or takes it away.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<&[u8]>) {
    // Of bytes that were in a request already.
    match value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}
