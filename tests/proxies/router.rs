//! Tests that a proxy and Curfew read the host and the path of a request in the same way. A proxy serves two
//! applications. A rule makes the first application public. The second application needs a session, and some of its
//! paths need a group. The test sends requests in all forms that HTTP has for a host and a path. No request may
//! reach the protected application without permission.

mod http_3;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::kinds::{HTTP_3, Proxy, ProxyKind, Replacements, Upstreams, proxy_kinds};
use crate::support::backend::Backend;
use crate::support::curfew::{CreatedSession, Curfew, Setup};
use crate::support::eventually;
use crate::support::shim::Shim;
use crate::support::tls::Certificates;

pub const PUBLIC_HOST: &str = "public.example.com";
pub const PRIVATE_HOST: &str = "private.example.com";

const RULES: &str = "
hosts: [private.example.com]
rules:
  - { host: public.example.com, access: public }
  - { host: private.example.com, path_prefix: /admin, groups: operators }
";

/// The results of the requests through one proxy.
#[derive(Debug, Default)]
pub struct Counts {
    pub name: &'static str,
    pub sent: usize,
    pub public: usize,
    pub private: usize,
    pub refused: usize,
    /// The requests that the protected application served without permission.
    pub wrong: Vec<String>,
}

/// A mistake that an earlier file had. The test inserts the mistake, and expects wrong results.
struct Mutant {
    what: &'static str,
    proxy: &'static str,
    mistake: Replacements,
    setting: Option<(&'static str, &'static str)>,
    /// True if the test inserts a [`Shim`](crate::support::shim::Shim) between the proxy and Curfew. The shim hides
    /// the kind of proxy from `/auth-request`.
    shim: bool,
}

const MUTANTS: [Mutant; 5] = [
    Mutant {
        what: "NGINX: the host that the client wrote",
        proxy: "NGINX",
        mistake: &[(
            "X-Original-URL $scheme://$host$request_port$request_uri",
            "X-Original-URL $scheme://$http_host$request_uri",
        )],
        setting: None,
        shim: false,
    },
    Mutant {
        what: "ingress-nginx: the host that the client wrote",
        proxy: "ingress-nginx",
        mistake: &[(
            "        AUTH_PROXY_SET_HEADERS\n",
            "        proxy_set_header X-Forwarded-Host $http_host;\n        \
             proxy_set_header X-Forwarded-Uri $request_uri;\n        \
             proxy_set_header X-Forwarded-Method $request_method;\n        \
             proxy_set_header X-Forwarded-Proto $pass_access_scheme;\n",
        )],
        setting: None,
        shim: false,
    },
    Mutant {
        what: "Traefik's provider for ingress-nginx sends checks to /auth-request",
        proxy: "Traefik ingress-nginx",
        mistake: &[],
        setting: None,
        shim: true,
    },
    Mutant {
        what: "a rule for a host, and unknown hosts are checked",
        proxy: "Caddy",
        mistake: &[],
        setting: Some(("UNKNOWN_HOSTS", "allow")),
        shim: false,
    },
    Mutant {
        what: "a rule for a host, and unknown hosts are checked",
        proxy: "HAProxy 2.6",
        mistake: &[],
        setting: Some(("UNKNOWN_HOSTS", "allow")),
        shim: false,
    },
];

/// Tests the proxies that match one of `name_filters`. Without filters, tests all proxies. Prints the counts, and
/// returns the failures.
pub fn run(name_filters: &[String]) -> Vec<String> {
    let is_selected = |kind: &ProxyKind| {
        let name = format!("{}/router", kind.name);
        name_filters.is_empty() || name_filters.iter().any(|word| name.contains(word))
    };
    let mut failures = Vec::new();
    println!("| proxy | requests | public application | protected application | denied |");
    println!("|---|--:|--:|--:|--:|");
    for kind in proxy_kinds().iter().copied().filter(is_selected) {
        let counts = run_through_proxy(kind, None);
        let Counts {
            name,
            sent,
            public,
            private,
            refused,
            ..
        } = counts;
        println!("| {name} | {sent} | {public} | {private} | {refused} |");
        // Without a request of each kind, the test would prove nothing.
        if counts.public == 0 || counts.private == 0 || counts.refused == 0 {
            failures.push(format!(
                "FAILED {name}/router: each of the three results must occur at least once: {counts:?}"
            ));
        }
        for wrong in counts.wrong.iter().take(5) {
            failures.push(format!("FAILED {name}/router: {wrong}"));
        }
    }
    for kind in proxy_kinds()
        .iter()
        .copied()
        .filter(is_selected)
        .filter(|kind| HTTP_3.contains(&kind.name))
    {
        let counts = http_3::run_over_http_3(kind);
        let (sent, public, private) = (counts.sent, counts.public, counts.private);
        println!(
            "| {}, HTTP/3 | {sent} | {public} | {private} | {} |",
            kind.name, counts.refused
        );
        if public == 0 || private == 0 || counts.refused == 0 || !counts.wrong.is_empty() {
            failures.push(format!(
                "FAILED {}/router over HTTP/3: {counts:?}",
                kind.name
            ));
        }
    }
    for mutant in &MUTANTS {
        let Some(kind) = proxy_kinds()
            .iter()
            .copied()
            .find(|kind| kind.name == mutant.proxy && is_selected(kind))
        else {
            continue;
        };
        let counts = run_through_proxy(kind, Some(mutant));
        if counts.wrong.is_empty() {
            failures.push(format!(
                "FAILED router: the test does not detect the mistake: {}",
                mutant.what
            ));
        } else {
            println!(
                "{} wrong results with the mistake: {}",
                counts.wrong.len(),
                mutant.what
            );
        }
    }
    failures
}

fn run_through_proxy(kind: ProxyKind, mutant: Option<&Mutant>) -> Counts {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let environment = Environment::start(kind, mutant, None).await;
        environment
            .wait_until_ready(mutant.is_some_and(|mutant| mutant.shim))
            .await;
        environment.run(kind.name).await
    })
}

struct Environment {
    curfew: Curfew,
    proxy: Proxy,
    public: Backend,
    private: Backend,
    _shim: Option<Shim>,
}

impl Environment {
    async fn start(
        kind: ProxyKind,
        mutant: Option<&Mutant>,
        certificate: Option<&'static Certificates>,
    ) -> Self {
        let rules = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(rules.path(), RULES).unwrap();
        let mut setup = Setup::memory()
            .set("LISTEN__SPOE", "127.0.0.1:0")
            .set("LOG__FILTER", "warn")
            .config_file(rules.path());
        if let Some((key, value)) = mutant.and_then(|mutant| mutant.setting) {
            setup = setup.set(key, value);
        }
        let curfew = setup.start();
        let (public, private) = (Backend::start().await, Backend::start().await);
        let shim = match mutant {
            Some(Mutant { shim: true, .. }) => Some(Shim::start(curfew.check).await),
            _ => None,
        };
        let upstreams = Upstreams {
            check: shim.as_ref().map_or(curfew.check, |shim| shim.address),
            browser: curfew.browser,
            grpc: curfew.grpc.unwrap(),
            spoe: curfew.spoe.unwrap(),
            application: private.address,
            streams: None,
            public: Some(public.address),
            certificate,
            policy: None,
            mistake: mutant.map_or(&[], |mutant| mutant.mistake),
            tls: &[],
        };
        // The start of a proxy blocks the thread.
        let proxy = tokio::task::block_in_place(|| (kind.start)(&upstreams));
        Self {
            curfew,
            proxy,
            public,
            private,
            _shim: shim,
        }
    }

    /// Waits until the proxy answers for both applications: with status 200, or with any status if `any_answer` is
    /// true.
    async fn wait_until_ready(&self, any_answer: bool) {
        let session = self.curfew.sign_in("nobody").await;
        let cookie = format!("Cookie: {}\r\n", session.cookie());
        eventually("the proxy is ready", async || {
            let mut ready = true;
            for host in [PUBLIC_HOST, PRIVATE_HOST] {
                let request =
                    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{cookie}Connection: close\r\n\r\n");
                let answer = self.send(&request).await;
                ready &= any_answer || answer.starts_with("HTTP/1.1 200");
            }
            ready
        })
        .await;
        self.public.take();
        self.private.take();
    }

    async fn run(&self, name: &'static str) -> Counts {
        let mut counts = Counts {
            name,
            ..Counts::default()
        };
        let alice = self.curfew.sign_in("alice").await;
        for request in http_1_requests() {
            for session in [None, Some(&alice)] {
                let cookie = session.map(|alice| format!("Cookie: {}\r\n", alice.cookie()));
                let text = request.replace("COOKIE", cookie.as_deref().unwrap_or(""));
                self.send(&text).await;
                self.count(&mut counts, &request, session);
            }
        }
        for (authority, host, path) in http_2_requests() {
            for session in [None, Some(&alice)] {
                self.send_http_2(authority, host, path, session).await;
                let request = format!(":authority {authority}, host {host:?}, :path {path}");
                self.count(&mut counts, &request, session);
            }
        }
        counts
    }

    /// Counts whether a request reached each application, and records a wrong result.
    fn count(&self, counts: &mut Counts, request: &str, session: Option<&CreatedSession>) {
        let (public, private) = (self.public.take(), self.private.take());
        counts.sent += 1;
        counts.public += public.len();
        counts.private += private.len();
        counts.refused += usize::from(public.is_empty() && private.is_empty());
        for backend_request in private {
            let path = backend_request.uri.path();
            let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
            // Alice is not in the group `operators`, so a rule denies her requests for `/admin`.
            let allowed = session.is_some() && !decoded.starts_with("/admin");
            if !allowed {
                counts.wrong.push(format!("{path} was served: {request}"));
            }
        }
    }

    /// Sends raw bytes. Returns the head of the answer, or an empty text. Does not wait for the proxy to close the
    /// connection.
    async fn send(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy.address).await.unwrap();
        let mut head = Vec::new();
        let reading = async {
            stream.write_all(text.as_bytes()).await?;
            let mut bytes = [0; 4096];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut bytes).await? {
                    0 => break,
                    length => head.extend_from_slice(&bytes[..length]),
                }
            }
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
        String::from_utf8_lossy(&head).into_owned()
    }

    async fn send_http_2(
        &self,
        authority: &str,
        host: Option<&str>,
        path: &str,
        session: Option<&CreatedSession>,
    ) {
        let Ok(uri) = format!("http://{authority}{path}").parse::<http::Uri>() else {
            return;
        };
        let stream = TcpStream::connect(self.proxy.http2).await.unwrap();
        let Ok((send, connection)) = h2::client::Builder::new()
            .handshake::<_, Bytes>(stream)
            .await
        else {
            return;
        };
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(session) = session {
            request = request.header("cookie", session.cookie());
        }
        let exchange = async {
            let mut send = send.ready().await.ok()?;
            let (answer, _) = send.send_request(request.body(()).ok()?, true).ok()?;
            answer.await.ok()
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), exchange).await;
        connection.abort();
    }
}

/// Paths in the protected application, and variants that a proxy could misread.
const PATHS: [&str; 12] = [
    "/",
    "/secret",
    "/admin/x",
    "/open/../admin/x",
    "/open/%2e%2e/admin/x",
    "/open/..%2fadmin/x",
    "//admin/x",
    "/admin;x",
    "/%61dmin/x",
    "/admin%2fx",
    "/secret?x=http://public.example.com/",
    "/secret#@public.example.com",
];

/// Returns requests for HTTP/1: every form of the target with every set of hosts. The word COOKIE stands for the
/// cookie.
fn http_1_requests() -> Vec<String> {
    let targets = [
        "",
        "http://public.example.com",
        "http://private.example.com",
        "http://PRIVATE.example.com",
        "http://private.example.com.",
        "http://private.example.com:80",
        "http://public.example.com@private.example.com",
        "http://private.example.com:80@public.example.com",
        "https://private.example.com",
    ];
    let hosts = [
        "Host: public.example.com\r\n",
        "Host: private.example.com\r\n",
        "Host: PRIVATE.EXAMPLE.COM\r\n",
        "Host: private.example.com.\r\n",
        "Host: private.example.com:8443\r\n",
        "Host: public.example.com:443\r\n",
        "Host: x\r\n",
        "",
        "Host:\r\n",
        "Host: public.example.com@private.example.com\r\n",
        "Host: private.example.com@public.example.com\r\n",
        "Host: public.example.com\r\nHost: private.example.com\r\n",
        "Host: private.example.com\r\nHost: public.example.com\r\n",
        "Host: public.example.com,private.example.com\r\n",
        "Host: private.example.com,public.example.com\r\n",
        "Host: private.example.com#public.example.com\r\n",
        "Host: private.example.com/public.example.com\r\n",
        "Host: private.example.com\r\n\
         X-Forwarded-Host: public.example.com\r\nX-Forwarded-Uri: /\r\nX-Forwarded-Method: GET\r\n",
        "Host: private.example.com\r\n\
         X-Original-URL: http://public.example.com/\r\nX-Original-Method: GET\r\n",
        "Host: private.example.com\r\n\
         X-Original-Host: public.example.com\r\nX-Rewrite-Url: /\r\nForwarded: host=public.example.com\r\n",
        "Host: private.example.com\r\nX_Forwarded_Host: public.example.com\r\n\
         Connection: X-Forwarded-Host, X-Forwarded-Uri, X-Original-URL\r\n",
    ];
    let mut all = Vec::new();
    let mut number = 0_usize;
    for target in targets {
        for hosts in hosts {
            for version in ["1.1", "1.0"] {
                // Each combination gets only two of the paths, because all paths would need five thousand requests.
                for step in 0..2 {
                    number += 1;
                    let path = PATHS[(number * 5 + step * 7) % PATHS.len()];
                    all.push(format!(
                        "GET {target}{path} HTTP/{version}\r\n{hosts}COOKIEConnection: close\r\n\r\n"
                    ));
                }
            }
        }
    }
    all
}

/// Returns requests for HTTP/2: `:authority`, `host` and `:path`.
fn http_2_requests() -> Vec<(&'static str, Option<&'static str>, &'static str)> {
    let authorities = [
        "public.example.com",
        "private.example.com",
        "PRIVATE.example.com",
        "private.example.com:8443",
        "private.example.com.",
        "x",
    ];
    let hosts = [None, Some(PUBLIC_HOST), Some(PRIVATE_HOST), Some("x")];
    let mut all = Vec::new();
    for authority in authorities {
        for host in hosts {
            for path in ["/secret", "/admin/x", "/open/..%2fadmin/x"] {
                all.push((authority, host, path));
            }
        }
    }
    all
}
