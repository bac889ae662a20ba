//! Tests the proxy files with the documented changes. Sessions, denials, identity headers and browser endpoints work
//! as with the files of `deploy/`.

mod browser;
mod denial;
mod forgery;
mod sessions;

use crate::bench::{Bench, Lines};
use crate::snippet::*;

pub use browser::checks;
pub use denial::{assert_redirected, for_two_hosts, with_another_host};

/// A request target whose characters the redirects must not change, and the same target with the escapes of a query.
pub const TARGET: &str = "/p%20q?x=1&y=%2F";
pub const ESCAPED: &str = "%2Fp%2520q%3Fx%3D1%26y%3D%252F";

pub const SCRIPT: &Lines<'static> = &[("accept", "application/json")];

pub const NAVIGATION: &Lines<'static> = &[
    ("accept", "text/html,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

pub const FRAME: &Lines<'static> = &[
    ("accept", "text/html,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "iframe"),
];

macro_rules! holds {
    ($($test:ident: $snippet:ident,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                holds(&$snippet).await;
            }
        )*
    };
}

holds! {
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

async fn holds(snippet: &Snippet) {
    let bench = Bench::start(snippet, &snippet.for_curfew()).await;
    let session = bench.curfew.sign_in("alice").await;
    bench
        .wait_until_ready(&session, |answer| answer.status == 200)
        .await;
    sessions::live(&bench, &session).await;
    sessions::bodies(&bench, &session).await;
    sessions::ended(&bench).await;
    denial::denials(&bench, &session).await;
    denial::hosts(&bench).await;
    forgery::identity(&bench, &session).await;
    forgery::originals(&bench, &session).await;
    browser::endpoints(&bench, &session).await;
    browser::sign_in_service(&bench).await;
    // This must be the last test, because it stops Curfew.
    sessions::without_curfew(&bench, &session).await;
}
