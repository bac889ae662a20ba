//! Runs a real Traefik with the configuration files that users copy.

use std::net::SocketAddr;
use std::process::Command;

use super::deployed::{Server, changed, deployed, installed};
use super::{Listeners, free_port, local};

/// Starts Traefik with the files of `deploy/traefik`, in which only the addresses and the path of the check are
/// changed. `path` is the new path of the check.
pub fn start(curfew: Listeners, path: &str, application: SocketAddr) -> (SocketAddr, Server) {
    let files = ["traefik.yaml", "curfew.yaml"].map(|name| deployed(&format!("traefik/{name}")));
    with(&files, curfew, path, application)
}

/// Like [`start`], with other texts for the static and the dynamic configuration.
pub fn with(
    [own, dynamic]: &[String; 2],
    curfew: Listeners,
    path: &str,
    application: SocketAddr,
) -> (SocketAddr, Server) {
    let address = local(free_port());
    let own = changed(own, &[("address: :8080", format!("address: {address}"))]);
    let dynamic = changed(
        dynamic,
        &[
            (
                "address: http://curfew:9180/forward-auth",
                format!("address: http://{}{path}", curfew.check),
            ),
            (
                "url: http://curfew:9183",
                format!("url: http://{}", curfew.browser),
            ),
            ("application:3000", application.to_string()),
        ],
    );
    let server = Server::start(
        Command::new(installed("bin/traefik")).arg("--configFile=traefik.yaml"),
        &[("traefik.yaml", &own), ("curfew.yaml", &dynamic)],
        &[address],
    );
    (address, server)
}
