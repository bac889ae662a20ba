//! Requests that a server and the application behind it could read in different ways (request smuggling). The application
//! must see exactly the requests that Curfew has checked.

mod corpus;
mod http2;
mod recorder;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::corpus::{HTTP_1, HTTP_2};
use self::recorder::{Recorder, SILENCE};
use crate::cells::start_proxy;
use crate::support::curfew::{CreatedSession, Curfew, Setup};

/// The path of the request that an attacker hides inside another request. It has no session.
const SMUGGLED: &str = "/smuggled";

struct Bench {
    curfew: Curfew,
    session: CreatedSession,
    proxy: SocketAddr,
    recorder: Recorder,
    _file: tempfile::NamedTempFile,
}

impl Bench {
    async fn start() -> Self {
        let recorder = Recorder::start().await;
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let yaml = format!(
            "proxy: {{upstreams: [{{host: app.example.com, target: 'http://{}'}}]}}",
            recorder.address
        );
        std::fs::write(file.path(), yaml).unwrap();
        let (curfew, proxy) = start_proxy(Setup::memory(), file.path());
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

    /// Sends all requests at the same time. Asserts that the application has seen only requests that Curfew has allowed,
    /// each with one meaning, and the request `valid`.
    async fn assert_no_difference(&self, requests: Vec<Vec<u8>>, valid: &str) {
        let exchanges = requests.iter().map(|bytes| exchange(self.proxy, bytes));
        futures_util::future::join_all(exchanges).await;
        let mut seen = Vec::new();
        for bytes in self.recorder.finish().await {
            let text = bytes.escape_ascii();
            let requests = recorder::parse_strictly(&bytes);
            assert!(requests.is_ok(), "{requests:?}\n{text}");
            let requests = requests.unwrap();
            for target in &requests {
                let is_smuggled = target.contains(SMUGGLED);
                assert!(!is_smuggled, "the application saw {target}\n{text}");
            }
            seen.extend(requests);
        }
        // A request can be allowed and then fail, for example because its body is invalid.
        let allowed = self.allowed_checks().await;
        assert!(seen.len() <= allowed, "{allowed} allowed: {seen:#?}");
        // The corpus must not be refused as a whole.
        assert!(seen.iter().any(|it| it == valid), "{seen:#?}");
    }
}

/// Sends bytes, and reads until the server closes the connection or is silent. An HTTP/2 connection stays open.
async fn exchange(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut buffer = [0; 4096];
    loop {
        let reading = stream.read(&mut buffer);
        let read = tokio::time::timeout(2 * SILENCE, reading).await;
        if !matches!(read, Ok(Ok(length)) if length > 0) {
            return;
        }
    }
}

#[tokio::test]
async fn http_1_requests_are_read_in_the_same_way() {
    let bench = Bench::start().await;
    let cookie = bench.session.cookie();
    let valid = "POST /valid HTTP/1.1\r\nhost: app.example.com\r\ncookie: {cookie}\r\ncontent-length: 5\r\n\r\nhello";
    let requests = HTTP_1.iter().map(|(_, request)| *request).chain([valid]);
    let requests = requests.map(|request| fill(request, &cookie).into_bytes());
    bench
        .assert_no_difference(requests.collect(), "POST /valid")
        .await;
}

#[tokio::test]
async fn http_2_requests_do_not_become_others_over_http_1() {
    let bench = Bench::start().await;
    let cookie = bench.session.cookie();
    let valid: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "app.example.com"),
        (":path", "/valid"),
        ("cookie", "{cookie}"),
    ];
    let requests = HTTP_2.iter().map(|(_, headers, body)| (*headers, *body));
    let requests = requests.chain([(valid, "")]).map(|(headers, body)| {
        let headers = headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (fill(name, &cookie), fill(value, &cookie)))
            .collect();
        http2::request(&headers, fill(body, &cookie).as_bytes())
    });
    bench
        .assert_no_difference(requests.collect(), "GET /valid")
        .await;
}

/// Writes the cookie and the hidden path into a text of the corpus.
fn fill(text: &str, cookie: &str) -> String {
    let text = text.replace("{cookie}", cookie);
    text.replace("{smuggled}", SMUGGLED)
}
