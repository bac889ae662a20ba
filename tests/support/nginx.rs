//! A real NGINX with the very file that users copy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{free_port, local, signal, wait_for_listener};

pub struct Nginx {
    process: Child,
    pub address: SocketAddr,
    directory: TempDir,
}

impl Nginx {
    /// Runs `deploy/nginx/curfew.conf`, with nothing changed but its three addresses.
    pub fn start(curfew: SocketAddr, application: SocketAddr) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx/curfew.conf");
        let mut text = std::fs::read_to_string(path).unwrap();
        let address = local(free_port());
        for (from, to) in [
            ("127.0.0.1:8080", address),
            ("127.0.0.1:9180", curfew),
            ("127.0.0.1:3000", application),
        ] {
            assert_eq!(text.matches(from).count(), 1, "{from} is in the file once");
            text = text.replace(from, &to.to_string());
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("curfew.conf"), text).unwrap();
        std::fs::write(directory.path().join("nginx.conf"), MAIN).unwrap();
        let mut process = Command::new("nginx")
            .env("PATH", with_system_programs())
            .arg("-p")
            .arg(directory.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        wait_for_listener(&mut process, address);
        Self {
            process,
            address,
            directory,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it has logged about errors.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its workers too, which a kill would not.
        signal(&self.process, "TERM");
        let _ = self.process.wait();
    }
}

/// What a distribution's own nginx.conf is around the files in conf.d.
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

/// The search path with the directories in which Debian keeps servers.
pub fn with_system_programs() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
