//! Black-box tests: a real NGINX runs with the file of `deploy/nginx`. Curfew and Redis are real, too. The backend is a
//! test server that records its requests.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use curfew_testkit as support;

mod failure;
mod forgery;
mod ingress;
mod old_files;
mod probe;
mod sessions;

use std::time::Duration;

use curfew::credential::{KeyRing, SigningKey};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::json;
use support::backend::{BODY, Backend};
use support::curfew::{CreatedSession, Curfew, Setup, client};
use support::eventually;
use support::nginx::Nginx;
use support::redis::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// All servers between a client and its application.
struct Stack {
    redis: RedisServer,
    setup: Setup,
    curfew: Curfew,
    nginx: Nginx,
    backend: Backend,
    client: reqwest::Client,
}

impl Stack {
    async fn start() -> Self {
        Self::with_limits("15m", "12h").await
    }

    async fn with_limits(idle: &str, absolute: &str) -> Self {
        let redis = RedisServer::start();
        let setup = Setup::redis(&redis.url())
            .limits(idle, absolute)
            // The timeouts are shorter than the 2 s for which NGINX waits for an answer.
            .set("STORE__COMMAND_TIMEOUT", "1s")
            .set("STORE__CHECK_TIMEOUT", "1s");
        let curfew = setup.start();
        let backend = Backend::start().await;
        let nginx = Nginx::start(curfew.listeners(), backend.address);
        eventually("Curfew is ready", async || {
            curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        Self {
            redis,
            setup,
            curfew,
            nginx,
            backend,
            client: client(),
        }
    }

    async fn send(&self, method: &str, path: &str, header_pairs: &[(&str, &str)]) -> Response {
        let mut headers = HeaderMap::new();
        for (name, value) in header_pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let method: Method = method.parse().unwrap();
        let request = self.client.request(method, self.nginx.url(path));
        request.headers(headers).send().await.unwrap()
    }

    async fn get(&self, session: &CreatedSession) -> Response {
        self.send("GET", "/", &[("cookie", &session.cookie())])
            .await
    }

    /// Sends a request with the session. Asserts that it is allowed, and that the backend received exactly one
    /// request.
    async fn assert_allowed(&self, session: &CreatedSession) {
        let response = self.get(session).await;
        assert_eq!(
            response.status(),
            200,
            "{}\n{}",
            self.curfew.log(),
            self.nginx.error_log()
        );
        self.backend.take_one();
    }

    /// Sends a request with the session. Asserts that it is denied with `reason`, and that the backend received no
    /// request.
    async fn assert_denied(&self, session: &CreatedSession, reason: &str) -> Response {
        let response = self.get(session).await;
        assert_eq!(
            (response.status().as_u16(), reason_of(&response)),
            (401, reason)
        );
        assert!(self.backend.take().is_empty());
        response
    }

    /// Sends raw bytes, and reads the answer to its end.
    async fn send_raw(&self, text: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.nginx.address)
            .await
            .unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn reason_of(response: &Response) -> &str {
    let reason = response.headers().get("x-session-reason");
    reason.map_or("", |reason| reason.to_str().unwrap())
}
