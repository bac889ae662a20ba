//! Each proxy checks all requests, and sends only streams to Curfew's proxy listener, with the files that
//! `curfew render --streams` prints.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use curfew::deploy_files::deploy_file;
use curfew::render::{Proxy, RenderAddresses, RenderLimits, render};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::application::{Application, TargetKind};
use crate::support::curfew::{Curfew, Setup};
use crate::support::deployment::{Server, installed_path, read_deploy_file, replace_once};
use crate::support::nginx::Nginx;
use crate::support::tls::{Certificates, install_provider};
use crate::support::{eventually, free_port, loopback};

/// A running proxy, which stops when it is dropped.
enum Running {
    Nginx { _server: Nginx },
    Server { _server: Server },
}

/// Starts a proxy with the rendered files.
fn start(proxy: Proxy, addresses: RenderAddresses, idle: Duration) -> (SocketAddr, Running) {
    let address = loopback(free_port());
    let listen = match proxy {
        Proxy::Nginx => addresses.listen.clone(),
        _ => address.to_string(),
    };
    let addresses = RenderAddresses {
        listen,
        ..addresses
    };
    let limits = RenderLimits {
        idle: Some(idle),
        absolute: Duration::from_secs(12 * 3600),
    };
    let files = render(proxy, &addresses, &limits, deploy_file).unwrap();
    let mut files: Vec<(&str, String)> = files.into_iter().map(|it| (it.name, it.text)).collect();
    let mut command = match proxy {
        Proxy::Nginx => {
            let text: String = files.into_iter().map(|(_, text)| text).collect();
            // The comment of the map names this line as an example.
            let map = "map $uri $path_upstream {\n";
            let text = text.replace(map, &format!("{map}    ~^/events/ curfew_proxy;\n"));
            let nginx = Nginx::start_with_configuration(&text, "");
            return (nginx.address, Running::Nginx { _server: nginx });
        }
        Proxy::Haproxy => {
            let mut command = Command::new("haproxy");
            command.args(["-db", "-f", "haproxy.cfg"]);
            command
        }
        Proxy::Traefik => {
            let mut command = Command::new(installed_path("bin/traefik"));
            command.arg("--configFile=traefik.yaml");
            command
        }
        Proxy::Caddy => {
            // Several Caddys run at the same time.
            let admin = ("\tservers {", "\tadmin off\n\tservers {".to_owned());
            files[0].1 = replace_once(&files[0].1, &[admin]);
            let mut command = Command::new(installed_path("bin/caddy"));
            command.args(["run", "--config", "Caddyfile"]);
            command
        }
        _ => {
            let server = Server::envoy(&files[0].1, &[address]);
            return (address, Running::Server { _server: server });
        }
    };
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, &**text)).collect();
    let server = Server::start(&mut command, &files, &[address]);
    (address, Running::Server { _server: server })
}

/// Sends a request over HTTP/1.1, and reads the head of the answer.
pub async fn request(
    address: SocketAddr,
    path: &str,
    cookie: &str,
    lines: &str,
) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// Whether Curfew has forwarded a request. Caddy also writes a `Via`.
fn is_from_curfew(request: &http::request::Parts) -> bool {
    let mut lines = request.headers.get_all("via").into_iter();
    lines.any(|line| line.to_str().unwrap().ends_with("1.1 curfew"))
}

/// A proxy before Curfew and an application.
pub struct Route {
    setup: Setup,
    pub curfew: Curfew,
    application: Application,
    pub address: SocketAddr,
    _proxy: Running,
    _file: NamedTempFile,
}

impl Route {
    /// Starts all three, with an idle limit of 15 minutes. With `ends_streams`, the proxy sends streams to Curfew.
    async fn start(proxy: Proxy, ends_streams: bool) -> Self {
        Self::start_with(proxy, ends_streams, Duration::from_secs(900)).await
    }

    /// Starts all three. `idle` is the idle limit in the files of the proxy.
    pub async fn start_with(proxy: Proxy, ends_streams: bool, idle: Duration) -> Self {
        install_provider();
        let application = Application::start(TargetKind::Http, &Certificates::generate()).await;
        let [streams, spoe, grpc] = [(); 3].map(|()| loopback(free_port()));
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let yaml = replace_once(
            &read_deploy_file("curfew/streams.yaml"),
            &[
                ("\"[::]:9184\"", format!("'{streams}'")),
                ("10.0.0.0/8", "127.0.0.1".to_owned()),
                ("app.example.com", "127.0.0.1".to_owned()),
                ("http://application:3000", application.target.clone()),
            ],
        );
        let policy = "{idle: 15m, stream_end_event: true}";
        std::fs::write(
            file.path(),
            format!("{yaml}\npolicies: {{default: {policy}}}\n"),
        )
        .unwrap();
        let setup = Setup::memory()
            .config_file(file.path())
            .set("ADMIN__ALLOW_AGEING", "true")
            .set("LISTEN__SPOE", &spoe.to_string())
            .set("LISTEN__GRPC", &grpc.to_string());
        let curfew = setup.start();
        let listeners = curfew.listeners();
        let target = application.target.strip_prefix("http://").unwrap();
        let addresses = RenderAddresses {
            check: listeners.check.to_string(),
            grpc: grpc.to_string(),
            spoe: spoe.to_string(),
            browser: listeners.browser.to_string(),
            application: target.to_owned(),
            streams: ends_streams.then(|| streams.to_string()),
            ..RenderAddresses::default()
        };
        let (address, running) = start(proxy, addresses, idle);
        // Traefik reads its second file after it listens.
        eventually("the proxy asks Curfew", async || {
            let (_, head) = request(address, "/x", "a=b", "connection: close\r\n").await;
            head.starts_with("HTTP/1.1 401 ")
        })
        .await;
        Self {
            setup,
            curfew,
            application,
            address,
            _proxy: running,
            _file: file,
        }
    }

    /// Runs `curfew probe` with a WebSocket and an event stream. Returns whether it succeeds, and its report.
    async fn probe(&self) -> (bool, String) {
        let address = self.address;
        let page = format!("http://{address}/x");
        let (socket, events) = (
            format!("ws://{address}/socket"),
            format!("http://{address}/events"),
        );
        let arguments = ["probe", &page, "--stream", &socket, "--stream", &events];
        let arguments = [&arguments[..], &["--subject", "probe", "--age"]].concat();
        let mut command = self.setup.command(&arguments);
        command
            .env("CURFEW_ADMIN_URL", format!("http://{}", self.curfew.admin))
            .env("CURFEW_ADMIN_TOKEN", &self.setup.admin_token);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let report = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(report).unwrap())
    }
}

/// Asserts that the proxy sends WebSockets and event streams to Curfew, in any spelling, and other requests to the
/// application. Asserts that `curfew probe` finds streams that outlive their session, and only those.
async fn assert_ends_streams(proxy: Proxy) {
    let name = format!("{proxy:?}");
    let without = async {
        let (succeeds, report) = Route::start(proxy, false).await.probe().await;
        assert!(!succeeds, "{name}: {report}");
        for kind in ["the WebSocket /socket", "the event stream /events"] {
            for when in ["the idle limit", "a revocation", "a sign-out"] {
                let step = format!("FAIL  after {when}, {kind} ends: still open");
                assert!(report.contains(&step), "{name}: {report}");
            }
            let open = format!("ok    within the idle limit, {kind} is still open: open");
            assert!(report.contains(&open), "{name}: {report}");
        }
    };
    tokio::join!(
        without,
        assert_route(&name, Route::start(proxy, true).await)
    );
}

async fn assert_route(name: &str, route: Route) {
    let Route {
        curfew,
        application,
        address,
        ..
    } = &route;
    let address = *address;
    let (succeeds, report) = route.probe().await;
    assert!(succeeds, "{name}: {report}");
    for step in [
        "ok    after the idle limit, the WebSocket /socket ends: closed with 1008 idle_timeout",
        "ok    after a revocation, the WebSocket /socket ends: closed with 1008 revoked",
        "ok    after a sign-out, the WebSocket /socket ends: closed with 1008 signed_out",
        "ok    after a sign-out, the event stream /events ends: the answer ended",
    ] {
        assert!(report.contains(step), "{name}: {report}");
    }
    let session = curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for upgrade in ["websocket", "WebSocket", "WEBSOCKET"] {
        let lines = format!(
            "connection: Upgrade\r\nupgrade: {upgrade}\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        let (_, head) = request(address, "/ws", "a=b", &lines).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{name}: {head}");
        let (mut socket, head) = request(address, "/ws", &cookie, &lines).await;
        assert!(
            head.starts_with("HTTP/1.1 101 "),
            "{name} {upgrade}: {head}"
        );
        socket.write_all(b"\x81\x82maskhi").await.unwrap();
        let mut echo = [0; 8];
        socket.read_exact(&mut echo).await.unwrap();
        let (received, ..) = application.last_request();
        assert!(is_from_curfew(&received), "{name} {upgrade}");
        assert_eq!(received.headers["x-session-user"], "alice", "{name}");
        let path = format!("/api/v1/sessions/{}", session.id);
        let (_, shown) = curfew.call("GET", &path, None).await;
        // Envoy sends the address of the machine, and the others send the loopback address.
        assert!(
            shown["streams"][0]["address"].is_string(),
            "{name}: {shown}"
        );
        if upgrade == "WEBSOCKET" {
            curfew.revoke(&session).await;
            let mut end = Vec::new();
            let reading = socket.read_to_end(&mut end);
            let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
            assert!(read.is_ok(), "{name}: the WebSocket must end");
            assert_eq!(end, b"\x88\x09\x03\xf0revoked", "{name}");
        }
    }
    let other = curfew.sign_in("bob").await;
    let mut streams = Vec::new();
    for accept in [
        "text/event-stream",
        "Text/Event-Stream",
        "application/json, text/event-stream;q=0.9",
    ] {
        let lines = format!("accept: {accept}\r\n");
        let (_, head) = request(address, "/events", "a=b", &lines).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{name}: {head}");
        let (mut stream, head) = request(address, "/events", &other.cookie(), &lines).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{name} {accept}: {head}");
        let (received, ..) = application.last_request();
        assert!(is_from_curfew(&received), "{name} {accept}");
        // The events arrive as the application writes them.
        stream.read_exact(&mut [0; 40]).await.unwrap();
        streams.push((accept, stream));
    }
    for accept in ["text/html", "text/event", "application/event-stream"] {
        let lines = format!("connection: close\r\naccept: {accept}\r\n");
        let (_, head) = request(address, "/x", &other.cookie(), &lines).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
        let (received, ..) = application.last_request();
        assert!(
            !is_from_curfew(&received),
            "{name}: only streams go to Curfew"
        );
    }
    if name == "Nginx" {
        let lines = "connection: close\r\n";
        let (_, head) = request(address, "/events/x", &other.cookie(), lines).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
        assert!(is_from_curfew(&application.last_request().0), "{name}");
    }
    curfew.revoke(&other).await;
    for (accept, mut stream) in streams {
        let mut end = Vec::new();
        // The connection stays open after the last chunk.
        let read_last = async {
            let mut buffer = [0; 4096];
            while !end.windows(5).any(|it| it == b"0\r\n\r\n") {
                let length = stream.read(&mut buffer).await.unwrap_or(0);
                end.extend(&buffer[..length]);
                if length == 0 {
                    break;
                }
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(20), read_last).await;
        assert!(read.is_ok(), "{name} {accept}: the event stream must end");
        let end = String::from_utf8_lossy(&end).into_owned();
        assert!(
            end.contains("event: session-ended"),
            "{name} {accept}: {end}"
        );
    }
}

#[tokio::test]
async fn nginx_sends_streams_to_curfew() {
    assert_ends_streams(Proxy::Nginx).await;
}

#[tokio::test]
async fn haproxy_sends_streams_to_curfew() {
    assert_ends_streams(Proxy::Haproxy).await;
}

#[tokio::test]
async fn traefik_sends_streams_to_curfew() {
    assert_ends_streams(Proxy::Traefik).await;
}

#[tokio::test]
async fn caddy_sends_streams_to_curfew() {
    assert_ends_streams(Proxy::Caddy).await;
}

#[tokio::test]
async fn envoy_sends_streams_to_curfew() {
    for proxy in [Proxy::EnvoyHttp, Proxy::EnvoyGrpc] {
        assert_ends_streams(proxy).await;
    }
}
