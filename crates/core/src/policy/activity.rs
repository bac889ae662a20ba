use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

/// The kinds of requests that count as activity under a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActivityKind {
    /// Every request, except requests that are always passive, such as `HEAD` or a prefetch.
    #[default]
    Any,
    /// Only these requests of `Any`: navigations of the whole page, and requests with a method that RFC 9110 does not
    /// list as safe, such as `POST`. Requests that the scripts of a page send with `GET` do not count.
    Navigation,
    /// Only these requests of `Any`: navigations that a person started (`Sec-Fetch-User: ?1`), and requests with an
    /// unsafe method (a method that changes data, such as `POST`). This kind is for proxies that withhold the headers
    /// of background requests.
    Explicit,
    /// Only requests that count under both `Navigation` and `Explicit`. This kind results from a combination of two
    /// policies.
    NavigationAndExplicit,
}

impl ActivityKind {
    /// The word for this kind in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Navigation => "navigation",
            Self::Explicit => "explicit",
            Self::NavigationAndExplicit => "navigation and explicit",
        }
    }

    /// The kind that counts exactly the requests that `self` and `other` both count.
    #[must_use]
    pub const fn strictest(self, other: Self) -> Self {
        match (self, other) {
            (Self::Any, kind) | (kind, Self::Any) => kind,
            (Self::Navigation, Self::Navigation) => Self::Navigation,
            (Self::Explicit, Self::Explicit) => Self::Explicit,
            _ => Self::NavigationAndExplicit,
        }
    }

    /// The reason why a request is passive under this kind; `None` if the request counts as activity.
    fn passive_reason_of(self, method: &Method, headers: &HeaderMap) -> Option<PassiveReason> {
        let counts_as_navigation = !method.is_safe() || is_navigation(headers);
        let counts_as_explicit = is_unsafe_method(method) || is_started_by_a_person(headers);
        let not_navigation = || (!counts_as_navigation).then_some(PassiveReason::NotNavigation);
        let not_explicit = || (!counts_as_explicit).then_some(PassiveReason::NotExplicit);
        match self {
            Self::Any => None,
            Self::Navigation => not_navigation(),
            Self::Explicit => not_explicit(),
            Self::NavigationAndExplicit => not_navigation().or_else(not_explicit),
        }
    }
}

/// The effect of an allowed request on its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// The request counts as activity.
    Touch,
    /// Curfew checks the request, but does not count it as activity.
    Passive(PassiveReason),
}

/// The reason why a request is passive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassiveReason {
    /// The matching rule says `activity: passive`.
    Rule,
    /// The path is a passive path of a SessionPolicy in the cluster.
    Route,
    /// The method is `HEAD`.
    Head,
    /// The request is a CORS preflight, which the browser sends without an action of the person.
    Preflight,
    /// The request is a prefetch: the person may never see the result.
    Prefetch,
    /// A header from the client marks the request as a background request.
    Background,
    /// The kind [`ActivityKind::Navigation`] applies, alone or in a combination, and does not count the request.
    NotNavigation,
    /// The kind [`ActivityKind::Explicit`] applies, alone or in a combination, and does not count the request.
    NotExplicit,
}

impl PassiveReason {
    /// A description for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Rule => "the rule sets `activity: passive`",
            Self::Route => "the path is a passive path of a SessionPolicy",
            Self::Head => "HEAD request",
            Self::Preflight => "CORS preflight",
            Self::Prefetch => "prefetch (Sec-Purpose)",
            Self::Background => "a header marks the request as a background request",
            Self::NotNavigation => {
                "neither a navigation of the whole page nor an unsafe method (`activity: navigation`)"
            }
            Self::NotExplicit => {
                "neither a navigation that a person started (Sec-Fetch-User) nor an unsafe method (`activity: explicit`)"
            }
        }
    }
}

/// Header values that mark a background request. Values are compared case-insensitively.
///
/// Curfew accepts these headers from any client, because with them a client can only shorten its own session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackgroundHeaders(Vec<(HeaderName, String)>);

impl BackgroundHeaders {
    /// The headers that are always known: Curfew's own, Kibana's (current and former), and Graylog's.
    const KNOWN_HEADERS: [(HeaderName, &str); 4] = [
        (HeaderName::from_static("x-session-passive"), "1"),
        (HeaderName::from_static("kbn-system-request"), "true"),
        (HeaderName::from_static("kbn-system-api"), "true"),
        (
            HeaderName::from_static("x-graylog-no-session-extension"),
            "true",
        ),
    ];

    /// A set with the headers that are always known, and the headers in `more`.
    pub fn new(more: impl IntoIterator<Item = (HeaderName, String)>) -> Self {
        let known = Self::KNOWN_HEADERS.map(|(name, value)| (name, value.to_owned()));
        Self(known.into_iter().chain(more).collect())
    }

    fn occur_in(&self, headers: &HeaderMap) -> bool {
        let mut lines = self.0.iter();
        lines.any(|(name, value)| has_value(headers, name, value))
    }
}

impl Default for BackgroundHeaders {
    fn default() -> Self {
        Self::new([])
    }
}

const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_USER: HeaderName = HeaderName::from_static("sec-fetch-user");

/// Classifies a request by its method (a router input) and the client's headers.
#[must_use]
pub fn classify(
    kind: ActivityKind,
    background: &BackgroundHeaders,
    method: &Method,
    headers: &HeaderMap,
) -> Activity {
    let reason = if *method == Method::HEAD {
        PassiveReason::Head
    } else if is_preflight(method, headers) {
        PassiveReason::Preflight
    } else if is_prefetch(headers) {
        PassiveReason::Prefetch
    } else if background.occur_in(headers) {
        PassiveReason::Background
    } else if let Some(reason) = kind.passive_reason_of(method, headers) {
        reason
    } else {
        return Activity::Touch;
    };
    Activity::Passive(reason)
}

/// Whether a request is a CORS preflight (Fetch standard, 4.8).
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether the request has `Sec-Purpose: prefetch`, with or without parameters such as `;prerender`.
fn is_prefetch(headers: &HeaderMap) -> bool {
    headers.get_all(SEC_PURPOSE).into_iter().any(|value| {
        value
            .as_bytes()
            .trim_ascii_start()
            .get(..8)
            .is_some_and(|p| p.eq_ignore_ascii_case(b"prefetch"))
    })
}

/// Whether the browser marks the request as a navigation of the whole page (Fetch Metadata).
fn is_navigation(headers: &HeaderMap) -> bool {
    let is_whole_page = headers
        .get(SEC_FETCH_DEST)
        .is_none_or(|dest| dest == "document");
    is_whole_page && has_value(headers, &SEC_FETCH_MODE, "navigate")
}

/// Safe methods that RFC 9110 section 9.2.1 does not list: methods of WebDAV (RFC 4918, RFC 3253, RFC 5323), and
/// QUERY.
const SAFE_EXTENSION_METHODS: [&str; 4] = ["PROPFIND", "REPORT", "SEARCH", "QUERY"];

fn is_unsafe_method(method: &Method) -> bool {
    !method.is_safe() && !SAFE_EXTENSION_METHODS.contains(&method.as_str())
}

/// Whether the browser marks the request as a navigation that a person started (Fetch Metadata, `Sec-Fetch-User`).
fn is_started_by_a_person(headers: &HeaderMap) -> bool {
    has_value(headers, &SEC_FETCH_MODE, "navigate") && has_value(headers, &SEC_FETCH_USER, "?1")
}

fn has_value(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
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
    fn classifies_requests() {
        use PassiveReason::{Background, Head, NotNavigation, Prefetch, Preflight};
        let navigate = ("sec-fetch-mode", "navigate");
        let preflight = [
            ("origin", "https://a"),
            ("access-control-request-method", "PUT"),
        ];
        let known = BackgroundHeaders::new([("x-poll".parse().unwrap(), "Yes".to_owned())]);
        // Each row ends with the expected reasons under `Any` and under `Navigation`; `None` means activity.
        for (method, lines, any, navigation) in [
            ("GET", &[][..], None, Some(NotNavigation)),
            ("GET", &[navigate], None, None),
            (
                "GET",
                &[navigate, ("sec-fetch-dest", "document")],
                None,
                None,
            ),
            (
                "GET",
                &[navigate, ("sec-fetch-dest", "iframe")],
                None,
                Some(NotNavigation),
            ),
            (
                "GET",
                &[("sec-fetch-mode", "cors")],
                None,
                Some(NotNavigation),
            ),
            ("POST", &[], None, None),
            ("DELETE", &[("sec-fetch-mode", "cors")], None, None),
            ("PROPFIND", &[], None, None),
            ("HEAD", &[navigate], Some(Head), Some(Head)),
            ("OPTIONS", &[], None, Some(NotNavigation)),
            ("OPTIONS", &preflight, Some(Preflight), Some(Preflight)),
            ("GET", &preflight, None, Some(NotNavigation)),
            (
                "GET",
                &[navigate, ("sec-purpose", "prefetch")],
                Some(Prefetch),
                Some(Prefetch),
            ),
            (
                "GET",
                &[navigate, ("sec-purpose", "Prefetch;prerender")],
                Some(Prefetch),
                Some(Prefetch),
            ),
            ("GET", &[navigate, ("sec-purpose", "pre")], None, None),
            (
                "POST",
                &[("x-session-passive", "0"), ("x-session-passive", " 1 ")],
                Some(Background),
                Some(Background),
            ),
            ("POST", &[("x-session-passive", "0")], None, None),
            ("POST", &[("x-poll", "no")], None, None),
        ] {
            let method = method.parse().unwrap();
            let lines = headers(lines);
            for (kind, expected) in [
                (ActivityKind::Any, any),
                (ActivityKind::Navigation, navigation),
            ] {
                let expected = expected.map_or(Activity::Touch, Activity::Passive);
                let found = classify(kind, &known, &method, &lines);
                assert_eq!(found, expected, "{kind:?} {method} {lines:?}");
            }
        }
        for line in [
            ("x-session-passive", "1"),
            ("kbn-system-request", "true"),
            ("kbn-system-api", "True"),
            ("x-graylog-no-session-extension", "true"),
            ("x-poll", "yes"),
        ] {
            let found = classify(ActivityKind::Any, &known, &Method::POST, &headers(&[line]));
            assert_eq!(found, Activity::Passive(Background), "{line:?}");
        }
    }

    /// Generates headers that this module reads, and some that it ignores.
    fn any_headers() -> impl Strategy<Value = HeaderMap> {
        let names = "x-session-passive|kbn-system-request|sec-purpose|sec-fetch-mode|sec-fetch-dest|sec-fetch-user|origin|access-control-request-method|cookie|x-poll";
        let values = "1|true|prefetch|navigate|document|https://a|PUT|";
        proptest::collection::vec((names, values), 0..6).prop_map(|lines| {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            map
        })
    }

    fn any_method() -> impl Strategy<Value = Method> {
        prop_oneof![
            Just(Method::GET),
            Just(Method::POST),
            Just(Method::HEAD),
            Just(Method::OPTIONS),
            Just("PROPFIND".parse().unwrap()),
        ]
    }

    const KINDS: [ActivityKind; 4] = [
        ActivityKind::Any,
        ActivityKind::Navigation,
        ActivityKind::Explicit,
        ActivityKind::NavigationAndExplicit,
    ];

    #[test]
    fn explicit_counts_unsafe_methods_and_user_navigations() {
        let navigate = ("sec-fetch-mode", "navigate");
        let person = ("sec-fetch-user", "?1");
        for (method, lines, touches) in [
            (Method::GET, &[navigate, person][..], true),
            (
                Method::GET,
                &[navigate, person, ("sec-fetch-dest", "iframe")],
                true,
            ),
            (Method::GET, &[navigate], false),
            (Method::GET, &[person], false),
            (Method::GET, &[], false),
            (Method::GET, &[("sec-fetch-mode", "cors"), person], false),
            (Method::GET, &[navigate, ("sec-fetch-user", "?0")], false),
            (Method::HEAD, &[navigate, person], false),
            (Method::POST, &[], true),
            (Method::DELETE, &[], true),
            (Method::POST, &[("x-session-passive", "1")], false),
            ("PROPFIND".parse().unwrap(), &[], false),
            ("MKCOL".parse().unwrap(), &[], true),
        ] {
            let known = BackgroundHeaders::default();
            let found = classify(ActivityKind::Explicit, &known, &method, &headers(lines));
            assert_eq!(found == Activity::Touch, touches, "{method} {lines:?}");
        }
    }

    proptest! {
        /// A header of a background request can only shorten a session: with it, a request is passive under every kind,
        /// even if the request has other headers.
        #[test]
        fn background_headers_only_shorten_a_session(
            which in 0..BackgroundHeaders::KNOWN_HEADERS.len(),
            method in any_method(),
            lines in any_headers(),
        ) {
            for kind in KINDS {
                let mut lines = lines.clone();
                let (name, value) = &BackgroundHeaders::KNOWN_HEADERS[which];
                lines.append(name, value.parse().unwrap());
                let found = classify(kind, &BackgroundHeaders::default(), &method, &lines);
                prop_assert_ne!(found, Activity::Touch);
            }
        }

        /// No header turns a passive request into activity under `any`. Every request that counts under another kind
        /// also counts under `any`.
        #[test]
        fn no_header_turns_a_passive_request_into_activity(method in any_method(), lines in any_headers()) {
            let known = BackgroundHeaders::default();
            let without_headers = classify(ActivityKind::Any, &known, &method, &HeaderMap::new());
            let any = classify(ActivityKind::Any, &known, &method, &lines);
            prop_assert!(without_headers == Activity::Touch || any != Activity::Touch);
            for kind in KINDS {
                let strict = classify(kind, &known, &method, &lines);
                prop_assert!(any == Activity::Touch || strict != Activity::Touch);
            }
        }

        /// The strictest combination of two kinds counts exactly the requests that both kinds count.
        #[test]
        fn the_strictest_kind_counts_what_both_count(
            one in 0..KINDS.len(),
            other in 0..KINDS.len(),
            method in any_method(),
            lines in any_headers(),
        ) {
            let known = BackgroundHeaders::default();
            let touches = |kind| classify(kind, &known, &method, &lines) == Activity::Touch;
            let both = KINDS[one].strictest(KINDS[other]);
            prop_assert_eq!(touches(both), touches(KINDS[one]) && touches(KINDS[other]));
        }
    }
}
