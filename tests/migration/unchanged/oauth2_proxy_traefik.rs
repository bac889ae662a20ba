//! Tests oauth2-proxy's two files for Traefik.

use super::*;
use crate::snippet::{OAUTH2_PROXY_TRAEFIK, OAUTH2_PROXY_TRAEFIK_STATIC, replace_all};
use crate::support::backend::BODY;

const ADDRESS: &str = "address: https://oauth.example.com/oauth2/auth";

#[tokio::test]
async fn traefik_with_only_the_address_changed_passes_a_404() {
    let pairs = [(ADDRESS, "address: http://curfew:9180/oauth2/auth")];
    let text = replace_all(&OAUTH2_PROXY_TRAEFIK.read_unchanged(), &pairs);
    let (harness, session) = start(&OAUTH2_PROXY_TRAEFIK, &text, is_path_list).await;
    let hint = "/forward-auth with Traefik and Caddy";
    assert_all_get_path_list(&harness, &session, hint).await;
    wait_for_warning(&harness, "oauth2_proxy", hint).await;
    // In Traefik 3, a matcher has only one host, so Traefik rejects the router of the sign-in page.
    let log = harness.proxy.log();
    assert!(log.contains("error while parsing rule Host("), "{log}");
    let answer = harness
        .send("GET", "/oauth2/sign_in", NAVIGATION_HEADERS)
        .await;
    assert!(is_path_list(&answer), "{answer:?}");
}

/// The middleware `errors` replaces every 401 and 403.
#[tokio::test]
async fn the_errors_middleware_replaces_denials_with_the_sign_in_page() {
    let pairs = [(ADDRESS, "address: http://curfew:9180/forward-auth")];
    let text = replace_all(&OAUTH2_PROXY_TRAEFIK.read_unchanged(), &pairs);
    let (harness, session) = start(&OAUTH2_PROXY_TRAEFIK, &text, is_allowed).await;
    assert_access_is_enforced(&harness, &session).await;
    let backend_request = harness.assert_allowed(&harness.get(&session, "/p").await);
    harness
        .snippet
        .identity_headers
        .assert_no_identity(&backend_request);
    assert_browser_endpoints_reach_application(&harness, &session).await;
    harness.login.take();
    let cookie = session.cookie();
    for (target, header_pairs, status) in [
        ("/p", SCRIPT_HEADERS, 302),
        ("/.curfew/session", SCRIPT_HEADERS, 302),
        ("/admin", &[("cookie", &*cookie)][..], 403),
    ] {
        let answer = harness.send("GET", target, header_pairs).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.body, BODY, "the sign-in page");
        assert_eq!(answer.header("location"), None);
        let page = harness.login.take_one();
        assert_eq!(page.uri.path(), "/oauth2/sign_in");
        harness.assert_application_not_reached();
    }
}

/// The file sends checks to the path `/`, which Curfew does not serve.
#[tokio::test]
async fn static_upstreams_with_only_the_address_changed_pass_a_404() {
    let pairs = [
        ("https://oauth.example.com/", "http://curfew:9180/"),
        // In Traefik 3, a matcher has only one host.
        (", `b-service.example.com`", ""),
    ];
    let text = replace_all(&OAUTH2_PROXY_TRAEFIK_STATIC.read_unchanged(), &pairs);
    let (harness, session) = start(&OAUTH2_PROXY_TRAEFIK_STATIC, &text, is_path_list).await;
    assert_all_get_path_list(&harness, &session, "/forward-auth       Traefik").await;
    wait_for_warning(&harness, "other", "/forward-auth").await;
}

/// The changed file serves a host that Curfew's configuration does not name.
#[tokio::test]
async fn a_host_that_the_configuration_does_not_name_is_denied() {
    let text = OAUTH2_PROXY_TRAEFIK_STATIC.read_for_curfew();
    let (harness, session) = start(&OAUTH2_PROXY_TRAEFIK_STATIC, &text, is_allowed).await;
    let cookie = session.cookie();
    let header_pairs = [("cookie", &*cookie), ("host", "b-service.example.com")];
    let answer = harness.send("GET", "/p", &header_pairs).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.header_or_empty("x-session-reason"), "unknown_host");
    let detail = "the configuration does not name this host (hosts, unknown_hosts)";
    assert_eq!(answer.header_or_empty("x-session-detail"), detail);
    harness.assert_application_not_reached();
}
