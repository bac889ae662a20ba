//! Tests TLS between each proxy and Curfew, with the changes of `docs/tls.md` in the files of `deploy/`.

use std::time::Duration;

use tokio::runtime::Builder;

use curfew::render::Proxy as Rendered;

use crate::harness::write_configuration;
use crate::kinds::{HOST, IDLE, Proxy, ProxyKind, Upstreams, proxy_kinds};
use crate::support::backend::Backend;
use crate::support::curfew::{Curfew, Setup};
use crate::support::deployment::render_file;
use crate::support::tls::Certificates;
use crate::support::{eventually, free_port, loopback};
use crate::web_socket::{exchange, is_from_curfew, open, read_rest, web_socket_lines};

/// The directory of certificates in the documentation.
const DOCUMENTED_DIRECTORY: &str = "/etc/proxy/tls";

/// The settings of Curfew's listeners in one case.
struct Case {
    title: &'static str,
    /// Whether the certificate of the server is from a CA that the proxy trusts.
    is_server_trusted: bool,
    client_certificates: ClientCertificates,
    /// The listeners with these settings. The other listeners require the name of the proxy.
    listeners: Listeners,
    /// Whether the proxy serves requests, and streams.
    serves: Serves,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listeners {
    All,
    OnlyProxy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Serves {
    All,
    NoStreams,
    Nothing,
}

#[derive(Clone, Copy)]
enum ClientCertificates {
    NotRequired,
    /// Required, from the CA of the proxy, with this name.
    Named(&'static str),
    /// Required, from a CA that did not issue the certificate of the proxy.
    OfOtherAuthority,
}

const CASES: [Case; 8] = [
    Case {
        title: "without client certificates",
        is_server_trusted: true,
        client_certificates: ClientCertificates::NotRequired,
        listeners: Listeners::All,
        serves: Serves::All,
    },
    Case {
        title: "with the name of the proxy",
        is_server_trusted: true,
        client_certificates: NAMED,
        listeners: Listeners::All,
        serves: Serves::All,
    },
    Case {
        title: "with another name",
        is_server_trusted: true,
        client_certificates: ClientCertificates::Named("other.example.com"),
        listeners: Listeners::All,
        serves: Serves::Nothing,
    },
    Case {
        title: "with another CA",
        is_server_trusted: true,
        client_certificates: ClientCertificates::OfOtherAuthority,
        listeners: Listeners::All,
        serves: Serves::Nothing,
    },
    Case {
        title: "with a server certificate that the proxy does not trust",
        is_server_trusted: false,
        client_certificates: ClientCertificates::NotRequired,
        listeners: Listeners::All,
        serves: Serves::Nothing,
    },
    Case {
        title: "streams with another name",
        is_server_trusted: true,
        client_certificates: ClientCertificates::Named("other.example.com"),
        listeners: Listeners::OnlyProxy,
        serves: Serves::NoStreams,
    },
    Case {
        title: "streams with another CA",
        is_server_trusted: true,
        client_certificates: ClientCertificates::OfOtherAuthority,
        listeners: Listeners::OnlyProxy,
        serves: Serves::NoStreams,
    },
    Case {
        title: "streams with a server certificate that the proxy does not trust",
        is_server_trusted: false,
        client_certificates: ClientCertificates::NotRequired,
        listeners: Listeners::OnlyProxy,
        serves: Serves::NoStreams,
    },
];

/// The proxy has a certificate with this name.
const NAMED: ClientCertificates = ClientCertificates::Named("proxy.example.com");

/// The proxies and their sections in the documentation. ingress-nginx, and Traefik with the annotations of
/// ingress-nginx, have no settings for TLS to Curfew. haproxy-ingress sends the checks with a Lua script, without TLS.
const SECTIONS: [(&str, &str); 7] = [
    ("NGINX", "NGINX"),
    ("Traefik", "Traefik"),
    ("Caddy", "Caddy"),
    ("Envoy HTTP", "Envoy HTTP"),
    ("Envoy gRPC", "Envoy gRPC"),
    ("HAProxy 2.6", "HAProxy"),
    ("HAProxy 2.8", "HAProxy"),
];

/// Tests the proxies that match one of `name_filters`. Without filters, tests all proxies. Returns the failures.
pub fn run(name_filters: &[String]) -> Vec<String> {
    let is_selected = |proxy: &str| {
        let name = format!("{proxy}/tls");
        name_filters.is_empty() || name_filters.iter().any(|word| name.contains(word))
    };
    let selected = SECTIONS.into_iter().filter(|(proxy, _)| is_selected(proxy));
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut failures = Vec::new();
    for (proxy, section) in selected {
        let mut kinds = proxy_kinds().iter().copied();
        let kind = kinds.find(|kind| kind.name == proxy).unwrap();
        for case in &CASES {
            if let Err(failure) = runtime.block_on(run_case(kind, section, case)) {
                failures.push(format!("FAILED {proxy}/tls {}: {failure}", case.title));
            }
        }
        println!("{proxy}: {} cases of TLS to Curfew", CASES.len());
    }
    failures
}

async fn run_case(kind: ProxyKind, section: &str, case: &Case) -> Result<(), String> {
    let (trusted, other) = (Certificates::generate(), Certificates::generate());
    let backend = Backend::start().await;
    let streams = loopback(free_port());
    let config = write_configuration("", backend.address);
    let setup = Setup::memory()
        .config_file(config.path())
        .set("LISTEN__SPOE", "127.0.0.1:0")
        .set("LISTEN__PROXY", &streams.to_string());
    let curfew = with_tls(setup, case, &trusted, &other).start();
    let replacements = read_replacements(section, &trusted);
    let upstreams = Upstreams {
        check: curfew.check,
        browser: curfew.browser,
        grpc: curfew.grpc.unwrap(),
        spoe: curfew.spoe.unwrap(),
        application: backend.address,
        streams: Some(streams),
        public: None,
        certificate: None,
        policy: None,
        mistake: &[],
        tls: Vec::leak(replacements),
    };
    // The start of a proxy blocks the thread.
    let proxy = tokio::task::block_in_place(|| (kind.start)(&upstreams));
    match case.serves {
        Serves::Nothing => expect_denial(&curfew, &proxy, &backend, kind.down_status).await,
        _ => expect_service(&curfew, &proxy, &backend, case.serves == Serves::All).await,
    }
    .map_err(|failure| format!("{failure}\n{}\n{}", proxy.log(), curfew.log()))
}

/// Sets the certificates of the listeners.
fn with_tls(mut setup: Setup, case: &Case, trusted: &Certificates, other: &Certificates) -> Setup {
    for listener in ["CHECK", "GRPC", "SPOE", "BROWSER", "PROXY"] {
        let is_of_case = case.listeners == Listeners::All || listener == "PROXY";
        let (is_trusted, client_certificates) = if is_of_case {
            (case.is_server_trusted, case.client_certificates)
        } else {
            (true, NAMED)
        };
        let server = if is_trusted { trusted } else { other };
        let mut settings = vec![
            ("CERT_FILE", server.path_string("server.pem")),
            ("KEY_FILE", server.path_string("server.key")),
        ];
        match client_certificates {
            ClientCertificates::NotRequired => {}
            ClientCertificates::Named(name) => {
                settings.push(("CLIENT_CA_FILE", trusted.path_string("ca.pem")));
                settings.push(("CLIENT_NAMES", name.to_owned()));
            }
            ClientCertificates::OfOtherAuthority => {
                settings.push(("CLIENT_CA_FILE", other.path_string("ca.pem")));
            }
        }
        for (key, value) in settings {
            setup = setup.set(&format!("TLS__{listener}__{key}"), &value);
        }
    }
    setup
}

/// Returns the lines to replace and the new lines of a section of `docs/tls.md`. Each of the lines to replace must be
/// in a file of `deploy/`, with the lines for streams.
fn read_replacements(section: &str, certificates: &Certificates) -> Vec<(String, String)> {
    let page = include_str!("../../docs/tls.md");
    let (_, text) = page.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = text.split("```").skip(1).step_by(2).collect();
    let code = |block: &str| {
        let (_, code) = block.split_once('\n').unwrap();
        let directory = certificates.directory().to_str().unwrap();
        let code = code.trim_end_matches('\n');
        code.replace(DOCUMENTED_DIRECTORY, directory)
    };
    let pairs = blocks.chunks(2);
    let pairs: Vec<_> = pairs.map(|pair| (code(pair[0]), code(pair[1]))).collect();
    assert!(!pairs.is_empty());
    let files = [
        (Rendered::Nginx, "curfew.conf"),
        (Rendered::Traefik, "curfew.yaml"),
        (Rendered::Caddy, "Caddyfile"),
        (Rendered::EnvoyHttp, "http.yaml"),
        (Rendered::EnvoyGrpc, "grpc.yaml"),
        (Rendered::Haproxy, "haproxy.cfg"),
    ];
    let files = files.map(|(proxy, name)| render_file(proxy, name, IDLE, true));
    for (from, _) in &pairs {
        let found = files.iter().any(|file| file.contains(from));
        assert!(found, "{section}: no file of deploy/ contains {from}");
    }
    pairs
}

async fn expect_service(
    curfew: &Curfew,
    proxy: &Proxy,
    backend: &Backend,
    serves_streams: bool,
) -> Result<(), String> {
    let session = curfew.sign_in("alice").await;
    let cookie = session.cookie();
    eventually("the proxy serves a request with a session", async || {
        get(proxy, "/", Some(&cookie)).await == 200
    })
    .await;
    if backend.take().is_empty() {
        return Err("the application received no request".to_owned());
    }
    let denied = get(proxy, "/", None).await;
    let status_page = get(proxy, "/.curfew/session", Some(&cookie)).await;
    // Curfew compares the origin with the host that the client wrote.
    let keep_alive = post_from_same_origin(proxy, "/.curfew/keep-alive", &cookie).await;
    match (denied, status_page, keep_alive, backend.take().len()) {
        (401, 200, 200, 0) => {}
        other => {
            return Err(format!(
                "expected 401 without a session, 200 from /.curfew/session and /.curfew/keep-alive, and no request to \
                 the application: {other:?}"
            ));
        }
    }
    let lines = format!("{}Cookie: {cookie}\r\n", web_socket_lines("websocket"));
    let (mut stream, head) = open(proxy.address, "/socket", &lines).await;
    let received = backend.take();
    let has_opened = head.starts_with("HTTP/1.1 101 ");
    match (serves_streams, &*received) {
        (false, []) if !has_opened => return Ok(()),
        (true, [request]) if has_opened && is_from_curfew(request) => {}
        _ => {
            return Err(format!(
                "serves streams: {serves_streams}: {head} {received:?}"
            ));
        }
    }
    exchange(&mut stream).await;
    curfew.revoke(&session).await;
    match read_rest(&mut stream).await {
        end if end.ends_with(b"revoked") => Ok(()),
        end => Err(format!("expected a Close frame: {end:?}")),
    }
}

async fn expect_denial(
    curfew: &Curfew,
    proxy: &Proxy,
    backend: &Backend,
    down_status: u16,
) -> Result<(), String> {
    let session = curfew.sign_in("alice").await;
    let cookie = session.cookie();
    // Traefik answers with 404 until it has read its routes.
    eventually("the proxy has its routes", async || {
        !matches!(get(proxy, "/", Some(&cookie)).await, 0 | 404)
    })
    .await;
    let lines = format!("{}Cookie: {cookie}\r\n", web_socket_lines("websocket"));
    let (_, head) = open(proxy.address, "/socket", &lines).await;
    if head.starts_with("HTTP/1.1 101 ") {
        return Err("a WebSocket has opened".to_owned());
    }
    for _ in 0..3 {
        let status = get(proxy, "/", Some(&cookie)).await;
        let page_status = get(proxy, "/.curfew/session", Some(&cookie)).await;
        if status != down_status || page_status < 500 {
            return Err(format!(
                "expected {down_status}, and a server error for /.curfew/session: {status}, {page_status}"
            ));
        }
    }
    match backend.take().len() {
        0 => Ok(()),
        count => Err(format!("the application received {count} requests")),
    }
}

/// Sends a GET. Returns the status, or 0 if there is no answer.
async fn get(proxy: &Proxy, path: &str, cookie: Option<&str>) -> u16 {
    let request = client().get(format!("http://{}{path}", proxy.address));
    status(match cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request,
    })
    .await
}

/// Sends a POST as a page of the application does. Returns the status, or 0 if there is no answer.
async fn post_from_same_origin(proxy: &Proxy, path: &str, cookie: &str) -> u16 {
    let request = client().post(format!("http://{}{path}", proxy.address));
    let request = request.header("origin", format!("http://{HOST}"));
    status(request.header("cookie", cookie)).await
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.no_proxy().timeout(Duration::from_secs(20));
    client.build().unwrap()
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    let response = request.header("host", HOST).send().await;
    response.map_or(0, |response| response.status().as_u16())
}
