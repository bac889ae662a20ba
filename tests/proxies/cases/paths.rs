//! Paths that two servers can read in different ways.

use percent_encoding::percent_decode_str;

use crate::harness::{Harness, RULED_HOST};

/// Request targets that a server could take for the public path `/sign-in`.
const TRICKS: &[&str] = &[
    "/sign-in/../private",
    "/sign-in/..%2fprivate",
    "/sign-in%2f..%2fprivate",
    "/sign-in/%2e%2e/private",
    "/sign-in/.%2e/private",
    "/private/../sign-in",
    "/private/%2e%2e/sign-in",
    "/private%2f..%2fsign-in",
    "/private/..%2fsign-in",
    "/./sign-in",
    "//sign-in",
    "/sign-in/",
    "/sign-in//private",
    "/sign-in;/private",
    "/sign-in;a=b",
    "/private;/../sign-in",
    "/sign-in%3b/private",
    "/sign-in%00",
    "/sign-in%00/private",
    "/sign-in%20",
    "/sign-in%0a",
    "/sign-in%23/private",
    "/sign-in#/private",
    "/private#/sign-in",
    "/sign-in%3fx",
    "/private?/sign-in",
    "/private?x=/sign-in",
    "/private?/../sign-in",
    "/sign%2din",
    "/%73ign-in",
    "/SIGN-IN",
    "/Sign-In",
    "/sign-in.",
    "/sign-in.json",
    "/sign-in\\..\\private",
    "/private\\..\\sign-in",
    "/sign-in%5c..%5cprivate",
    "/sign-in%c0%af..%c0%afprivate",
    "/%",
    "/sign-in%",
    "/sign-in%zz",
    "*",
    "sign-in",
    "http://app.example.com/private",
    "http://evil.example/sign-in/../private",
    "http:///sign-in",
    "",
];

/// Requests without a session: only the public path reaches the application.
pub async fn path_tricks(harness: &mut Harness) {
    for target in TRICKS {
        for header_lines in ["", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"] {
            let status = harness
                .send_raw(&http_request(target, "app.example.com", header_lines))
                .await;
            let backend_requests = harness.backend.take();
            for backend_request in &backend_requests {
                assert_eq!(backend_request.uri.path(), "/sign-in", "{target}");
            }
            if backend_requests.is_empty() {
                assert!(
                    status == 0 || (300..500).contains(&status),
                    "{target}: {status}"
                );
            }
        }
    }
    // The public path itself needs no session, with any query.
    for target in ["/sign-in", "/sign-in?x=/private/..", "/sign-in?a&b#c"] {
        let answer = harness.send("GET", target, &[]).await;
        assert_eq!(answer.status, 200, "{target}");
        let backend_request = harness.backend.take_one();
        let (path, _) = target.split_once('#').unwrap_or((target, ""));
        assert_eq!(backend_request.uri.to_string(), path);
    }
}

fn http_request(target: &str, host: &str, header_lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{header_lines}Connection: close\r\n\r\n")
}

/// Sends the targets of [`path_tricks`] with another public path in place of `/sign-in`: the path or the prefix that
/// Curfew's rules make public. A request may reach the application only if its path is exactly the public path or below
/// the public prefix.
pub async fn path_tricks_with_rules(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = format!("Cookie: {}\r\n", session.cookie());
    for public_path in ["/open", "/assets"] {
        for trick in TRICKS {
            let target = trick_for_path(public_path, trick);
            let status = harness
                .send_raw(&http_request(&target, RULED_HOST, ""))
                .await;
            let backend_requests = harness.backend.take();
            for backend_request in &backend_requests {
                let path = percent_decode_str(backend_request.uri.path())
                    .decode_utf8()
                    .unwrap();
                let is_below_assets = path
                    .strip_prefix("/assets")
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                assert!(path == "/open" || is_below_assets, "{target}: {path}");
                for trick in ["/..", "/.", "//", "\\", ";", "#", "%", "\0"] {
                    assert!(!path.contains(trick), "{target}: {path}");
                }
                for name in ["x-session-user", "x-session-groups", "x-session-id"] {
                    assert!(
                        backend_request.header_values(name).join("").is_empty(),
                        "{backend_request:?}"
                    );
                }
            }
            let denied = status == 0 || (300..500).contains(&status);
            assert!(denied || !backend_requests.is_empty(), "{target}: {status}");
            // Sends the same request with a session. Here, any answer is correct.
            harness
                .send_raw(&http_request(&target, RULED_HOST, &cookie))
                .await;
            harness.backend.take();
        }
    }
    for target in ["/open?x=/private/..", "/assets", "/assets/a/b.css?v=1"] {
        let answer = harness.send("GET", target, &[("host", RULED_HOST)]).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(harness.backend.take_one().uri.to_string(), target);
    }
    for target in ["/openx", "/OPEN", "/assetsx", "/private"] {
        let answer = harness.send("GET", target, &[("host", RULED_HOST)]).await;
        harness.assert_denied(&answer, "no_credential");
    }
}

/// Returns the misleading path `trick`, with `public_path` in place of `/sign-in`.
fn trick_for_path(public_path: &str, trick: &str) -> String {
    let name = public_path.trim_start_matches('/');
    let (first, rest) = name.split_at(1);
    let encoded = format!("%{:02x}{rest}", first.as_bytes()[0]);
    let (upper, title) = (name.to_uppercase(), first.to_uppercase() + rest);
    trick
        .replace("%73ign-in", &encoded)
        .replace("sign%2din", &encoded)
        .replace("sign-in", name)
        .replace("SIGN-IN", &upper)
        .replace("Sign-In", &title)
}
