//! Black-box tests: people sign in with a real OpenID provider. NGINX runs with the file of `deploy/nginx`. Curfew,
//! Redis and Apache with its OpenID Connect module are real, too. The backend is a test server that records its
//! requests.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod apache;
mod delegated;
mod logout;
mod oauth2_proxy;
mod provider;
mod revalidation;
mod tokens;

use provider::Provider;
use reqwest::Response;
use support::backend::Backend;
use support::browser::Browser;
use support::curfew::{Curfew, Setup};
use support::nginx::Nginx;
use support::redis::RedisServer;
use support::{Listeners, eventually};

/// All servers between a person and an application.
struct Stack {
    nginx: Nginx,
    curfew: Curfew,
    provider: Provider,
    backend: Backend,
    client: reqwest::Client,
    redis: RedisServer,
}

impl Stack {
    /// Starts a stack that accepts the provider's tokens as credentials. `idle` and `absolute` are the limits of the
    /// sessions.
    async fn start(idle: &str, absolute: &str) -> Self {
        // Choose Curfew's addresses before both start: the provider sends logout notices to Curfew, and Curfew
        // needs the address of the provider.
        let listeners = Listeners::free();
        let backend = Backend::start().await;
        let nginx = Nginx::start(listeners, backend.address);
        let provider = Provider::start(&nginx.url(""), &nginx.url("/auth/callback"));
        let redis = RedisServer::start();
        let setup = Setup::redis(&redis.url())
            .limits(idle, absolute)
            .listen_on(listeners)
            .set("JWT__ISSUERS__MAIN__ISSUER", &provider.issuer)
            .set("JWT__ISSUERS__MAIN__AUDIENCE", "app")
            .set("JWT__FRONT_CHANNEL_LOGOUT", "true")
            .set("JWT__REFRESH_INTERVAL", "1s");
        setup.declare_redis_new();
        let curfew = setup.start();
        eventually("Curfew is ready and has the provider's keys", async || {
            let metrics = curfew.get_ops("/metrics").await.1;
            curfew.get_ops("/readyz").await.0 == 200 && metrics.contains(KEY_FETCH_METRIC)
        })
        .await;
        Self {
            nginx,
            curfew,
            provider,
            backend,
            client: support::curfew::client(),
            redis,
        }
    }

    /// Sends a request with the token to NGINX.
    async fn get(&self, token: &str) -> Response {
        let request = self.client.get(self.nginx.url("/")).bearer_auth(token);
        request.send().await.unwrap()
    }

    /// Asserts that the token gives access as `user`.
    async fn assert_allowed(&self, token: &str, user: &str) {
        let response = self.get(token).await;
        assert_eq!(response.status(), 200, "{}", self.curfew.log());
        let seen = self.backend.take_one();
        assert_eq!(seen.header_values("x-session-user"), [user]);
        assert_eq!(seen.header_values("x-session-groups"), ["staff"]);
        assert_eq!(
            seen.header_values("x-session-email"),
            [format!("{user}@example.com")]
        );
    }

    /// Asserts that the token is denied for this reason.
    async fn assert_denied(&self, token: &str, reason: &str) {
        let response = self.get(token).await;
        assert_eq!(
            (response.status().as_u16(), reason_of(&response)),
            (401, reason)
        );
        assert!(self.backend.take().is_empty());
    }
}

/// The name and labels of the metric that counts successful fetches of the provider's keys.
const KEY_FETCH_METRIC: &str = r#"curfew_issuer_keys_fetched_total{issuer="main",result="ok"}"#;

fn reason_of(response: &Response) -> &str {
    let reason = response.headers().get("x-session-reason");
    reason.map_or("", |reason| reason.to_str().unwrap())
}
