//! Starts one kind of proxy, and the servers behind it: Curfew, Redis and a backend.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kinds::{HOST, Proxy, ProxyKind, Replacements, Upstreams};
use crate::support::backend::{Backend, ReceivedRequest};
use crate::support::curfew::{CreatedSession, Curfew, Setup};
use crate::support::eventually;
use crate::support::recording_proxy::RecordingProxy;
use crate::support::redis::RedisServer;
use crate::support::{free_port, loopback};

/// The idle limit of the policy `default`. The policy `strict` requires a sign-in in the last ten minutes, and counts
/// only navigations as activity.
pub const IDLE: &str = "15m";
pub const ABSOLUTE: &str = "1h";

/// The host that Curfew's rules name.
pub const RULED_HOST: &str = "ruled.example.com";

/// The host whose requests have the cookie of a delegated service.
pub const DELEGATED_HOST: &str = "delegated.example.com";

/// Writes Curfew's configuration: `further` lines, and the application behind the proxy listener.
pub fn write_configuration(further: &str, application: SocketAddr) -> NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let proxy = format!(
        "proxy:\n  trusted_proxies: [127.0.0.1]\n  upstreams: [{{host: {HOST}, target: 'http://{application}'}}]\n"
    );
    std::fs::write(file.path(), format!("{further}\n{proxy}")).unwrap();
    file
}

pub struct Harness {
    pub kind: ProxyKind,
    pub redis: RedisServer,
    pub curfew: Curfew,
    pub backend: Backend,
    pub proxy: Proxy,
    /// Records the bytes between the proxy and Curfew.
    pub tap: RecordingProxy,
    /// Curfew's proxy listener.
    pub streams: SocketAddr,
    /// The key for Curfew's tokens.
    pub key: String,
    client: reqwest::Client,
    client_http2: reqwest::Client,
    /// Curfew reads this file again at a reload.
    _config: NamedTempFile,
}

/// The answer that a client receives.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// Returns all values of a header.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).into_iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.header_values(name);
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().copied()
    }
}

pub type HeaderPairs<'a> = [(&'a str, &'a str)];

impl Harness {
    pub async fn start(kind: ProxyKind) -> Self {
        let redis = RedisServer::start();
        let service = start_delegated_service().await;
        let backend = Backend::start().await;
        let streams = loopback(free_port());
        let config = write_configuration(include_str!("rules.yaml"), backend.address);
        let setup = Setup::redis(&redis.url())
            .limits(IDLE, ABSOLUTE)
            .set("POLICIES__STRICT__ABSOLUTE", ABSOLUTE)
            .set("POLICIES__STRICT__MAX_AUTH_AGE", "10m")
            .set("POLICIES__STRICT__ACTIVITY", "navigation")
            .set("LISTEN__SPOE", "127.0.0.1:0")
            .set("SIGN_IN__URL", "https://login.example.com/")
            .set("SIGN_IN__ALLOWED_HOSTS", HOST)
            .set("HOSTS", crate::kinds::REDIRECTING_HOST)
            .set("POLICIES__BOUND__BIND", "address,user_agent")
            .set("POLICIES__BOUND__BIND_IPV4_BITS", "32")
            .set("DELEGATED__SERVICES__TICKET__URL", &service)
            .set("LISTEN__PROXY", &streams.to_string())
            .config_file(config.path())
            // Many proxies share two CPU cores in the tests, so Redis may answer late.
            .set("STORE__COMMAND_TIMEOUT", "500ms")
            .set("STORE__CHECK_TIMEOUT", "500ms");
        let curfew = setup.start();
        let check_address = match kind.contract {
            "ext-authz-grpc" => curfew.grpc.unwrap(),
            "spoe" => curfew.spoe.unwrap(),
            _ => curfew.check,
        };
        let tap = RecordingProxy::start(check_address).await;
        let proxy = (kind.start)(&Upstreams {
            check: tap.address,
            browser: curfew.browser,
            grpc: tap.address,
            spoe: tap.address,
            application: backend.address,
            streams: None,
            public: None,
            certificate: None,
            policy: None,
            mistake: &[],
            tls: &[],
        });
        eventually("Curfew is ready", async || {
            curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        let harness = Self {
            kind,
            redis,
            curfew,
            backend,
            proxy,
            tap,
            streams,
            key: setup.key,
            _config: config,
            client: client().build().unwrap(),
            client_http2: client()
                .http2_prior_knowledge()
                .resolve(HOST, loopback(0))
                .build()
                .unwrap(),
        };
        harness.wait_until_ready().await;
        harness
    }

    /// Waits until the proxy serves a request with a session.
    pub async fn wait_until_ready(&self) {
        let session = self.curfew.sign_in("nobody").await;
        eventually("the proxy is ready", async || {
            self.get(&session, "/").await.status == 200
        })
        .await;
        self.backend.take();
    }

    /// Restarts the proxy with a file in which each check names `policy`.
    pub async fn restart_with_policy(&mut self, policy: &'static str) {
        self.proxy = (self.kind.start)(&Upstreams {
            policy: Some(policy),
            ..self.upstreams(&[])
        });
        self.wait_until_ready().await;
    }

    /// Restarts the proxy with these replacements in its file.
    pub async fn restart_with_replacements(&mut self, mistake: Replacements) {
        self.proxy = (self.kind.start)(&self.upstreams(mistake));
        self.wait_until_ready().await;
    }

    /// Restarts the proxy with a file that sends streams to Curfew.
    pub async fn restart_with_streams(&mut self) {
        self.proxy = (self.kind.start)(&Upstreams {
            streams: Some(self.streams),
            ..self.upstreams(&[])
        });
        self.wait_until_ready().await;
    }

    /// Restarts the proxy with these replacements in its file. The proxy cannot reach Curfew.
    pub fn restart_without_curfew(&mut self, mistake: Replacements) {
        let unused_address = loopback(free_port());
        self.proxy = (self.kind.start)(&Upstreams {
            check: unused_address,
            grpc: unused_address,
            spoe: unused_address,
            ..self.upstreams(mistake)
        });
    }

    fn upstreams(&self, mistake: Replacements) -> Upstreams {
        Upstreams {
            check: self.curfew.check,
            browser: self.curfew.browser,
            grpc: self.curfew.grpc.unwrap(),
            spoe: self.curfew.spoe.unwrap(),
            application: self.backend.address,
            streams: None,
            public: None,
            certificate: None,
            policy: None,
            mistake,
            tls: &[],
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.address)
    }

    /// Sends a request over HTTP/1.1. Its host is [`HOST`], unless `header_pairs` contains another host.
    pub async fn send(&self, method: &str, path: &str, header_pairs: &HeaderPairs<'_>) -> Answer {
        self.send_body(method, path, header_pairs, Bytes::new())
            .await
    }

    /// Sends a GET from this local address.
    pub async fn get_from(
        &self,
        address: &str,
        path: &str,
        header_pairs: &HeaderPairs<'_>,
    ) -> Answer {
        let address: IpAddr = address.parse().unwrap();
        let client = client().local_address(address).build().unwrap();
        let mut headers = header_map(header_pairs);
        headers.insert("host", HeaderValue::from_static(HOST));
        let request = client.get(self.url(path)).headers(headers);
        read_answer(request.send().await.unwrap()).await
    }

    pub async fn send_body(
        &self,
        method: &str,
        path: &str,
        header_pairs: &HeaderPairs<'_>,
        body: Bytes,
    ) -> Answer {
        let mut headers = header_map(header_pairs);
        headers
            .entry("host")
            .or_insert(HeaderValue::from_static(HOST));
        let method: Method = method.parse().unwrap();
        let mut request = self.client.request(method, self.url(path)).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        read_answer(request.send().await.unwrap()).await
    }

    pub async fn get(&self, session: &CreatedSession, path: &str) -> Answer {
        self.send("GET", path, &[("cookie", &session.cookie())])
            .await
    }

    /// Sends a GET over HTTP/2.
    pub async fn get_http2(&self, path: &str, header_pairs: &HeaderPairs<'_>) -> Answer {
        let url = format!("http://{HOST}:{}{path}", self.proxy.http2.port());
        let request = self.client_http2.get(url).headers(header_map(header_pairs));
        read_answer(request.send().await.unwrap()).await
    }

    /// Sends raw bytes. Returns the status of the answer, or 0 if there is none.
    pub async fn send_raw(&self, text: &str) -> u16 {
        let answer = self.send_raw_and_read(text).await;
        let status = answer.get(9..12).unwrap_or("0");
        status.parse().unwrap_or(0)
    }

    /// Sends raw bytes. Returns the whole answer.
    pub async fn send_raw_and_read(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let reading = stream.read_to_end(&mut bytes);
        // If the proxy resets the connection, the test uses the bytes before the reset.
        let _ = tokio::time::timeout(Duration::from_secs(10), reading)
            .await
            .expect("the proxy should answer and close the connection within 10 s");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address).await.unwrap()
    }

    /// Asserts that the client was allowed: the backend received one request, with this subject.
    pub fn assert_allowed(&self, answer: &Answer, subject: &str) -> ReceivedRequest {
        assert_eq!(answer.status, 200, "{answer:?}\n{}", self.proxy.log());
        let backend_request = self.backend.take_one();
        assert_eq!(backend_request.header_values("x-session-user"), [subject]);
        backend_request
    }

    /// Asserts that the client was denied and received `reason`, and that the backend received no request.
    pub fn assert_denied(&self, answer: &Answer, reason: &str) {
        assert_eq!(answer.status, 401, "{answer:?}\n{}", self.proxy.log());
        self.assert_application_not_reached();
        // ingress-nginx passes the challenge to the client, but none of Curfew's own headers.
        let expected_reason = (self.kind.name != "ingress-nginx").then_some(reason);
        assert_eq!(answer.header("x-session-reason"), expected_reason);
        let challenge = answer.header("www-authenticate").unwrap();
        let expected = match reason {
            "no_credential" => "Bearer".to_owned(),
            "reauthentication_required" => {
                "Bearer error=\"insufficient_user_authentication\", max_age=600".to_owned()
            }
            _ => format!("Bearer error=\"invalid_token\", error_description=\"{reason}\""),
        };
        assert_eq!(challenge, expected);
    }

    pub fn assert_application_not_reached(&self) {
        let backend_requests = self.backend.take();
        assert!(
            backend_requests.is_empty(),
            "a request reached the backend: {backend_requests:?}"
        );
    }

    /// Returns the number of checks that Curfew has answered for this proxy's contract.
    pub async fn check_count(&self) -> u64 {
        let (_, text) = self.curfew.get_ops("/metrics").await;
        let name = format!("curfew_checks_total{{contract=\"{}\"", self.kind.contract);
        let lines = text.lines().filter(|line| line.starts_with(&name));
        let counts = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        counts.sum()
    }
}

/// Starts a delegated service, and returns its URL. The service allows every request as `alice`, and refreshes its
/// cookie. For `/cookies/500` it also sets a second cookie.
async fn start_delegated_service() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/auth", listener.local_addr().unwrap());
    let answer = async |headers: HeaderMap| {
        let second = headers["x-forwarded-uri"] == "/cookies/500";
        let cookies = [REFRESHED_COOKIE, SECOND_COOKIE]
            .into_iter()
            .take(1 + usize::from(second));
        let cookies = cookies.map(|cookie| ("set-cookie", cookie));
        let user = [("x-ticket-user", "alice")];
        let mut response_headers = HeaderMap::new();
        for (name, value) in user.into_iter().chain(cookies) {
            response_headers.append(name, HeaderValue::from_static(value));
        }
        response_headers
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// The cookies of the delegated service.
pub const REFRESHED_COOKIE: &str = "_oauth2_proxy=ticket|2; Path=/; HttpOnly";
pub const SECOND_COOKIE: &str = "_oauth2_proxy_1=more; Path=/; HttpOnly";

fn client() -> reqwest::ClientBuilder {
    crate::support::tls::install_provider();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

fn header_map(header_pairs: &HeaderPairs<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in header_pairs {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

async fn read_answer(response: reqwest::Response) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}
