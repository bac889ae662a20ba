//! Starts Curfew, and a proxy that uses one of the snippets. Two test servers run behind the proxy: the application and
//! the sign-in service.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxies::Proxy;
use crate::snippet::Snippet;
use crate::support::backend::{Backend, ReceivedRequest};
use crate::support::curfew::{CreatedSession, Curfew, Setup, client};
use crate::support::eventually;

/// The sign-in page that Curfew redirects browsers to.
pub const SIGN_IN: &str = "https://login.example.com/";

/// The rules make a host and a path public. Another path needs a group that the test session does not have.
const RULES: &str = "rules:
  - { host: public.example.com, access: public }
  - { path_prefix: /public, access: public }
  - { path_prefix: /admin, groups: operators }
";

/// The addresses of the servers behind a proxy.
#[derive(Clone, Copy)]
pub struct Upstreams {
    pub check: SocketAddr,
    pub browser: SocketAddr,
    pub application: SocketAddr,
    /// The address of Authelia's portal or oauth2-proxy.
    pub login: SocketAddr,
}

pub struct Harness {
    pub snippet: Snippet,
    pub curfew: Curfew,
    pub application: Backend,
    pub login: Backend,
    pub proxy: Proxy,
    client: reqwest::Client,
    _rules: TempDir,
}

/// The answer that a client receives.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// Returns the value of a header. Panics if the header occurs twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).into_iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(
            values.next().is_none(),
            "the header {name} occurs twice: {self:?}"
        );
        value
    }

    /// Returns the value of a header, or an empty string.
    pub fn header_or_empty(&self, name: &str) -> &str {
        self.header(name).unwrap_or_default()
    }
}

pub type HeaderPairs<'a> = [(&'a str, &'a str)];

impl Harness {
    /// Starts the servers. Curfew has the rules of `RULES`.
    pub async fn start(snippet: &Snippet, text: &str) -> Self {
        Self::start_with_rules(snippet, text, RULES).await
    }

    /// Starts the servers. Curfew has no rules, so no decision depends on a path.
    pub async fn start_without_rules(snippet: &Snippet, text: &str) -> Self {
        Self::start_with_rules(snippet, text, "rules: []\n").await
    }

    async fn start_with_rules(snippet: &Snippet, text: &str, rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rules.yaml");
        std::fs::write(&path, rules).unwrap();
        let curfew = Setup::memory()
            .config_file(&path)
            .set("HOSTS", snippet.host)
            .set("IDENTITY__PRESETS", snippet.identity_headers.preset)
            .set("SIGN_IN__URL", SIGN_IN)
            .set("SIGN_IN__ALLOWED_HOSTS", snippet.host)
            .start();
        let (application, login) = (Backend::start().await, Backend::start().await);
        let proxy = (snippet.start)(
            text,
            &Upstreams {
                check: curfew.check,
                browser: curfew.browser,
                application: application.address,
                login: login.address,
            },
        );
        eventually("Curfew is ready", async || {
            curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        Self {
            snippet: *snippet,
            curfew,
            application,
            login,
            proxy,
            client: client(),
            _rules: directory,
        }
    }

    /// Waits until the proxy is ready: a request with this session gets an answer that satisfies `fits`.
    pub async fn wait_until_ready(&self, session: &CreatedSession, fits: impl Fn(&Answer) -> bool) {
        eventually("the proxy is ready", async || {
            fits(&self.get(session, "/").await)
        })
        .await;
        self.application.take();
        self.login.take();
    }

    /// Sends a request. Its host is the host of the snippet, unless `header_pairs` contain another host.
    pub async fn send(&self, method: &str, target: &str, header_pairs: &HeaderPairs<'_>) -> Answer {
        self.send_body(method, target, header_pairs, Bytes::new())
            .await
    }

    pub async fn send_body(
        &self,
        method: &str,
        target: &str,
        header_pairs: &HeaderPairs<'_>,
        body: Bytes,
    ) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in header_pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let host = HeaderValue::from_static(self.snippet.host);
        headers.entry("host").or_insert(host);
        let url = format!("http://{}{target}", self.proxy.address);
        let mut request = self.client.request(method.parse().unwrap(), url);
        if !body.is_empty() {
            request = request.body(body);
        }
        let response = request.headers(headers).send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    pub async fn get(&self, session: &CreatedSession, target: &str) -> Answer {
        let cookie = session.cookie();
        self.send("GET", target, &[("cookie", &cookie)]).await
    }

    /// Sends raw bytes, and returns the whole answer.
    pub async fn send_raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let reading = stream.read_to_end(&mut bytes);
        // If the proxy resets the connection, the test uses the bytes before the reset.
        let _ = tokio::time::timeout(Duration::from_secs(15), reading)
            .await
            .expect("the proxy should answer and close the connection within 15 s");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asserts that the client was allowed: the application received exactly one request.
    pub fn assert_allowed(&self, answer: &Answer) -> ReceivedRequest {
        assert_eq!(answer.status, 200, "{answer:?}\n{}", self.proxy.log());
        self.application.take_one()
    }

    pub fn assert_application_not_reached(&self) {
        let backend_requests = self.application.take();
        assert!(
            backend_requests.is_empty(),
            "a request reached the application: {backend_requests:?}"
        );
    }
}
