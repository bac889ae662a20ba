use super::{Proxy, ProxyServer};
use crate::harness::Upstreams;
use crate::snippet::replace_all;
use crate::support::deployment::Server;
use crate::support::{free_port, loopback};

/// The text between the address and the port of an Envoy cluster.
pub const PORT_KEY: &str = "\n                      port_value: ";

pub fn envoy(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = loopback(free_port());
    let listener = "address: '0.0.0.0'\n          port_value: 8443";
    let own = format!(
        "address: '127.0.0.1'\n          port_value: {}",
        address.port()
    );
    let mut text = replace_all(text, &[(listener, &own)]);
    for (name, port, upstream) in [
        ("nextcloud", 80, upstreams.application),
        ("authelia", 9091, upstreams.login),
        ("curfew", 9180, upstreams.check),
        ("curfew", 9183, upstreams.browser),
    ] {
        let from = format!("address: '{name}'{PORT_KEY}{port}\n");
        let to = format!(
            "address: '{}'{PORT_KEY}{}\n",
            upstream.ip(),
            upstream.port()
        );
        text = text.replace(&from, &to);
    }
    Proxy {
        address,
        server: ProxyServer::Server(Server::envoy(&text, &[address])),
    }
}
