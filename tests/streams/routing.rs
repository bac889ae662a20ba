//! Each proxy checks all requests, and sends only WebSockets to Curfew's proxy listener, with the files of `deploy/`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::application::{Application, TargetKind};
use crate::support::curfew::{Curfew, Setup};
use crate::support::deployment::{
    Server, envoy_address, read_deploy_file, replace_once, uncomment,
};
use crate::support::nginx::Nginx;
use crate::support::tls::{Certificates, install_provider};
use crate::support::traefik;
use crate::support::{Listeners, eventually, free_port, loopback};

/// The addresses that a proxy needs.
struct Upstreams {
    curfew: Listeners,
    spoe: SocketAddr,
    /// Curfew's proxy listener.
    streams: SocketAddr,
    application: SocketAddr,
}

/// A running proxy, which stops when it is dropped.
enum Running {
    Nginx { _server: Nginx },
    Server { _server: Server },
}

type Start = fn(&Upstreams) -> (SocketAddr, Running);

fn start_nginx(upstreams: &Upstreams) -> (SocketAddr, Running) {
    let streams = read_deploy_file("nginx/streams.conf");
    let main = replace_once(
        &read_deploy_file("nginx/curfew.conf"),
        &[(
            "        proxy_pass http://application;\n",
            "        proxy_pass http://$stream_upstream;\n".to_owned(),
        )],
    );
    let replacements = [("curfew:9184", upstreams.streams.to_string())];
    let file = format!("{streams}\n{main}");
    let nginx = Nginx::start_with_file(
        &file,
        upstreams.curfew,
        upstreams.application,
        &replacements,
    );
    (nginx.address, Running::Nginx { _server: nginx })
}

fn start_haproxy(upstreams: &Upstreams) -> (SocketAddr, Running) {
    let address = loopback(free_port());
    let text = read_deploy_file("haproxy/haproxy.cfg");
    let text = uncomment(
        &text,
        "To end WebSockets with their session, send them to Curfew's proxy listener:",
    );
    let text = uncomment(
        &text,
        "The backend for WebSockets that end with their session:",
    );
    let text = replace_once(
        &text,
        &[
            ("bind :8080", format!("bind {address}")),
            ("curfew:9183", upstreams.curfew.browser.to_string()),
            ("curfew:9182", upstreams.spoe.to_string()),
            ("curfew:9184", upstreams.streams.to_string()),
            ("application:3000", upstreams.application.to_string()),
        ],
    );
    let server = Server::start(
        Command::new(Path::new("haproxy")).args(["-db", "-f", "haproxy.cfg"]),
        &[
            ("haproxy.cfg", &text),
            (
                "curfew-spoe.conf",
                &read_deploy_file("haproxy/curfew-spoe.conf"),
            ),
        ],
        &[address],
    );
    (address, Running::Server { _server: server })
}

fn start_traefik(upstreams: &Upstreams) -> (SocketAddr, Running) {
    let text = read_deploy_file("traefik/curfew.yaml");
    let text = uncomment(
        &text,
        "To end WebSockets with their session, send them to Curfew's proxy listener:",
    );
    let text = uncomment(
        &text,
        "The service for WebSockets that end with their session:",
    );
    let text = replace_once(&text, &[("curfew:9184", upstreams.streams.to_string())]);
    let files = [read_deploy_file("traefik/traefik.yaml"), text];
    let (address, server) = traefik::start_with_files(
        &files,
        upstreams.curfew,
        "/forward-auth",
        upstreams.application,
    );
    (address, Running::Server { _server: server })
}

fn start_envoy(upstreams: &Upstreams) -> (SocketAddr, Running) {
    let address = loopback(free_port());
    let cluster = format!(
        "  clusters:
    - name: curfew-proxy
      connect_timeout: 1s
      type: STRICT_DNS
      load_assignment:
        cluster_name: curfew-proxy
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ {} }} }} }}
",
        envoy_address(upstreams.streams)
    );
    let text = replace_once(
        &read_deploy_file("envoy/http.yaml"),
        &[
            (
                "exact: websocket, ignore_case: true } }] }\n                          route: { cluster: application,",
                "exact: websocket, ignore_case: true } }] }\n                          route: { cluster: curfew-proxy,"
                    .to_owned(),
            ),
            ("  clusters:\n", cluster),
            ("address: 0.0.0.0, port_value: 8080", envoy_address(address)),
            ("address: curfew, port_value: 9180", envoy_address(upstreams.curfew.check)),
            ("address: application, port_value: 3000", envoy_address(upstreams.application)),
        ],
    );
    let server = Server::envoy(&text, &[address]);
    (address, Running::Server { _server: server })
}

/// Sends a request over HTTP/1.1, and reads the head of the answer.
async fn request(
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

async fn assert_ends_streams(name: &str, start: Start) {
    install_provider();
    let application = Application::start(TargetKind::Http, &Certificates::generate()).await;
    let (streams, spoe) = (loopback(free_port()), loopback(free_port()));
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let yaml = format!(
        "proxy: {{trusted_proxies: [127.0.0.1], upstreams: [{{host: 127.0.0.1, target: '{}'}}]}}",
        application.target
    );
    std::fs::write(file.path(), yaml).unwrap();
    let curfew: Curfew = Setup::memory()
        .config_file(file.path())
        .set("LISTEN__PROXY", &streams.to_string())
        .set("LISTEN__SPOE", &spoe.to_string())
        .start();
    let target = application.target.strip_prefix("http://").unwrap();
    let (address, _proxy) = start(&Upstreams {
        curfew: curfew.listeners(),
        spoe,
        streams,
        application: target.parse().unwrap(),
    });
    // Traefik reads its second file after it listens.
    eventually("the proxy asks Curfew", async || {
        let (_, head) = request(address, "/x", "a=b", "connection: close\r\n").await;
        head.starts_with("HTTP/1.1 401 ")
    })
    .await;
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
        assert_eq!(received.headers["via"], "1.1 curfew", "{name} {upgrade}");
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
    let (_, head) = request(address, "/x", &other.cookie(), "connection: close\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
    let (received, ..) = application.last_request();
    assert!(
        !received.headers.contains_key("via"),
        "{name}: only WebSockets go to Curfew"
    );
}

#[tokio::test]
async fn nginx_sends_websockets_to_curfew() {
    assert_ends_streams("NGINX", start_nginx).await;
}

#[tokio::test]
async fn haproxy_sends_websockets_to_curfew() {
    assert_ends_streams("HAProxy", start_haproxy).await;
}

#[tokio::test]
async fn traefik_sends_websockets_to_curfew() {
    assert_ends_streams("Traefik", start_traefik).await;
}

#[tokio::test]
async fn envoy_sends_websockets_to_curfew() {
    assert_ends_streams("Envoy", start_envoy).await;
}
