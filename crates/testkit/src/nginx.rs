//! Runs a real NGINX with the configuration file that users copy.

use std::net::SocketAddr;
use std::process::Command;

use super::deployment::{Server, read_deploy_file, replace_once};
use super::{Listeners, free_port, loopback};

pub struct Nginx {
    server: Server,
    pub address: SocketAddr,
    /// The address for HTTP/2 without TLS. NGINX needs a separate address for HTTP/2.
    pub http2: SocketAddr,
}

impl Nginx {
    /// Starts NGINX with `deploy/nginx/curfew.conf`, in which only the addresses are changed.
    pub fn start(curfew: Listeners, application: SocketAddr) -> Self {
        Self::start_with_replacements(curfew, application, &[])
    }

    /// Like [`start`](Self::start), with more replacements.
    pub fn start_with_replacements(
        curfew: Listeners,
        application: SocketAddr,
        replacements: &[(&str, String)],
    ) -> Self {
        Self::start_with_file(
            &read_deploy_file("nginx/curfew.conf"),
            curfew,
            application,
            replacements,
        )
    }

    /// Like [`start_with_replacements`](Self::start_with_replacements), with the text `file` instead of
    /// `deploy/nginx/curfew.conf`.
    pub fn start_with_file(
        file: &str,
        curfew: Listeners,
        application: SocketAddr,
        replacements: &[(&str, String)],
    ) -> Self {
        let replacements: Vec<_> = [
            ("curfew:9180", curfew.check.to_string()),
            ("curfew:9183", curfew.browser.to_string()),
            ("application:3000", application.to_string()),
        ]
        .into_iter()
        .chain(replacements.iter().cloned())
        .collect();
        let text = replace_once(file, &replacements);
        Self::start_with_configuration(&text, "")
    }

    /// Starts NGINX with the configuration `text`, in which two free addresses replace `listen 8080;`. `modules`
    /// contains the `load_module` lines.
    pub fn start_with_configuration(text: &str, modules: &str) -> Self {
        let (address, http2) = (loopback(free_port()), loopback(free_port()));
        let listen = format!("listen {address};\n    listen {http2} http2;");
        let text = text.replace("listen 8080;", &listen);
        let server = Server::start(
            Command::new("nginx").args(["-p", ".", "-c", "nginx.conf", "-e", "error.log"]),
            &[
                ("curfew.conf", &text),
                ("nginx.conf", &format!("{modules}{MAIN_CONFIGURATION}")),
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
    pub fn error_log(&self) -> String {
        self.server.read("error.log")
    }
}

/// The main configuration, like the `nginx.conf` of a distribution, which includes the files in `conf.d`.
const MAIN_CONFIGURATION: &str = "
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
