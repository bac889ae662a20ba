//! Black-box tests with a real Keycloak, which `scripts/keycloak.sh` starts. Keycloak has the realm of
//! `deploy/keycloak`, and Curfew has the files of `deploy/keycloak`.
//!
//! Each case runs with each proxy. The tables of docs/logins/README.md list the cases.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod documentation;
mod realm;
mod sign_in;
mod stack;
mod tokens;

/// Defines a test for each case and each proxy, and lists the cases in `CASES`.
macro_rules! test_with_each_proxy {
    ($($case:ident),* $(,)?) => {
        /// The cases that run with each proxy.
        pub const CASES: &[&str] = &[$(stringify!($case)),*];

        test_with_each_proxy!(@proxy nginx, Nginx, [$($case),*]);
        test_with_each_proxy!(@proxy traefik, Traefik, [$($case),*]);
        test_with_each_proxy!(@proxy envoy_http, EnvoyHttp, [$($case),*]);
        test_with_each_proxy!(@proxy envoy_grpc, EnvoyGrpc, [$($case),*]);
    };
    (@proxy $module:ident, $kind:ident, [$($case:ident),*]) => {
        mod $module {
            use crate::support::front_proxy::FrontProxyKind;

            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(FrontProxyKind::$kind).await;
                }
            )*
        }
    };
}
use test_with_each_proxy;
