use curfew::render::Proxy as Rendered;

use super::{IDLE, Proxy, Running, Upstreams};
use crate::support::deployed::rendered;
use crate::support::nginx::Nginx;

pub fn start(upstreams: &Upstreams) -> Proxy {
    let policy = upstreams.policy.map(|policy| {
        (
            "proxy_pass http://curfew/auth-request;",
            format!("proxy_pass http://curfew/policy/{policy}/auth-request;"),
        )
    });
    let policy: Vec<_> = policy.into_iter().collect();
    let file = upstreams.break_(&rendered(Rendered::Nginx, "curfew.conf", IDLE));
    let nginx = Nginx::of(&file, upstreams.listeners(), upstreams.application, &policy);
    Proxy {
        address: nginx.address,
        http2: nginx.http2,
        server: Running::Nginx(nginx),
    }
}
