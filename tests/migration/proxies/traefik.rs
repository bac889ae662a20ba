use std::process::Command;

use super::{Proxy, replace_addresses};
use crate::harness::Upstreams;
use crate::support::deployment::installed_path;
use crate::support::{free_port, loopback};

/// Starts Traefik with the snippet as a dynamic configuration file. A comment in a snippet may require a setting of the
/// static configuration, which this function then adds.
pub fn traefik(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = loopback(free_port());
    let alias = match text.contains("aliasHeadersStrategy: delete") {
        true => "    http:\n      aliasHeadersStrategy: delete\n",
        false => "",
    };
    let static_configuration = format!(
        "entryPoints:\n  websecure:\n    address: {address}\n{alias}\
         providers:\n  file:\n    filename: dynamic.yaml\n"
    );
    let service = format!(
        "  services:\n    nextcloud-net:\n      loadBalancer:\n        servers:\n          - url: http://{}\n",
        upstreams.application
    );
    let dynamic_configuration = replace_addresses(&without_tls(text), upstreams)
        .replace("'nextcloud-net@docker'", "nextcloud-net")
        .replacen("  services:\n", &service, 1);
    Proxy::start(
        address,
        Command::new(installed_path("bin/traefik")).arg("--configFile=traefik.yaml"),
        &[
            ("traefik.yaml", &static_configuration),
            ("dynamic.yaml", &dynamic_configuration),
        ],
    )
}

/// Returns the file without `tls`, and without the certificates of servers behind Traefik.
fn without_tls(text: &str) -> String {
    let mut tls_depth: Option<usize> = None;
    let kept_lines = text.lines().filter(|line| {
        let key = line.trim_start();
        let depth = line.len() - key.len();
        if tls_depth.is_some_and(|outer| depth > outer) {
            return false;
        }
        let is_tls = ["tls:", "serversTransports:"].contains(&key);
        tls_depth = is_tls.then_some(depth);
        !is_tls && !key.starts_with("serversTransport:")
    });
    kept_lines.map(|line| format!("{line}\n")).collect()
}
