//! Tests Authelia's files for NGINX, Traefik and Caddy.

use super::*;
use crate::changed::check_count;
use crate::snippet::{AUTHELIA_CADDY, AUTHELIA_NGINX, AUTHELIA_TRAEFIK, Snippet, replace_all};

/// Returns the snippet with Curfew's address, and with `curfew_path` in place of `path`.
fn replace_check_url(snippet: &Snippet, path: &str, curfew_path: &str) -> String {
    let pairs = [("authelia:9091", "curfew:9180"), (path, curfew_path)];
    replace_all(&snippet.read_unchanged(), &pairs)
}

fn nginx_text(curfew_path: &str) -> String {
    replace_check_url(&AUTHELIA_NGINX, "/api/authz/auth-request", curfew_path)
}

#[tokio::test]
async fn nginx_with_only_the_address_changed_answers_500() {
    let text = nginx_text("/api/authz/auth-request");
    let (harness, session) = start(&AUTHELIA_NGINX, &text, |it| it.status == 500).await;
    assert_all_get_500(&harness, &session).await;
    let hint = "Use /auth-request for /api/authz/auth-request";
    wait_for_warning(&harness, "authelia", hint).await;
}

#[tokio::test]
async fn nginx_with_address_and_path_changed_redirects_scripts_without_a_target() {
    let text = nginx_text("/auth-request");
    let (harness, session) = start(&AUTHELIA_NGINX, &text, is_allowed).await;
    assert_access_is_enforced(&harness, &session).await;
    let backend_request = harness.assert_allowed(&harness.get(&session, "/p").await);
    harness
        .snippet
        .identity_headers
        .assert_only_alice(&backend_request);
    assert_redirect_without_target(&harness.send("GET", "/p", SCRIPT_HEADERS).await);
    harness.assert_application_not_reached();
    // If a client or a load balancer sends this header, Curfew denies the request.
    let cookie = session.cookie();
    let header_pairs = [("cookie", &*cookie), ("x-forwarded-uri", "/public")];
    for header_pairs in [&header_pairs[..], &header_pairs[1..]] {
        let answer = harness.send("GET", "/p", header_pairs).await;
        assert_redirect_without_target(&answer);
        let challenge_text = challenge(&foreign_input_detail("X-Forwarded-Uri"));
        assert_eq!(answer.header_or_empty("www-authenticate"), challenge_text);
        harness.assert_application_not_reached();
    }
    assert_browser_endpoints_reach_application(&harness, &session).await;
}

/// The snippet `authelia-location-basic.conf` sets two headers of `/forward-auth`, but Curfew denies a
/// check on `/auth-request` with such headers.
#[tokio::test]
async fn nginx_with_the_basic_snippet_denies_every_request() {
    let method = "proxy_set_header X-Original-Method $request_method;";
    let basic = format!(
        "{method}\nproxy_set_header X-Forwarded-Method $request_method;\n\
         proxy_set_header X-Forwarded-URI $request_uri;"
    );
    let text = replace_all(&nginx_text("/auth-request"), &[(method, &basic)]);
    let redirect = "error_page 401 =302 $redirection_url;";
    let plain = replace_all(&text, &[(redirect, "")]);
    for (text, status) in [(text, 302), (plain, 401)] {
        let (harness, session) = start(&AUTHELIA_NGINX, &text, |it| it.status == status).await;
        for answer in send_as_all_clients(&harness, &session).await {
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.header_or_empty("location"), "");
            let challenge_text = challenge(&foreign_input_detail("X-Forwarded-Method"));
            assert_eq!(answer.header_or_empty("www-authenticate"), challenge_text);
        }
    }
}

const FORWARD_AUTH: &str = "/api/authz/forward-auth";

/// Tests Traefik or Caddy, which behave alike: both pass Curfew's whole answer to the client.
async fn assert_answers_are_passed(snippet: &Snippet) {
    let hint = "/forward-auth for /api/authz/forward-auth";
    let text = replace_check_url(snippet, FORWARD_AUTH, FORWARD_AUTH);
    let (harness, session) = start(snippet, &text, is_path_list).await;
    assert_all_get_path_list(&harness, &session, hint).await;
    wait_for_warning(&harness, "authelia", hint).await;

    let text = replace_check_url(snippet, FORWARD_AUTH, "/auth-request");
    let (harness, session) = start(snippet, &text, |it| it.status == 401).await;
    for answer in send_as_all_clients(&harness, &session).await {
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(
            answer.header_or_empty("x-session-reason"),
            "malformed_request"
        );
        let detail = foreign_input_detail("X-Forwarded-Method");
        assert_eq!(answer.header_or_empty("x-session-detail"), detail);
        assert_eq!(
            answer.header_or_empty("www-authenticate"),
            challenge(&detail)
        );
    }

    let text = replace_check_url(snippet, FORWARD_AUTH, "/forward-auth");
    let (harness, session) = start(snippet, &text, is_allowed).await;
    assert_access_is_enforced(&harness, &session).await;
    let answer = assert_scripts_get_401(&harness, SCRIPT_HEADERS).await;
    assert_eq!(answer.header_or_empty("x-session-reason"), "no_credential");
    assert_browser_endpoints_reach_application(&harness, &session).await;
}

#[tokio::test]
async fn traefik_passes_the_whole_answer_of_curfew() {
    assert_answers_are_passed(&AUTHELIA_TRAEFIK).await;
}

#[tokio::test]
async fn caddy_passes_the_whole_answer_of_curfew() {
    assert_answers_are_passed(&AUTHELIA_CADDY).await;
}

/// Caddy runs `forward_auth` before `handle`, unless both are in a `route`.
#[tokio::test]
async fn caddy_checks_the_browser_endpoints_without_route() {
    let application = "        reverse_proxy nextcloud:80";
    let handle = format!(
        "        handle /.curfew/* {{\n                reverse_proxy curfew:9183\n        }}\n{application}"
    );
    let text = replace_check_url(&AUTHELIA_CADDY, FORWARD_AUTH, "/forward-auth");
    let text = replace_all(&text, &[(application, &handle)]);
    let (harness, session) = start(&AUTHELIA_CADDY, &text, is_allowed).await;
    let before = check_count(&harness).await;
    let answer = harness.get(&session, "/.curfew/session").await;
    assert!(answer.body.contains("\"subject\":\"alice\""), "{answer:?}");
    assert_eq!(check_count(&harness).await, before + 1);
}
