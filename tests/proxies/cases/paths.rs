//! Paths that mean one thing to one and another to the next.

use crate::bench::Bench;

/// Requests without a session: whatever reaches the application is the way in, and nothing else.
pub async fn tricks(bench: &mut Bench) {
    for target in [
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
    ] {
        for lines in ["", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"] {
            let status = bench
                .raw(&format!(
                    "GET {target} HTTP/1.1\r\nHost: app.example.com\r\n{lines}Connection: close\r\n\r\n"
                ))
                .await;
            let seen = bench.backend.take();
            for seen in &seen {
                assert_eq!(seen.uri.path(), "/sign-in", "{target}");
            }
            if seen.is_empty() {
                assert!(
                    status == 0 || (300..500).contains(&status),
                    "{target}: {status}"
                );
            }
        }
    }
    // The way in itself is open, with any query.
    for target in ["/sign-in", "/sign-in?x=/private/..", "/sign-in?a&b#c"] {
        let answer = bench.send("GET", target, &[]).await;
        assert_eq!(answer.status, 200, "{target}");
        let seen = bench.backend.take_one();
        let (path, _) = target.split_once('#').unwrap_or((target, ""));
        assert_eq!(seen.uri.to_string(), path);
    }
}
