use std::net::SocketAddr;
use std::process::Command;

use curfew::render::Proxy as Rendered;

use super::{IDLE, Proxy, Running, Upstreams};
use crate::router::{PRIVATE, PUBLIC};
use crate::support::deployed::{Server, changed, in_envoy, installed, rendered, uncommented};
use crate::support::{free_port, local};

pub fn start_http(upstreams: &Upstreams) -> Proxy {
    let mut replaced = vec![
        (
            "uri: http://curfew:9180",
            format!("uri: http://{}", upstreams.check),
        ),
        (
            "address: curfew, port_value: 9180",
            in_envoy(upstreams.check),
        ),
        (
            "address: curfew, port_value: 9183",
            in_envoy(upstreams.browser),
        ),
    ];
    if let Some(policy) = upstreams.policy {
        replaced.push((
            "path_prefix: /ext-authz",
            format!("path_prefix: /policy/{policy}/ext-authz"),
        ));
    }
    let text = upstreams.break_(&rendered(Rendered::EnvoyHttp, "http.yaml", IDLE));
    start(&changed(&text, &replaced), upstreams)
}

pub fn start_grpc(upstreams: &Upstreams) -> Proxy {
    let mut text = upstreams.break_(&rendered(Rendered::EnvoyGrpc, "grpc.yaml", IDLE));
    if let Some(policy) = upstreams.policy {
        text = uncommented(&text, "For another policy:")
            .replace("{ policy: payments }", &format!("{{ policy: {policy} }}"));
    }
    let replaced = [
        (
            "address: curfew, port_value: 9181",
            in_envoy(upstreams.grpc),
        ),
        (
            "address: curfew, port_value: 9183",
            in_envoy(upstreams.browser),
        ),
    ];
    start(&changed(&text, &replaced), upstreams)
}

fn start(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = local(free_port());
    let text = match upstreams.public {
        None => text.to_owned(),
        Some(public) => two_hosts(text, public),
    };
    let text = changed(
        &text,
        &[
            ("address: 0.0.0.0, port_value: 8080", in_envoy(address)),
            (
                "address: application, port_value: 3000",
                in_envoy(upstreams.application),
            ),
        ],
    );
    let program = installed("envoy");
    let server = Server::start(
        Command::new(program).args([
            "--config-path",
            "envoy.yaml",
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
        ]),
        &[("envoy.yaml", &text)],
        &[address],
    );
    Proxy {
        address,
        http2: address,
        server: Running::Server(server),
    }
}

/// A virtual host for each.
fn two_hosts(text: &str, public: SocketAddr) -> String {
    let start = text
        .find("                    - name: application\n")
        .unwrap();
    let end = text.find("\n  clusters:\n").unwrap();
    let of = |name: &str, host: &str| {
        text[start..end]
            .replace("name: application", &format!("name: {name}"))
            .replace("cluster: application", &format!("cluster: {name}"))
            .replace("[\"*\"]", &format!("[\"{host}\", \"{host}:*\"]"))
    };
    let clusters = text[end..].to_owned();
    let start_of_own = clusters.find("    - name: application\n").unwrap();
    let of_the_public = clusters[start_of_own..]
        .replace("name: application", "name: public")
        .replace("address: application, port_value: 3000", &in_envoy(public));
    let hosts = [of("application", PRIVATE), of("public", PUBLIC)].concat();
    format!("{}{hosts}{clusters}\n{of_the_public}", &text[..start])
}
