//! Tests oauth2-proxy's files for NGINX and Caddy.

use super::*;
use crate::snippet::{OAUTH2_PROXY_CADDY, OAUTH2_PROXY_ON_NGINX, replace_all};

/// The location of the check, with the original address.
const CHECK: &str = "location = /oauth2/auth {\n    proxy_pass       http://127.0.0.1:4180;";

/// The location of the check, with Curfew's address and path.
const CURFEW_CHECK: &str =
    "location = /oauth2/auth {\n    proxy_pass       http://127.0.0.1:9180/auth-request;";

const FORWARDED_URI: &str = "proxy_set_header X-Forwarded-Uri  $request_uri;";

#[tokio::test]
async fn nginx_with_only_the_address_changed_answers_500() {
    let addresses = [("127.0.0.1:4180", "127.0.0.1:9180")];
    let text = replace_all(&OAUTH2_PROXY_ON_NGINX.read_unchanged(), &addresses);
    let (harness, session) = start(&OAUTH2_PROXY_ON_NGINX, &text, |it| it.status == 500).await;
    assert_all_get_500(&harness, &session).await;
    wait_for_warning(&harness, "oauth2_proxy", "Use /auth-request with NGINX").await;
    let answer = harness
        .send("GET", "/oauth2/sign_in", NAVIGATION_HEADERS)
        .await;
    assert_eq!(answer.status, 404);
    assert!(is_path_list(&answer), "{answer:?}");
    let hint = "the sign-in page is /.curfew/login on the browser listener";
    assert!(answer.body.contains(hint), "{answer:?}");
}

/// Curfew denies every check because of its headers. So even after a sign-in, NGINX redirects to the sign-in page.
#[tokio::test]
async fn nginx_with_headers_that_curfew_rejects_redirects_every_client() {
    let unchanged = OAUTH2_PROXY_ON_NGINX.read_unchanged();
    let with_originals = format!(
        "{FORWARDED_URI}\n    proxy_set_header X-Original-URL $scheme://$host$request_uri;\n    \
         proxy_set_header X-Original-Method $request_method;"
    );
    for (headers, detail) in [
        (FORWARDED_URI, foreign_input_detail("X-Forwarded-Uri")),
        (&*with_originals, foreign_input_detail("X-Forwarded-Uri")),
        ("", "X-Original-URL is missing".to_owned()),
    ] {
        let text = replace_all(
            &unchanged,
            &[(CHECK, CURFEW_CHECK), (FORWARDED_URI, headers)],
        );
        let (harness, session) = start(&OAUTH2_PROXY_ON_NGINX, &text, |it| it.status == 302).await;
        for answer in send_as_all_clients(&harness, &session).await {
            assert_eq!(answer.status, 302, "{answer:?}");
            let location = answer.header_or_empty("location");
            let page = "/oauth2/sign_in?rd=http://app.example.com/p";
            assert!(location.ends_with(page), "{answer:?}");
            assert_eq!(
                answer.header_or_empty("www-authenticate"),
                challenge(&detail)
            );
        }
    }
}

#[tokio::test]
async fn caddy_with_only_the_address_changed_passes_a_404() {
    let address = [(
        "forward_auth oauth2-proxy.internal:4180",
        "forward_auth curfew:9180",
    )];
    let text = replace_all(&OAUTH2_PROXY_CADDY.read_unchanged(), &address);
    let (harness, session) = start(&OAUTH2_PROXY_CADDY, &text, is_path_list).await;
    let hint = "/forward-auth with Traefik and Caddy";
    assert_all_get_path_list(&harness, &session, hint).await;
    wait_for_warning(&harness, "oauth2_proxy", hint).await;
}

/// `handle_response` replaces the 401 of scripts, and the file copies no identity headers.
#[tokio::test]
async fn caddy_with_the_path_changed_redirects_scripts_and_sends_no_identity() {
    let pairs = [
        (
            "forward_auth oauth2-proxy.internal:4180",
            "forward_auth curfew:9180",
        ),
        ("uri /oauth2/auth", "uri /forward-auth"),
    ];
    let text = replace_all(&OAUTH2_PROXY_CADDY.read_unchanged(), &pairs);
    let (harness, session) = start(&OAUTH2_PROXY_CADDY, &text, is_allowed).await;
    assert_access_is_enforced(&harness, &session).await;
    let backend_request = harness.assert_allowed(&harness.get(&session, "/p").await);
    harness
        .snippet
        .identity_headers
        .assert_no_identity(&backend_request);
    assert_browser_endpoints_reach_application(&harness, &session).await;
    for target in ["/p", "/.curfew/session"] {
        let answer = harness.send("GET", target, SCRIPT_HEADERS).await;
        assert_eq!(answer.status, 302, "{answer:?}");
        let page = format!("/oauth2/sign_in?rd=http://example.com{target}");
        assert_eq!(answer.header_or_empty("location"), page);
        harness.assert_application_not_reached();
    }
}
