//! Runs a real NGINX with the configuration file that users copy.

use std::net::SocketAddr;
use std::process::Command;

use super::deployed::{Server, changed, deployed};
use super::{Listeners, free_port, local};

pub struct Nginx {
    server: Server,
    pub address: SocketAddr,
    /// The address for HTTP/2 without TLS. NGINX needs a separate address for it.
    pub http2: SocketAddr,
}

impl Nginx {
    /// Starts NGINX with `deploy/nginx/curfew.conf`, in which only the addresses are changed.
    pub fn start(curfew: Listeners, application: SocketAddr) -> Self {
        Self::changed(curfew, application, &[])
    }

    /// Like [`start`](Self::start), with more replacements.
    pub fn changed(
        curfew: Listeners,
        application: SocketAddr,
        replaced: &[(&str, String)],
    ) -> Self {
        Self::of(
            &deployed("nginx/curfew.conf"),
            curfew,
            application,
            replaced,
        )
    }

    /// Like [`changed`](Self::changed), with the configuration `text` instead of `deploy/nginx/curfew.conf`.
    pub fn of(
        file: &str,
        curfew: Listeners,
        application: SocketAddr,
        replaced: &[(&str, String)],
    ) -> Self {
        let replaced: Vec<_> = [
            ("curfew:9180", curfew.check.to_string()),
            ("curfew:9183", curfew.browser.to_string()),
            ("application:3000", application.to_string()),
        ]
        .into_iter()
        .chain(replaced.iter().cloned())
        .collect();
        let text = changed(file, &replaced);
        Self::with(&text, "")
    }

    /// Starts NGINX with a configuration that listens on port 8080. `modules` contains the `load_module` lines.
    pub fn with(text: &str, modules: &str) -> Self {
        let (address, http2) = (local(free_port()), local(free_port()));
        let listen = format!("listen {address};\n    listen {http2} http2;");
        let text = text.replace("listen 8080;", &listen);
        let server = Server::start(
            Command::new("nginx").args(["-p", ".", "-c", "nginx.conf", "-e", "error.log"]),
            &[
                ("curfew.conf", &text),
                ("nginx.conf", &format!("{modules}{MAIN}")),
            ],
            &[address, http2],
        );
        Self {
            server,
            address,
            http2,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the text of the error log.
    pub fn errors(&self) -> String {
        self.server.read("error.log")
    }
}

/// The main configuration, like the `nginx.conf` of a distribution, which includes the files in `conf.d`.
const MAIN: &str = "
daemon off;
worker_processes 1;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include curfew.conf;
}
";
