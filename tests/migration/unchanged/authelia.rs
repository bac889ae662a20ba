//! Tests Authelia's files for NGINX, Traefik and Caddy.

use super::*;
use crate::changed::checks;
use crate::snippet::{AUTHELIA_CADDY, AUTHELIA_NGINX, AUTHELIA_TRAEFIK, Snippet, replaced};

/// Returns the snippet with Curfew's address, and with `curfew_path` in place of `path`.
fn with_check(snippet: &Snippet, path: &str, curfew_path: &str) -> String {
    let pairs = [("authelia:9091", "curfew:9180"), (path, curfew_path)];
    replaced(&snippet.unchanged(), &pairs)
}

fn nginx(curfew_path: &str) -> String {
    with_check(&AUTHELIA_NGINX, "/api/authz/auth-request", curfew_path)
}

#[tokio::test]
async fn nginx_with_only_the_address() {
    let text = nginx("/api/authz/auth-request");
    let (bench, session) = start(&AUTHELIA_NGINX, &text, |it| it.status == 500).await;
    assert_all_get_500(&bench, &session).await;
    let hint = "Use /auth-request for /api/authz/auth-request";
    wait_for_warning(&bench, "authelia", hint).await;
}

#[tokio::test]
async fn nginx_with_the_path() {
    let text = nginx("/auth-request");
    let (bench, session) = start(&AUTHELIA_NGINX, &text, is_allowed).await;
    assert_usable(&bench, &session).await;
    let seen = bench.assert_allowed(&bench.get(&session, "/p").await);
    bench.snippet.names.assert_only_alice(&seen);
    assert_redirect_without_target(&bench.send("GET", "/p", SCRIPT).await);
    bench.assert_application_not_reached();
    // If a client or a load balancer sends this header, Curfew denies the request.
    let cookie = session.cookie();
    let lines = [("cookie", &*cookie), ("x-forwarded-uri", "/public")];
    for lines in [&lines[..], &lines[1..]] {
        let answer = bench.send("GET", "/p", lines).await;
        assert_redirect_without_target(&answer);
        let named = challenge(&foreign_input_detail("X-Forwarded-Uri"));
        assert_eq!(answer.header("www-authenticate"), named);
        bench.assert_application_not_reached();
    }
    assert_browser_endpoints_reach_application(&bench, &session).await;
}

/// The snippet `authelia-location-basic.conf` sets two headers that belong to another contract.
#[tokio::test]
async fn nginx_with_the_basic_snippet() {
    let method = "proxy_set_header X-Original-Method $request_method;";
    let basic = format!(
        "{method}\nproxy_set_header X-Forwarded-Method $request_method;\n\
         proxy_set_header X-Forwarded-URI $request_uri;"
    );
    let text = replaced(&nginx("/auth-request"), &[(method, &basic)]);
    let redirect = "error_page 401 =302 $redirection_url;";
    let plain = replaced(&text, &[(redirect, "")]);
    for (text, status) in [(text, 302), (plain, 401)] {
        let (bench, session) = start(&AUTHELIA_NGINX, &text, |it| it.status == status).await;
        for answer in send_as_all_clients(&bench, &session).await {
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.header("location"), "");
            let named = challenge(&foreign_input_detail("X-Forwarded-Method"));
            assert_eq!(answer.header("www-authenticate"), named);
        }
    }
}

const FORWARD_AUTH: &str = "/api/authz/forward-auth";

/// Tests Traefik or Caddy, which behave alike: both pass Curfew's whole answer to the client.
async fn forward_auth(snippet: &Snippet) {
    let hint = "/forward-auth for /api/authz/forward-auth";
    let text = with_check(snippet, FORWARD_AUTH, FORWARD_AUTH);
    let (bench, session) = start(snippet, &text, is_path_list).await;
    assert_all_get_path_list(&bench, &session, hint).await;
    wait_for_warning(&bench, "authelia", hint).await;

    let text = with_check(snippet, FORWARD_AUTH, "/auth-request");
    let (bench, session) = start(snippet, &text, |it| it.status == 401).await;
    for answer in send_as_all_clients(&bench, &session).await {
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.header("x-session-reason"), "malformed_request");
        let detail = foreign_input_detail("X-Forwarded-Method");
        assert_eq!(answer.header("x-session-detail"), detail);
        assert_eq!(answer.header("www-authenticate"), challenge(&detail));
    }

    let text = with_check(snippet, FORWARD_AUTH, "/forward-auth");
    let (bench, session) = start(snippet, &text, is_allowed).await;
    assert_usable(&bench, &session).await;
    let answer = assert_scripts_get_401(&bench, SCRIPT).await;
    assert_eq!(answer.header("x-session-reason"), "no_credential");
    assert_browser_endpoints_reach_application(&bench, &session).await;
}

#[tokio::test]
async fn traefik() {
    forward_auth(&AUTHELIA_TRAEFIK).await;
}

#[tokio::test]
async fn caddy() {
    forward_auth(&AUTHELIA_CADDY).await;
}

/// Caddy runs `forward_auth` before `handle`, unless both are in a `route`.
#[tokio::test]
async fn caddy_checks_the_browser_endpoints_without_route() {
    let application = "        reverse_proxy nextcloud:80";
    let handle = format!(
        "        handle /.curfew/* {{\n                reverse_proxy curfew:9183\n        }}\n{application}"
    );
    let text = with_check(&AUTHELIA_CADDY, FORWARD_AUTH, "/forward-auth");
    let text = replaced(&text, &[(application, &handle)]);
    let (bench, session) = start(&AUTHELIA_CADDY, &text, is_allowed).await;
    let before = checks(&bench).await;
    let answer = bench.get(&session, "/.curfew/session").await;
    assert!(answer.body.contains("\"subject\":\"alice\""), "{answer:?}");
    assert_eq!(checks(&bench).await, before + 1);
}
