use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

/// Which requests count as activity under a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActivityKind {
    /// Every request that is not passive by itself.
    #[default]
    Any,
    /// Of these, only top-level navigations and unsafe methods: what a person does, and not what a
    /// page does on its own.
    Navigation,
}

impl ActivityKind {
    /// The word for this in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Navigation => "navigation",
        }
    }

    /// The one under which fewer requests count.
    #[must_use]
    pub const fn strictest(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, Self::Any) => Self::Any,
            _ => Self::Navigation,
        }
    }
}

/// What a request does to a session it is allowed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It counts as activity.
    Touch,
    /// It is checked, and leaves the session as it is.
    Passive,
}

/// Names by which clients say that a request happens in the background, and with which value:
/// our own, Kibana's (now and formerly), Graylog's.
///
/// A client can only shorten its own session's life with them.
const BACKGROUND: [(HeaderName, &str); 4] = [
    (HeaderName::from_static("x-session-passive"), "1"),
    (HeaderName::from_static("kbn-system-request"), "true"),
    (HeaderName::from_static("kbn-system-api"), "true"),
    (
        HeaderName::from_static("x-graylog-no-session-extension"),
        "true",
    ),
];

const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Says whether a request, by its original method and the client's headers, counts as activity.
#[must_use]
pub fn classify(kind: ActivityKind, method: &Method, headers: &HeaderMap) -> Activity {
    let passive = *method == Method::HEAD
        || is_preflight(method, headers)
        || is_prefetch(headers)
        || BACKGROUND
            .iter()
            .any(|(name, value)| any_is(headers, name, value))
        || (kind == ActivityKind::Navigation && method.is_safe() && !is_navigation(headers));
    if passive {
        Activity::Passive
    } else {
        Activity::Touch
    }
}

/// A CORS preflight: asked by the browser, not by the person (Fetch standard, 4.8).
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// `Sec-Purpose: prefetch`, with or without parameters such as `;prerender`.
fn is_prefetch(headers: &HeaderMap) -> bool {
    headers.get_all(SEC_PURPOSE).into_iter().any(|value| {
        value
            .as_bytes()
            .trim_ascii_start()
            .get(..8)
            .is_some_and(|p| p.eq_ignore_ascii_case(b"prefetch"))
    })
}

/// A navigation of the whole page, by the browser's own word (Fetch Metadata).
fn is_navigation(headers: &HeaderMap) -> bool {
    let whole_page = headers
        .get(SEC_FETCH_DEST)
        .is_none_or(|dest| dest == "document");
    whole_page && any_is(headers, &SEC_FETCH_MODE, "navigate")
}

fn any_is(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
    headers.get_all(name).into_iter().any(|value| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(expected.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn table() {
        use Activity::{Passive, Touch};
        let navigate = ("sec-fetch-mode", "navigate");
        for (method, lines, any, navigation) in [
            ("GET", &[][..], Touch, Passive),
            ("GET", &[navigate], Touch, Touch),
            (
                "GET",
                &[navigate, ("sec-fetch-dest", "document")],
                Touch,
                Touch,
            ),
            (
                "GET",
                &[navigate, ("sec-fetch-dest", "iframe")],
                Touch,
                Passive,
            ),
            ("GET", &[("sec-fetch-mode", "cors")], Touch, Passive),
            ("POST", &[], Touch, Touch),
            ("DELETE", &[("sec-fetch-mode", "cors")], Touch, Touch),
            ("PROPFIND", &[], Touch, Touch),
            ("HEAD", &[navigate], Passive, Passive),
            ("OPTIONS", &[], Touch, Passive),
            (
                "OPTIONS",
                &[
                    ("origin", "https://a"),
                    ("access-control-request-method", "PUT"),
                ],
                Passive,
                Passive,
            ),
            (
                "GET",
                &[
                    ("origin", "https://a"),
                    ("access-control-request-method", "PUT"),
                ],
                Touch,
                Passive,
            ),
            (
                "GET",
                &[navigate, ("sec-purpose", "prefetch")],
                Passive,
                Passive,
            ),
            (
                "GET",
                &[navigate, ("sec-purpose", "Prefetch;prerender")],
                Passive,
                Passive,
            ),
            ("GET", &[navigate, ("sec-purpose", "pre")], Touch, Touch),
            ("POST", &[("x-session-passive", "1")], Passive, Passive),
            (
                "POST",
                &[("x-session-passive", "0"), ("x-session-passive", " 1 ")],
                Passive,
                Passive,
            ),
            ("POST", &[("x-session-passive", "0")], Touch, Touch),
            ("POST", &[("kbn-system-request", "true")], Passive, Passive),
            ("POST", &[("kbn-system-api", "true")], Passive, Passive),
            (
                "POST",
                &[("x-graylog-no-session-extension", "true")],
                Passive,
                Passive,
            ),
        ] {
            let method = method.parse().unwrap();
            let lines = headers(lines);
            assert_eq!(
                classify(ActivityKind::Any, &method, &lines),
                any,
                "{method} {lines:?}"
            );
            let strict = classify(ActivityKind::Navigation, &method, &lines);
            assert_eq!(strict, navigation, "{method} {lines:?}, navigation only");
        }
    }

    proptest! {
        /// A client's header that says "background" can only take activity away, whatever else
        /// the request carries.
        #[test]
        fn background_headers_only_shorten(
            which in 0..BACKGROUND.len(),
            method in prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::HEAD)],
            mode in "navigate|cors|no-cors",
        ) {
            for kind in [ActivityKind::Any, ActivityKind::Navigation] {
                let mut lines = headers(&[("sec-fetch-mode", &mode)]);
                let (name, value) = &BACKGROUND[which];
                lines.append(name, value.parse().unwrap());
                prop_assert_eq!(classify(kind, &method, &lines), Activity::Passive);
            }
        }
    }
}
