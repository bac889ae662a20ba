//! Tests oauth2-proxy's two files for Traefik.

use super::*;
use crate::snippet::{OAUTH2_PROXY_TRAEFIK, OAUTH2_PROXY_TRAEFIK_STATIC, replaced};
use crate::support::backend::BODY;

const ADDRESS: &str = "address: https://oauth.example.com/oauth2/auth";

#[tokio::test]
async fn errors_middleware_with_only_the_address() {
    let pairs = [(ADDRESS, "address: http://curfew:9180/oauth2/auth")];
    let text = replaced(&OAUTH2_PROXY_TRAEFIK.unchanged(), &pairs);
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK, &text, is_path_list).await;
    let hint = "/forward-auth with Traefik and Caddy";
    assert_all_get_path_list(&bench, &session, hint).await;
    wait_for_warning(&bench, "oauth2_proxy", hint).await;
    // In Traefik 3, a matcher has only one host, so Traefik rejects the router of the sign-in page.
    let log = bench.proxy.log();
    assert!(log.contains("error while parsing rule Host("), "{log}");
    let answer = bench.send("GET", "/oauth2/sign_in", NAVIGATION).await;
    assert!(is_path_list(&answer), "{answer:?}");
}

/// The middleware `errors` replaces every 401 and 403.
#[tokio::test]
async fn errors_middleware_with_the_path() {
    let pairs = [(ADDRESS, "address: http://curfew:9180/forward-auth")];
    let text = replaced(&OAUTH2_PROXY_TRAEFIK.unchanged(), &pairs);
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK, &text, is_allowed).await;
    assert_usable(&bench, &session).await;
    let seen = bench.assert_allowed(&bench.get(&session, "/p").await);
    bench.snippet.names.assert_no_identity(&seen);
    assert_browser_endpoints_reach_application(&bench, &session).await;
    bench.login.take();
    let cookie = session.cookie();
    for (target, lines, status) in [
        ("/p", SCRIPT, 302),
        ("/.curfew/session", SCRIPT, 302),
        ("/admin", &[("cookie", &*cookie)][..], 403),
    ] {
        let answer = bench.send("GET", target, lines).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.body, BODY, "the sign-in page");
        assert_eq!(answer.one("location"), None);
        let page = bench.login.take_one();
        assert_eq!(page.uri.path(), "/oauth2/sign_in");
        bench.assert_application_not_reached();
    }
}

/// The file sends checks to the path `/`, which Curfew does not serve.
#[tokio::test]
async fn static_upstreams_with_only_the_address() {
    let pairs = [
        ("https://oauth.example.com/", "http://curfew:9180/"),
        // In Traefik 3, a matcher has only one host.
        (", `b-service.example.com`", ""),
    ];
    let text = replaced(&OAUTH2_PROXY_TRAEFIK_STATIC.unchanged(), &pairs);
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK_STATIC, &text, is_path_list).await;
    assert_all_get_path_list(&bench, &session, "/forward-auth       Traefik").await;
    wait_for_warning(&bench, "other", "/forward-auth").await;
}

/// The changed file serves a host that Curfew's configuration does not name.
#[tokio::test]
async fn a_host_that_the_configuration_does_not_name() {
    let text = OAUTH2_PROXY_TRAEFIK_STATIC.for_curfew();
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK_STATIC, &text, is_allowed).await;
    let cookie = session.cookie();
    let lines = [("cookie", &*cookie), ("host", "b-service.example.com")];
    let answer = bench.send("GET", "/p", &lines).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.header("x-session-reason"), "unknown_host");
    let detail = "the configuration does not name this host (hosts, unknown_hosts)";
    assert_eq!(answer.header("x-session-detail"), detail);
    bench.assert_application_not_reached();
}
