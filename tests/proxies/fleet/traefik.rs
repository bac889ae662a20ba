use std::process::Command;

use super::{Proxy, Running, Upstreams};
use crate::support::deployed::{Server, changed, deployed, installed};
use crate::support::{free_port, local};

pub fn start(upstreams: &Upstreams) -> Proxy {
    let address = local(free_port());
    let own = changed(
        &deployed("traefik/traefik.yaml"),
        &[("127.0.0.1:8080", address.to_string())],
    );
    let path = upstreams
        .policy
        .map_or("/forward-auth".to_owned(), |policy| {
            format!("/policy/{policy}/forward-auth")
        });
    let dynamic = changed(
        &deployed("traefik/curfew.yaml"),
        &[
            (
                "address: http://127.0.0.1:9180/forward-auth",
                format!("address: http://{}{path}", upstreams.check),
            ),
            (
                "url: http://127.0.0.1:9180",
                format!("url: http://{}", upstreams.check),
            ),
            ("127.0.0.1:3000", upstreams.application.to_string()),
        ],
    );
    let server = Server::start(
        Command::new(installed("bin/traefik")).arg("--configFile=traefik.yaml"),
        &[("traefik.yaml", &own), ("curfew.yaml", &dynamic)],
        &[address],
    );
    Proxy {
        address,
        http2: address,
        server: Running::Server(server),
    }
}
