//! Tests the ingress-nginx annotations of Authelia and oauth2-proxy.

use super::*;
use crate::changed::request_with_another_host;
use crate::snippet::{AUTHELIA_INGRESS_NGINX, OAUTH2_PROXY_INGRESS_NGINX, Snippet, replace_all};

/// The snippets, the path of the check in each snippet, and the class that Curfew logs for this path.
const SNIPPETS: [(Snippet, &str, &str); 2] = [
    (
        AUTHELIA_INGRESS_NGINX,
        "/api/authz/auth-request",
        "authelia",
    ),
    (OAUTH2_PROXY_INGRESS_NGINX, "/oauth2/auth", "oauth2_proxy"),
];

#[tokio::test]
async fn with_only_the_address_changed_nginx_answers_500() {
    for (snippet, _, class) in SNIPPETS {
        let (harness, session) =
            start(&snippet, &snippet.read_unchanged(), |it| it.status == 500).await;
        assert_all_get_500(&harness, &session).await;
        wait_for_warning(&harness, class, "Use /auth-request").await;
    }
}

#[tokio::test]
async fn with_auth_request_sessions_work_but_the_check_can_name_another_host() {
    for (snippet, path, _) in SNIPPETS {
        let text = replace_all(&snippet.read_unchanged(), &[(path, "/auth-request")]);
        let (harness, session) = start(&snippet, &text, is_allowed).await;
        assert_access_is_enforced(&harness, &session).await;
        assert_browser_endpoints_reach_application(&harness, &session).await;
        // If a client or a load balancer sends this header, the answer redirects to the sign-in page.
        let cookie = session.cookie();
        let header_pairs = [("cookie", &*cookie), ("x-forwarded-uri", "/public")];
        let answer = harness.send("GET", TARGET, &header_pairs).await;
        assert_redirected(&harness, &answer, ESCAPED_TARGET, "malformed_request");
        let challenge_text = challenge(&foreign_input_detail("X-Forwarded-Uri"));
        assert_eq!(answer.header_or_empty("www-authenticate"), challenge_text);
        // The check names the host of `Host`, but NGINX routes with the host of the target. Curfew's log warns
        // of this.
        eventually("the log warns of the host", async || {
            let log = harness.curfew.log();
            log.contains("ingress-nginx names the host that the client wrote")
        })
        .await;
        let answer = harness
            .send_raw(&request_with_another_host(snippet.host))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        harness.application.take_one();
    }
}

/// `/forward-auth` needs the ConfigMap. Without this ConfigMap, the check lacks the headers with the host, path and
/// method of the request.
#[tokio::test]
async fn without_the_config_map_forward_auth_denies_every_request() {
    for (snippet, path, _) in SNIPPETS {
        let text = replace_all(&snippet.read_unchanged(), &[(path, "/forward-auth")]);
        let (harness, session) = start(&snippet, &text, |it| it.status == 302).await;
        for answer in send_as_all_clients(&harness, &session).await {
            assert_eq!(answer.status, 302, "{answer:?}");
            let missing = challenge("X-Forwarded-Host is missing");
            assert_eq!(answer.header_or_empty("www-authenticate"), missing);
        }
        // A client cannot supply the missing headers itself, because Curfew requires all of these headers, and the
        // controller removes one of them.
        let cookie = session.cookie();
        for (host, uri, method) in [
            (snippet.host, TARGET, "GET"),
            (snippet.host, "/public", "GET"),
            ("public.example.com", TARGET, "GET"),
            (snippet.host, TARGET, "OPTIONS"),
        ] {
            let header_pairs = [
                ("cookie", &*cookie),
                ("x-forwarded-host", host),
                ("x-forwarded-uri", uri),
                ("x-forwarded-method", method),
                ("x-forwarded-proto", "https"),
            ];
            let answer = harness.send("GET", TARGET, &header_pairs).await;
            assert_eq!(answer.status, 302, "{answer:?}");
            let missing = challenge("X-Forwarded-Proto is missing");
            assert_eq!(answer.header_or_empty("www-authenticate"), missing);
        }
        assert!(harness.application.take().is_empty());
    }
}
