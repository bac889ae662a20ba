use std::path::Path;
use std::process::Command;

use super::{Proxy, replace_addresses};
use crate::harness::Upstreams;
use crate::snippet::replace_all;
use crate::support::deployment::installed_path;
use crate::support::{free_port, loopback};

/// Starts HAProxy 2.6, the version of Debian.
pub fn haproxy_2_6(text: &str, upstreams: &Upstreams) -> Proxy {
    haproxy(Path::new("haproxy"), text, upstreams)
}

/// Starts HAProxy 2.8, which `scripts/test.sh` installs.
pub fn haproxy_2_8(text: &str, upstreams: &Upstreams) -> Proxy {
    haproxy(&installed_path("haproxy"), text, upstreams)
}

/// Starts HAProxy with the script of haproxy-ingress. The script's action `auth-intercept` is the same as in
/// haproxy-auth-request.
fn haproxy(program: &Path, text: &str, upstreams: &Upstreams) -> Proxy {
    let address = loopback(free_port());
    let folder = installed_path("haproxy-ingress");
    let lua = folder.to_str().unwrap();
    let text = replace_all(
        &replace_addresses(text, upstreams),
        &[
            ("*:443 ssl crt example.com.pem", &address.to_string()),
            ("/usr/local/etc/haproxy/?/http.lua", &format!("{lua}/?.lua")),
            (
                "/usr/local/etc/haproxy/auth-request.lua",
                &format!("{lua}/auth-request.lua"),
            ),
        ],
    );
    Proxy::start(
        address,
        Command::new(program).args(["-db", "-f", "haproxy.cfg"]),
        &[("haproxy.cfg", &text)],
    )
}
