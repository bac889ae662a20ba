use std::process::Command;

use curfew::render::Proxy as Rendered;

use super::{Proxy, ProxyServer, Upstreams};
use crate::router::PUBLIC_HOST;
use crate::support::deployment::{Server, installed_path, replace_once};
use crate::support::{free_port, loopback};

pub fn start(upstreams: &Upstreams) -> Proxy {
    let address = loopback(free_port());
    let file = upstreams
        .with_mistake(&upstreams.render(Rendered::Caddy, "Caddyfile"))
        .replace("application:3000", &upstreams.application.to_string());
    let file = match upstreams.public {
        None => file,
        // Caddy uses the first `handle` that matches, so the new `handle` comes first.
        Some(public) => replace_once(
            &file,
            &[(
                "\t\thandle {\n\t\t\timport curfew\n",
                format!(
                    "\t\t@public host {PUBLIC_HOST}\n\t\thandle @public {{\n\t\t\timport curfew\n\t\t\t\
                     reverse_proxy {public}\n\t\t}}\n\n\t\thandle {{\n\t\t\timport curfew\n"
                ),
            )],
        ),
    };
    let mut replacements = vec![
        // Turns off the admin listener, because several proxies run at the same time. Turns on HTTP/2 without TLS.
        (
            "\tservers {",
            match upstreams.certificate {
                None => "\tadmin off\n\tservers {\n\t\tprotocols h1 h2c".to_owned(),
                Some(_) => "\tadmin off\n\tauto_https off\n\tfallback_sni 127.0.0.1\n\tservers {"
                    .to_owned(),
            },
        ),
        (
            ":8080 {",
            match upstreams.certificate {
                None => format!(":{} {{\n\tbind 127.0.0.1", address.port()),
                Some(certificates) => format!(
                    "https://:{} {{\n\tbind 127.0.0.1\n\ttls {} {}",
                    address.port(),
                    certificates.path_string("server.pem"),
                    certificates.path_string("server.key")
                ),
            },
        ),
        (
            "forward_auth curfew:9180",
            format!("forward_auth {}", upstreams.check),
        ),
        (
            "reverse_proxy curfew:9183",
            format!("reverse_proxy {}", upstreams.browser),
        ),
    ];
    if let Some(policy) = upstreams.policy {
        replacements.push((
            "uri /forward-auth",
            format!("uri /policy/{policy}/forward-auth"),
        ));
    }
    let file = replace_once(&file, &replacements);
    let server = Server::start(
        Command::new(installed_path("bin/caddy")).args(["run", "--config", "Caddyfile"]),
        &[("Caddyfile", &file)],
        &[address],
    );
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Server(server),
    }
}
