use super::{Proxy, Running, Upstreams};
use crate::support::traefik;

pub fn start(upstreams: &Upstreams) -> Proxy {
    let path = upstreams
        .policy
        .map_or("/forward-auth".to_owned(), |policy| {
            format!("/policy/{policy}/forward-auth")
        });
    let (address, server) = traefik::start(upstreams.check, &path, upstreams.application);
    Proxy {
        address,
        http2: address,
        server: Running::Server(server),
    }
}
