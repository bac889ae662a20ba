//! The ingress-nginx annotations of Authelia and oauth2-proxy.

use super::*;
use crate::changed::with_another_host;
use crate::snippet::{AUTHELIA_INGRESS_NGINX, OAUTH2_PROXY_INGRESS_NGINX, Snippet, replaced};

const BOTH: [(Snippet, &str, &str); 2] = [
    (
        AUTHELIA_INGRESS_NGINX,
        "/api/authz/auth-request",
        "authelia",
    ),
    (OAUTH2_PROXY_INGRESS_NGINX, "/oauth2/auth", "oauth2_proxy"),
];

#[tokio::test]
async fn with_only_the_address() {
    for (snippet, _, class) in BOTH {
        let (bench, session) = start(&snippet, &snippet.unchanged(), |it| it.status == 500).await;
        all_get_500(&bench, &session).await;
        warned(&bench, class, "Use /auth-request").await;
    }
}

#[tokio::test]
async fn with_the_path_of_auth_request() {
    for (snippet, path, _) in BOTH {
        let text = replaced(&snippet.unchanged(), &[(path, "/auth-request")]);
        let (bench, session) = start(&snippet, &text, is_admitted).await;
        assert_usable(&bench, &session).await;
        browser_endpoints_are_the_applications(&bench, &session).await;
        // A request with this header, from a client or a load balancer, is redirected to sign in.
        let cookie = session.cookie();
        let lines = [("cookie", &*cookie), ("x-forwarded-uri", "/public")];
        let answer = bench.send("GET", TARGET, &lines).await;
        redirected(&bench, &answer, ESCAPED, "malformed_request");
        let named = challenge(&foreign_input_detail("X-Forwarded-Uri"));
        assert_eq!(answer.header("www-authenticate"), named);
        // The check is for the host in `Host`, but NGINX routes by the other one. The log reports this.
        eventually("the log warns of the host", async || {
            let log = bench.curfew.log();
            log.contains("ingress-nginx names the host that the client wrote")
        })
        .await;
        let answer = bench.raw(&with_another_host(snippet.host)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        bench.application.take_one();
    }
}

/// `/forward-auth` needs the ConfigMap: without it, no header names the request.
#[tokio::test]
async fn with_the_path_of_forward_auth_and_without_the_config_map() {
    for (snippet, path, _) in BOTH {
        let text = replaced(&snippet.unchanged(), &[(path, "/forward-auth")]);
        let (bench, session) = start(&snippet, &text, |it| it.status == 302).await;
        for answer in all_clients(&bench, &session).await {
            assert_eq!(answer.status, 302, "{answer:?}");
            let missing = challenge("X-Forwarded-Host is missing");
            assert_eq!(answer.header("www-authenticate"), missing);
        }
        // Clients cannot supply them either: the controller removes one of the headers, and Curfew requires it.
        let cookie = session.cookie();
        for (host, uri, method) in [
            (snippet.host, TARGET, "GET"),
            (snippet.host, "/public", "GET"),
            ("public.example.com", TARGET, "GET"),
            (snippet.host, TARGET, "OPTIONS"),
        ] {
            let lines = [
                ("cookie", &*cookie),
                ("x-forwarded-host", host),
                ("x-forwarded-uri", uri),
                ("x-forwarded-method", method),
                ("x-forwarded-proto", "https"),
            ];
            let answer = bench.send("GET", TARGET, &lines).await;
            assert_eq!(answer.status, 302, "{answer:?}");
            let missing = challenge("X-Forwarded-Proto is missing");
            assert_eq!(answer.header("www-authenticate"), missing);
        }
        assert!(bench.application.take().is_empty());
    }
}
