//! Tests TLS between each proxy and Curfew, with the changes of `docs/tls.md` in the files of `deploy/`.

use std::time::Duration;

use tokio::runtime::Builder;

use crate::kinds::{HOST, PROXY_KINDS, Proxy, ProxyKind, Upstreams};
use crate::support::backend::Backend;
use crate::support::curfew::{Curfew, Setup};
use crate::support::eventually;
use crate::support::tls::Certificates;

/// The directory of certificates in the documentation.
const DOCUMENTED_DIRECTORY: &str = "/etc/proxy/tls";

/// The settings of Curfew's listeners in one case.
struct Case {
    title: &'static str,
    /// Whether the certificate of the server is from a CA that the proxy trusts.
    is_server_trusted: bool,
    client_certificates: ClientCertificates,
    is_allowed: bool,
}

#[derive(Clone, Copy)]
enum ClientCertificates {
    NotRequired,
    /// Required, from the CA of the proxy, with this name.
    Named(&'static str),
    /// Required, from a CA that did not issue the certificate of the proxy.
    OfOtherAuthority,
}

const CASES: [Case; 5] = [
    Case {
        title: "without client certificates",
        is_server_trusted: true,
        client_certificates: ClientCertificates::NotRequired,
        is_allowed: true,
    },
    Case {
        title: "with the name of the proxy",
        is_server_trusted: true,
        client_certificates: ClientCertificates::Named("proxy.example.com"),
        is_allowed: true,
    },
    Case {
        title: "with another name",
        is_server_trusted: true,
        client_certificates: ClientCertificates::Named("other.example.com"),
        is_allowed: false,
    },
    Case {
        title: "with another CA",
        is_server_trusted: true,
        client_certificates: ClientCertificates::OfOtherAuthority,
        is_allowed: false,
    },
    Case {
        title: "with a server certificate that the proxy does not trust",
        is_server_trusted: false,
        client_certificates: ClientCertificates::NotRequired,
        is_allowed: false,
    },
];

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
        let mut kinds = PROXY_KINDS.into_iter();
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
    let server = if case.is_server_trusted {
        &trusted
    } else {
        &other
    };
    let curfew = start_curfew(case, server, &trusted, &other);
    let backend = Backend::start().await;
    let replacements = read_replacements(section, &trusted);
    let upstreams = Upstreams {
        check: curfew.check,
        browser: curfew.browser,
        grpc: curfew.grpc.unwrap(),
        spoe: curfew.spoe.unwrap(),
        application: backend.address,
        public: None,
        certificate: None,
        policy: None,
        mistake: &[],
        tls: Vec::leak(replacements),
    };
    // The start of a proxy blocks the thread.
    let proxy = tokio::task::block_in_place(|| (kind.start)(&upstreams));
    if case.is_allowed {
        expect_service(&curfew, &proxy, &backend).await
    } else {
        expect_denial(&curfew, &proxy, &backend, kind.down_status).await
    }
    .map_err(|failure| format!("{failure}\n{}\n{}", proxy.log(), curfew.log()))
}

fn start_curfew(
    case: &Case,
    server: &Certificates,
    trusted: &Certificates,
    other: &Certificates,
) -> Curfew {
    let mut setup = Setup::memory().set("LISTEN__SPOE", "127.0.0.1:0");
    for listener in ["CHECK", "GRPC", "SPOE", "BROWSER"] {
        let mut settings = vec![
            ("CERT_FILE", server.path_string("server.pem")),
            ("KEY_FILE", server.path_string("server.key")),
        ];
        match case.client_certificates {
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
    setup.start()
}

/// Returns the lines to replace and the new lines of a section of `docs/tls.md`. Each of the lines to replace must be
/// in a file of `deploy/`.
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
        "nginx/curfew.conf",
        "traefik/curfew.yaml",
        "caddy/Caddyfile",
        "envoy/http.yaml",
        "envoy/grpc.yaml",
        "haproxy/haproxy.cfg",
    ];
    let files = files.map(crate::support::deployment::read_deploy_file);
    for (from, _) in &pairs {
        let found = files.iter().any(|file| file.contains(from));
        assert!(found, "{section}: no file of deploy/ contains {from}");
    }
    pairs
}

async fn expect_service(curfew: &Curfew, proxy: &Proxy, backend: &Backend) -> Result<(), String> {
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
    match (denied, status_page, backend.take().len()) {
        (401, 200, 0) => Ok(()),
        other => Err(format!(
            "expected 401 without a session, 200 from /.curfew/session, and no request to the application: {other:?}"
        )),
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

/// Sends a request. Returns the status, or 0 if there is no answer.
async fn get(proxy: &Proxy, path: &str, cookie: Option<&str>) -> u16 {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let mut request = client
        .get(format!("http://{}{path}", proxy.address))
        .header("host", HOST);
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let response = request.send().await;
    response.map_or(0, |response| response.status().as_u16())
}
