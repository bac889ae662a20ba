//! Runs a real Traefik with the configuration files that users copy.

use std::net::SocketAddr;
use std::process::Command;

use super::deployment::{Server, installed_path, read_deploy_file, replace_once};
use super::{Listeners, free_port, loopback};

/// Starts Traefik with the files of `deploy/traefik`, in which only the addresses and the path of the check are
/// changed. `path` is the new path of the check.
pub fn start(curfew: Listeners, path: &str, application: SocketAddr) -> (SocketAddr, Server) {
    let files =
        ["traefik.yaml", "curfew.yaml"].map(|name| read_deploy_file(&format!("traefik/{name}")));
    start_with_files(&files, curfew, path, application)
}

/// Like [`start`], with other texts for the static and the dynamic configuration.
pub fn start_with_files(
    [static_configuration, dynamic_configuration]: &[String; 2],
    curfew: Listeners,
    path: &str,
    application: SocketAddr,
) -> (SocketAddr, Server) {
    let address = loopback(free_port());
    let static_configuration = replace_once(
        static_configuration,
        &[("address: :8080", format!("address: {address}"))],
    );
    let dynamic_configuration = replace_once(
        dynamic_configuration,
        &[
            (
                "://curfew:9180/forward-auth",
                format!("://{}{path}", curfew.check),
            ),
            ("://curfew:9183", format!("://{}", curfew.browser)),
            ("application:3000", application.to_string()),
        ],
    );
    let server = Server::start(
        Command::new(installed_path("bin/traefik")).arg("--configFile=traefik.yaml"),
        &[
            ("traefik.yaml", &static_configuration),
            ("curfew.yaml", &dynamic_configuration),
        ],
        &[address],
    );
    (address, server)
}
