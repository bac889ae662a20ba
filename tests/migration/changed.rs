//! Tests the documented proxy files after the changes for Curfew that the documentation describes. Sessions, denials,
//! identity headers and browser endpoints work as with the files of `deploy/`.

mod browser;
mod denial;
mod forgery;
mod sessions;

use crate::harness::{Harness, HeaderPairs};
use crate::snippet::*;

pub use browser::check_count;
pub use denial::{assert_redirected, request_for_two_hosts, request_with_another_host};

/// A request target that must not change in the redirects, and the same target escaped as the value of a query
/// parameter.
pub const TARGET: &str = "/p%20q?x=1&y=%2F";
pub const ESCAPED_TARGET: &str = "%2Fp%2520q%3Fx%3D1%26y%3D%252F";

pub const SCRIPT_HEADERS: &HeaderPairs<'static> = &[("accept", "application/json")];

pub const NAVIGATION_HEADERS: &HeaderPairs<'static> = &[
    ("accept", "text/html,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

pub const FRAME_HEADERS: &HeaderPairs<'static> = &[
    ("accept", "text/html,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "iframe"),
];

macro_rules! works_with_curfew {
    ($($test:ident: $snippet:ident,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                assert_works_with_curfew(&$snippet).await;
            }
        )*
    };
}

works_with_curfew! {
    authelia_behind_nginx: AUTHELIA_NGINX,
    authelia_behind_ingress_nginx: AUTHELIA_INGRESS_NGINX,
    authelia_behind_traefik: AUTHELIA_TRAEFIK,
    authelia_behind_caddy: AUTHELIA_CADDY,
    authelia_behind_envoy: AUTHELIA_ENVOY,
    authelia_behind_haproxy_2_6: AUTHELIA_HAPROXY_2_6,
    authelia_behind_haproxy_2_8: AUTHELIA_HAPROXY_2_8,
    oauth2_proxy_behind_nginx: OAUTH2_PROXY_ON_NGINX,
    oauth2_proxy_behind_ingress_nginx: OAUTH2_PROXY_INGRESS_NGINX,
    oauth2_proxy_behind_traefik: OAUTH2_PROXY_TRAEFIK,
    oauth2_proxy_behind_traefik_with_static_upstreams: OAUTH2_PROXY_TRAEFIK_STATIC,
    oauth2_proxy_behind_caddy: OAUTH2_PROXY_CADDY,
}

async fn assert_works_with_curfew(snippet: &Snippet) {
    let harness = Harness::start(snippet, &snippet.read_for_curfew()).await;
    let session = harness.curfew.sign_in("alice").await;
    harness
        .wait_until_ready(&session, |answer| answer.status == 200)
        .await;
    sessions::assert_live_session_is_allowed(&harness, &session).await;
    sessions::assert_bodies_arrive(&harness, &session).await;
    sessions::assert_ended_session_is_denied(&harness).await;
    denial::assert_denials(&harness, &session).await;
    denial::assert_ambiguous_hosts_are_denied(&harness).await;
    forgery::assert_forged_identity_is_replaced(&harness, &session).await;
    forgery::assert_forged_inputs_are_ignored(&harness, &session).await;
    browser::assert_endpoints_work(&harness, &session).await;
    browser::assert_sign_in_service_is_reachable(&harness).await;
    // This must be the last test, because it stops Curfew.
    sessions::assert_denied_without_curfew(&harness, &session).await;
}
