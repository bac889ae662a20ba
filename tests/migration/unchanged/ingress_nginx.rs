//! Tests the ingress-nginx annotations of Authelia and oauth2-proxy.

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
        assert_all_get_500(&bench, &session).await;
        wait_for_warning(&bench, class, "Use /auth-request").await;
    }
}

#[tokio::test]
async fn with_the_path_of_auth_request() {
    for (snippet, path, _) in BOTH {
        let text = replaced(&snippet.unchanged(), &[(path, "/auth-request")]);
        let (bench, session) = start(&snippet, &text, is_allowed).await;
        assert_usable(&bench, &session).await;
        assert_browser_endpoints_reach_application(&bench, &session).await;
        // If a client or a load balancer sends this header, the answer redirects to the sign-in page.
        let cookie = session.cookie();
        let lines = [("cookie", &*cookie), ("x-forwarded-uri", "/public")];
        let answer = bench.send("GET", TARGET, &lines).await;
        assert_redirected(&bench, &answer, ESCAPED, "malformed_request");
        let named = challenge(&foreign_input_detail("X-Forwarded-Uri"));
        assert_eq!(answer.header("www-authenticate"), named);
        // The check names the host of `Host`, but NGINX routes with the host of the target. Curfew's log warns
        // of this.
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

/// `/forward-auth` needs the ConfigMap. Without it, the check does not have the headers that name the request.
#[tokio::test]
async fn with_the_path_of_forward_auth_and_without_the_config_map() {
    for (snippet, path, _) in BOTH {
        let text = replaced(&snippet.unchanged(), &[(path, "/forward-auth")]);
        let (bench, session) = start(&snippet, &text, |it| it.status == 302).await;
        for answer in send_as_all_clients(&bench, &session).await {
            assert_eq!(answer.status, 302, "{answer:?}");
            let missing = challenge("X-Forwarded-Host is missing");
            assert_eq!(answer.header("www-authenticate"), missing);
        }
        // A client cannot send these headers itself. Curfew requires all, and the controller removes one of them.
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
