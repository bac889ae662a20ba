//! Sends the requests over HTTP/3, for the proxies that support it. HTTP/3 requires TLS, so the proxy gets a
//! certificate.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::json;
use tokio::runtime::Builder;

use super::{Counts, Environment, PRIVATE_HOST, PUBLIC_HOST};
use crate::kinds::ProxyKind;
use crate::support::deployment::installed_path;
use crate::support::eventually;
use crate::support::tls::Certificates;

pub fn run_over_http_3(kind: ProxyKind) -> Counts {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // The certificates are leaked, because the proxies need them until the process ends.
        let certificates: &'static Certificates = Box::leak(Box::new(Certificates::generate()));
        let environment = Environment::start(kind, None, Some(certificates)).await;
        let mut client = Client::start(environment.proxy.address.port());
        let alice = environment.curfew.sign_in("alice").await;
        let cookie = alice.cookie();
        eventually("the proxy answers over HTTP/3", async || {
            client.send_request(PRIVATE_HOST, None, "/", Some(&cookie)) == 200
        })
        .await;
        environment.public.take();
        environment.private.take();
        let mut counts = Counts {
            name: kind.name,
            ..Counts::default()
        };
        for (authority, host, path) in super::http_2_requests() {
            for session in [None, Some(&alice)] {
                client.send_request(authority, host, path, session.map(|_| &*cookie));
                let request = format!(":authority {authority}, host {host:?}, :path {path}");
                environment.count(&mut counts, &request, session);
            }
        }
        // HTTP libraries reject some of these values, but the client of this test sends them.
        for authority in [
            "public.example.com@private.example.com",
            "",
            "public.example.com,x",
        ] {
            for session in [None, Some(&alice)] {
                client.send_request(
                    authority,
                    Some(PUBLIC_HOST),
                    "/admin/x",
                    session.map(|_| &*cookie),
                );
                environment.count(&mut counts, authority, session);
            }
        }
        counts
    })
}

/// The process that runs `http_3.py`.
struct Client {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    fn start(port: u16) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/proxies/router/http_3.py"
        );
        let mut process = Command::new(installed_path("bin/python"))
            .args([script, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            requests: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    /// Sends a request. Returns the status of the answer, or 0 if there is none.
    fn send_request(
        &mut self,
        authority: &str,
        host: Option<&str>,
        path: &str,
        cookie: Option<&str>,
    ) -> u16 {
        let mut headers = vec![
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", path),
        ];
        headers.extend(host.map(|host| ("host", host)));
        headers.extend(cookie.map(|cookie| ("cookie", cookie)));
        writeln!(self.requests, "{}", json!(headers)).unwrap();
        let mut line = String::new();
        // While this thread waits, another thread of the runtime serves the requests.
        tokio::task::block_in_place(|| self.answers.read_line(&mut line)).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
