//! Requests that a server and the application behind it could read in different ways (request smuggling). The application
//! must see exactly the requests that Curfew has checked.

mod corpus;
mod http2;
mod recorder;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::corpus::{HTTP_1, HTTP_2};
use self::recorder::Recorder;
use crate::support::curfew::{CreatedSession, Curfew, Setup};
use crate::support::{free_port, loopback};

/// The path of the request that an attacker hides inside another request. It has no session.
const SMUGGLED: &str = "/smuggled";

struct Bench {
    curfew: Curfew,
    session: CreatedSession,
    proxy: std::net::SocketAddr,
    recorder: Recorder,
    _file: tempfile::NamedTempFile,
}

impl Bench {
    async fn start() -> Self {
        let recorder = Recorder::start().await;
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let yaml = format!(
            "proxy: {{upstreams: [{{host: app.example.com, target: 'http://{}', response_timeout: 2s}}]}}",
            recorder.address
        );
        std::fs::write(file.path(), yaml).unwrap();
        let proxy = loopback(free_port());
        let curfew = Setup::memory()
            .config_file(file.path())
            .set("LISTEN__PROXY", &proxy.to_string())
            .start();
        let session = curfew.sign_in("alice").await;
        Self {
            curfew,
            session,
            proxy,
            recorder,
            _file: file,
        }
    }

    /// Returns the number of checks that Curfew has allowed on the proxy listener.
    async fn allowed_checks(&self) -> usize {
        let (_, metrics) = self.curfew.get_ops("/metrics").await;
        let allowed = metrics.lines().filter_map(|line| {
            let (labels, count) = line
                .strip_prefix("curfew_checks_total{")?
                .rsplit_once(' ')?;
            let is_counted =
                labels.contains("contract=\"proxy\"") && labels.contains("verdict=\"allow\"");
            is_counted.then(|| count.parse::<usize>().unwrap())
        });
        allowed.sum()
    }

    /// Asserts that the application has seen exactly the allowed requests, each with one meaning.
    async fn assert_no_difference(&self, name: &str, before: usize) {
        let allowed = self.allowed_checks().await - before;
        let connections = self.recorder.take();
        let mut seen = 0;
        for bytes in &connections {
            let text = bytes.escape_ascii();
            let requests = recorder::parse_strictly(bytes);
            assert!(requests.is_ok(), "{name}: {requests:?}\n{text}");
            let requests = requests.unwrap();
            for target in &requests {
                assert!(
                    !target.contains(SMUGGLED),
                    "{name}: the application saw {target}\n{text}"
                );
            }
            seen += requests.len();
        }
        // A request can be allowed and then fail, for example because its body is invalid.
        assert!(
            seen <= allowed,
            "{name}: {seen} requests, {allowed} allowed"
        );
    }
}

/// Sends bytes, and reads until the server closes the connection or is silent.
async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let reading = stream.read(&mut buffer);
        match tokio::time::timeout(Duration::from_millis(300), reading).await {
            Ok(Ok(length)) if length > 0 => answer.extend(&buffer[..length]),
            _ => return answer,
        }
    }
}

#[tokio::test]
async fn http_1_requests_are_read_in_the_same_way() {
    let bench = Bench::start().await;
    let cookie = bench.session.cookie();
    for (name, request) in HTTP_1 {
        let before = bench.allowed_checks().await;
        let request = request
            .replace("{cookie}", &cookie)
            .replace("{smuggled}", SMUGGLED);
        exchange(bench.proxy, request.as_bytes()).await;
        bench.assert_no_difference(name, before).await;
    }
    // The corpus must not be refused as a whole: a valid request reaches the application.
    let request = format!(
        "POST /valid HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 5\r\n\r\nhello"
    );
    let answer = exchange(bench.proxy, request.as_bytes()).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{}",
        answer.escape_ascii()
    );
    let connections = bench.recorder.take();
    assert_eq!(
        recorder::parse_strictly(&connections[0]).unwrap(),
        ["POST /valid"]
    );
}

#[tokio::test]
async fn http_2_requests_do_not_become_others_over_http_1() {
    let bench = Bench::start().await;
    let cookie = bench.session.cookie();
    for (name, headers, body) in HTTP_2 {
        let before = bench.allowed_checks().await;
        let fill = |text: &str| {
            text.replace("{cookie}", &cookie)
                .replace("{smuggled}", SMUGGLED)
        };
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (fill(name), fill(value)))
            .collect();
        exchange(
            bench.proxy,
            &http2::request(&headers, fill(body).as_bytes()),
        )
        .await;
        bench.assert_no_difference(name, before).await;
    }
    let valid = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "app.example.com"),
        (":path", "/valid"),
        ("cookie", &*cookie),
    ];
    let valid: Vec<_> = valid
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    exchange(bench.proxy, &http2::request(&valid, b"")).await;
    let connections = bench.recorder.take();
    assert_eq!(
        recorder::parse_strictly(&connections[0]).unwrap(),
        ["GET /valid"]
    );
}
