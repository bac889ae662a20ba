use super::{Proxy, Running, Upstreams};
use crate::support::deployed::deployed;
use crate::support::traefik;

pub fn start(upstreams: &Upstreams) -> Proxy {
    let path = upstreams
        .policy
        .map_or("/forward-auth".to_owned(), |policy| {
            format!("/policy/{policy}/forward-auth")
        });
    let files = [
        &*deployed("traefik/traefik.yaml"),
        &deployed("traefik/curfew.yaml"),
    ];
    let files = upstreams.break_either(files);
    let (address, server) =
        traefik::with(&files, upstreams.listeners(), &path, upstreams.application);
    Proxy {
        address,
        http2: address,
        server: Running::Server(server),
    }
}
