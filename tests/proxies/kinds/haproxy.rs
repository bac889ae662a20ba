use std::path::Path;
use std::process::Command;

use curfew::render::Proxy as Rendered;

use super::{HOST, Proxy, ProxyServer, Upstreams};
use crate::router::PUBLIC_HOST;
use crate::support::deployment::{
    Server, installed_path, read_deploy_file, replace_once, uncomment,
};
use crate::support::{free_port, loopback};

/// Starts HAProxy 2.6, the version of Debian.
pub fn start_2_6(upstreams: &Upstreams) -> Proxy {
    start(Path::new("haproxy"), upstreams)
}

/// Starts HAProxy 2.8, which `scripts/test.sh` installs.
pub fn start_2_8(upstreams: &Upstreams) -> Proxy {
    start(&installed_path("haproxy"), upstreams)
}

fn start(program: &Path, upstreams: &Upstreams) -> Proxy {
    let address = loopback(free_port());
    let mut text = upstreams.with_mistake(&upstreams.render(Rendered::Haproxy, "haproxy.cfg"));
    if let Some(policy) = upstreams.policy {
        text = uncomment(&text, "For another policy:")
            .replace("str(payments)", &format!("str({policy})"))
            .replace("payments.example.com", HOST);
    }
    if let Some(public) = upstreams.public {
        text = replace_once(
            &text,
            &[(
                "    default_backend application\n",
                format!(
                    "    use_backend public if {{ req.hdr(host),host_only -i {PUBLIC_HOST} }}\n    \
                     default_backend application\n\nbackend public\n    server public {public}\n"
                ),
            )],
        );
    }
    let text = replace_once(
        &text,
        &[
            ("bind :8080", format!("bind {address}")),
            ("curfew:9183", upstreams.browser.to_string()),
            ("curfew:9182", upstreams.spoe.to_string()),
            ("application:3000", upstreams.application.to_string()),
        ],
    );
    let server = Server::start(
        Command::new(program).args(["-db", "-f", "haproxy.cfg"]),
        &[
            ("haproxy.cfg", &text),
            (
                "curfew-spoe.conf",
                &read_deploy_file("haproxy/curfew-spoe.conf"),
            ),
        ],
        &[address],
    );
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Server(server),
    }
}
