use std::net::SocketAddr;

use curfew::render::Proxy as Rendered;

use super::{Proxy, ProxyServer, Upstreams};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::nginx::Nginx;

pub fn start(upstreams: &Upstreams) -> Proxy {
    let policy = upstreams.policy.map(|policy| {
        (
            "proxy_pass http://curfew/auth-request;",
            format!("proxy_pass http://curfew/policy/{policy}/auth-request;"),
        )
    });
    let policy: Vec<_> = policy.into_iter().collect();
    let mut file = upstreams.with_mistake(&upstreams.render(Rendered::Nginx, "curfew.conf"));
    if let Some(public) = upstreams.public {
        file = with_two_hosts(&file, public);
    }
    let nginx =
        Nginx::start_with_file(&file, upstreams.listeners(), upstreams.application, &policy);
    Proxy {
        address: nginx.address,
        http2: nginx.http2,
        server: ProxyServer::Nginx(nginx),
    }
}

/// Returns the file with two `server` blocks, each with its own name and application.
fn with_two_hosts(file: &str, public: SocketAddr) -> String {
    let (http, server) = file.split_once("\nserver {\n").unwrap();
    let server = |name: &str, application: &str| {
        let server = server.replace(
            "server_name app.example.com;",
            &format!("server_name {name};"),
        );
        server.replace("http://application", &format!("http://{application}"))
    };
    format!(
        "{http}\nupstream application_public {{\n    server {public};\n}}\n\nserver {{\n{}\nserver {{\n{}",
        server(PRIVATE_HOST, "application"),
        server(PUBLIC_HOST, "application_public"),
    )
}
