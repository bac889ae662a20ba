//! oauth2-proxy's two files for Traefik.

use super::*;
use crate::snippet::{OAUTH2_PROXY_TRAEFIK, OAUTH2_PROXY_TRAEFIK_STATIC, replaced};
use crate::support::backend::BODY;

const ADDRESS: &str = "address: https://oauth.example.com/oauth2/auth";

#[tokio::test]
async fn errors_middleware_with_only_the_address() {
    let pairs = [(ADDRESS, "address: http://curfew:9180/oauth2/auth")];
    let text = replaced(&OAUTH2_PROXY_TRAEFIK.unchanged(), &pairs);
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK, &text, is_the_list).await;
    let hint = "/forward-auth with Traefik and Caddy";
    all_get_the_list(&bench, &session, hint).await;
    warned(&bench, "oauth2_proxy", hint).await;
    // Traefik 3 accepts one host for each matcher, and drops the router of the sign-in page.
    let log = bench.proxy.log();
    assert!(log.contains("error while parsing rule Host("), "{log}");
    let answer = bench.send("GET", "/oauth2/sign_in", NAVIGATION).await;
    assert!(is_the_list(&answer), "{answer:?}");
}

/// The middleware `errors` catches every 401 and 403.
#[tokio::test]
async fn errors_middleware_with_the_path() {
    let pairs = [(ADDRESS, "address: http://curfew:9180/forward-auth")];
    let text = replaced(&OAUTH2_PROXY_TRAEFIK.unchanged(), &pairs);
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK, &text, is_admitted).await;
    assert_usable(&bench, &session).await;
    let seen = bench.admitted(&bench.get(&session, "/p").await);
    bench.snippet.names.assert_no_identity(&seen);
    browser_endpoints_are_the_applications(&bench, &session).await;
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
        bench.unreached();
    }
}

/// This form checks the path `/`, which Curfew does not serve.
#[tokio::test]
async fn static_upstreams_with_only_the_address() {
    let pairs = [
        ("https://oauth.example.com/", "http://curfew:9180/"),
        // Traefik 3 accepts one host for each matcher.
        (", `b-service.example.com`", ""),
    ];
    let text = replaced(&OAUTH2_PROXY_TRAEFIK_STATIC.unchanged(), &pairs);
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK_STATIC, &text, is_the_list).await;
    all_get_the_list(&bench, &session, "/forward-auth       Traefik").await;
    warned(&bench, "other", "/forward-auth").await;
}

/// The changed file serves a host that the configuration does not name.
#[tokio::test]
async fn a_host_that_the_configuration_does_not_name() {
    let text = OAUTH2_PROXY_TRAEFIK_STATIC.for_curfew();
    let (bench, session) = start(&OAUTH2_PROXY_TRAEFIK_STATIC, &text, is_admitted).await;
    let cookie = session.cookie();
    let lines = [("cookie", &*cookie), ("host", "b-service.example.com")];
    let answer = bench.send("GET", "/p", &lines).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.header("x-session-reason"), "unknown_host");
    let detail = "the configuration does not name this host (hosts, unknown_hosts)";
    assert_eq!(answer.header("x-session-detail"), detail);
    bench.unreached();
}
