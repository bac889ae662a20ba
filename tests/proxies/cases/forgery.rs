//! Clients send headers that only proxies may send.

use crate::harness::{Harness, HeaderPairs};

/// Headers that name a public path, and a method that does not count as activity.
const FORGED_INPUTS: &HeaderPairs<'static> = &[
    ("x-forwarded-uri", "/sign-in"),
    ("x-forwarded-method", "OPTIONS"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-path", "/sign-in"),
    ("x-forwarded-prefix", "/sign-in"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x_forwarded_uri", "/sign-in"),
    ("x_forwarded_method", "OPTIONS"),
    ("x_forwarded_host", "evil.example"),
    ("x-original-url", "https://evil.example/sign-in"),
    ("x-original-uri", "/sign-in"),
    ("x-original-method", "OPTIONS"),
    ("x_original_url", "https://evil.example/sign-in"),
    ("x-rewrite-url", "/sign-in"),
    ("x-envoy-original-path", "/sign-in"),
    ("x-auth-request-redirect", "https://evil.example/"),
    ("forwarded", "for=127.0.0.1;host=evil.example;proto=https"),
    ("path", "/sign-in"),
    ("method", "OPTIONS"),
];

pub async fn forged_router_inputs(harness: &mut Harness) {
    let answer = harness.send("GET", "/private", FORGED_INPUTS).await;
    harness.assert_denied(&answer, "no_credential");
    // The return address must be the same with the forged headers.
    let host = harness.kind.redirecting_host;
    let mut header_pairs = vec![("host", host), ("sec-fetch-mode", "navigate")];
    let unforged = harness.send("GET", "/private", &header_pairs).await;
    header_pairs.extend(FORGED_INPUTS);
    let forged = harness.send("GET", "/private", &header_pairs).await;
    harness.assert_application_not_reached();
    assert_eq!((unforged.status, forged.status), (302, 302));
    assert_eq!(unforged.header("location"), forged.header("location"));

    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let mut header_pairs = vec![("cookie", &*cookie)];
    header_pairs.extend(FORGED_INPUTS);
    harness.assert_allowed(
        &harness.send("GET", "/private", &header_pairs).await,
        "alice",
    );
}

/// Returns the spellings of a header name that some application may treat alike. Many applications replace every
/// character except letters and digits with an underscore.
fn spellings(name: &str) -> Vec<String> {
    let others = "!#$%&'*+.^_`|~".chars();
    let mut spelled: Vec<String> = others
        .map(|other| name.replace('-', &other.to_string()))
        .collect();
    let (first, last) = (name.replacen('-', "_", 1), name.rsplit_once('-').unwrap());
    let last = format!("{}_{}", last.0, last.1);
    spelled.extend([name.to_owned(), name.to_uppercase(), first, last]);
    spelled
}

/// Returns these headers, and headers with a forged identity.
fn with_forged_identity<'a>(
    names: &'a [String],
    header_pairs: &HeaderPairs<'a>,
) -> Vec<(&'a str, &'a str)> {
    let names = names.iter().map(|name| (&**name, "root"));
    header_pairs.iter().copied().chain(names).collect()
}

fn forged_names() -> Vec<String> {
    let names = ["user", "groups", "email", "id", "policy"];
    names
        .iter()
        .flat_map(|name| spellings(&format!("x-session-{name}")))
        .collect()
}

/// Asserts that no header contains the forged identity.
fn assert_not_forged(headers: &http::HeaderMap) {
    for (name, value) in headers {
        let read: String = name
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        assert!(
            !read.starts_with("x_session") || value != "root",
            "{name}: {value:?}"
        );
    }
}

pub async fn forged_identity(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let (cookie, names) = (session.cookie(), forged_names());
    let header_pairs = with_forged_identity(&names, &[("cookie", &*cookie)]);
    for http2 in [false, true] {
        let answer = if http2 {
            harness.get_http2("/", &header_pairs).await
        } else {
            harness.send("GET", "/", &header_pairs).await
        };
        let backend_request = harness.assert_allowed(&answer, "alice");
        assert_not_forged(&backend_request.headers);
        assert_eq!(
            backend_request.header_values("x-session-groups"),
            ["staff,admin"]
        );
        assert_eq!(backend_request.header_values("x-session-id"), [&session.id]);
    }
    // A client cannot add attributes that the session does not have.
    let session_without_attributes = harness
        .curfew
        .sign_in_with("bob", serde_json::json!({}))
        .await;
    let cookie = session_without_attributes.cookie();
    let header_pairs = with_forged_identity(&names, &[("cookie", &*cookie)]);
    let backend_request =
        harness.assert_allowed(&harness.send("GET", "/", &header_pairs).await, "bob");
    assert_not_forged(&backend_request.headers);
    for name in ["x-session-groups", "x-session-email"] {
        assert!(
            backend_request.header_values(name).join("").is_empty(),
            "{backend_request:?}"
        );
    }
}

pub async fn forged_identity_on_public_path(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let (cookie, names) = (session.cookie(), forged_names());
    for cookie in [&*cookie, "a=1"] {
        let header_pairs = with_forged_identity(&names, &[("cookie", cookie)]);
        let answer = harness.send("GET", "/sign-in", &header_pairs).await;
        assert_eq!(answer.status, 200);
        let backend_request = harness.backend.take_one();
        assert_not_forged(&backend_request.headers);
        assert!(
            backend_request
                .header_values("x-session-user")
                .join("")
                .is_empty(),
            "{backend_request:?}"
        );
    }
}

pub async fn connection_header(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for connection in [
        "Cookie, X-Session-User, X-Session-Groups, X-Session-Id",
        "close, X-Session-User, Cookie, X-Forwarded-Uri, X-Original-URL, Host",
        "x-session-user",
        "Upgrade, X-Session-User",
        "x-session-id,upgrade",
        "X-Forwarded-Method, X-Forwarded-Uri, X-Forwarded-Host, X-Forwarded-Proto",
    ] {
        let header_pairs = [
            ("cookie", &*cookie),
            ("connection", connection),
            ("x-session-user", "root"),
        ];
        let answer = harness.send("GET", "/private", &header_pairs).await;
        // The application receives the whole identity or no request. Envoy rejects some of these requests with 400.
        match answer.status {
            400 | 401 => harness.assert_application_not_reached(),
            _ => {
                let backend_request = harness.assert_allowed(&answer, "alice");
                assert_eq!(
                    backend_request.header_values("x-session-groups"),
                    ["staff,admin"],
                    "{connection}"
                );
                assert_eq!(
                    backend_request.header_values("x-session-id"),
                    [&session.id],
                    "{connection}"
                );
            }
        }
        let answer = harness.send("GET", "/private", &header_pairs[1..]).await;
        assert!([400, 401].contains(&answer.status), "{connection}");
        harness.assert_application_not_reached();
    }
}

pub async fn forged_preflight(harness: &mut Harness) {
    let cors = [
        ("origin", "https://other.example.com"),
        ("access-control-request-method", "GET"),
        ("x-original-method", "OPTIONS"),
        ("x-forwarded-method", "OPTIONS"),
        ("method", "OPTIONS"),
        ("x-http-method-override", "OPTIONS"),
    ];
    harness.assert_denied(&harness.send("OPTIONS", "/", &cors).await, "no_credential");
    harness.assert_denied(&harness.send("GET", "/", &cors).await, "no_credential");
    for (method, extends_session) in [("GET", true), ("OPTIONS", false)] {
        let session = harness.curfew.sign_in("alice").await;
        let cookie = session.cookie();
        let mut header_pairs = vec![("cookie", &*cookie)];
        header_pairs.extend(cors);
        harness.curfew.age(&session, "8m").await;
        harness.assert_allowed(&harness.send(method, "/", &header_pairs).await, "alice");
        harness.curfew.age(&session, "8m").await;
        let answer = harness.get(&session, "/").await;
        if extends_session {
            harness.assert_allowed(&answer, "alice");
        } else {
            harness.assert_denied(&answer, "idle_timeout");
        }
    }
}
