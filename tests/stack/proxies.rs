//! Starts the proxies with the commands and the mounted files of `docker-compose.yml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::stack::Stack;
use crate::support::curfew::Curfew;
use crate::support::deployment::{Server, envoy_address, installed_path};
use crate::support::nginx::Nginx;
use crate::support::{free_port, loopback};

pub struct Proxy {
    pub address: SocketAddr,
    _server: ProxyServer,
}

#[expect(
    dead_code,
    reason = "holds the server, which stops when the value is dropped"
)]
enum ProxyServer {
    Server(Server),
    Nginx(Nginx),
}

impl Stack {
    /// Starts the proxy with this name. The proxy sends its checks to this replica.
    pub fn start_proxy(&self, name: &str, replica: &Curfew) -> Proxy {
        let address = loopback(free_port());
        let (spoe, grpc) = (replica.spoe.unwrap(), replica.grpc.unwrap());
        let replacements = [
            ("curfew:9180", replica.check.to_string()),
            ("curfew:9182", spoe.to_string()),
            ("curfew:9183", replica.browser.to_string()),
            ("application:3000", self.application.to_string()),
            (
                "address: curfew, port_value: 9180",
                envoy_address(replica.check),
            ),
            (
                "address: curfew, port_value: 9183",
                envoy_address(replica.browser),
            ),
            ("address: curfew, port_value: 9181", envoy_address(grpc)),
            (
                "address: application, port_value: 3000",
                envoy_address(self.application),
            ),
            ("address: :8080", format!("address: {address}")),
            ("bind :8080", format!("bind {address}")),
            (
                "\n:8080 {\n",
                format!("\n:{} {{\n\tbind 127.0.0.1\n", address.port()),
            ),
            ("address: 0.0.0.0, port_value: 8080", envoy_address(address)),
        ];
        let files = self
            .compose
            .read_mounted_files(name)
            .into_iter()
            .map(|(name, text)| {
                let text_with_local_addresses = replacements
                    .iter()
                    .fold(text, |text, (from, to)| text.replace(from, to));
                (name, text_with_local_addresses)
            });
        let files: Vec<(String, String)> = files.collect();
        if name == "nginx" {
            let nginx = Nginx::start_with_configuration(&files[0].1, "");
            return Proxy {
                address: nginx.address,
                _server: ProxyServer::Nginx(nginx),
            };
        }
        let mut command = Command::new(program_path(name));
        // Replaces the paths of the files in the container with their paths on this machine.
        let arguments = self.compose.string_list(name, "command").into_iter();
        let arguments = arguments.filter(|word| word != name).map(|word| {
            files.iter().fold(word, |word, (file, _)| {
                let index = word.find('/').filter(|_| word.ends_with(file.as_str()));
                index.map_or(word.clone(), |index| format!("{}{file}", &word[..index]))
            })
        });
        let admin = loopback(free_port()).to_string();
        command.args(arguments).env("CADDY_ADMIN", admin);
        if name == "envoy" {
            command.args(["--use-dynamic-base-id", "--concurrency", "1"]);
        }
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        let server = Server::start(&mut command, &files, &[address]);
        Proxy {
            address,
            _server: ProxyServer::Server(server),
        }
    }
}

fn program_path(name: &str) -> PathBuf {
    match name {
        "haproxy" | "envoy" => installed_path(name),
        _ => installed_path(&format!("bin/{name}")),
    }
}
