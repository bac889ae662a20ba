//! ingress-nginx: NGINX with the directives that the controller renders for `deploy/nginx/ingress.yaml`.

use super::{Proxy, ProxyServer, Upstreams};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::ingress_nginx::{Host, annotation, start as render};

/// The host whose Ingress has the optional annotation `auth-signin`.
pub const REDIRECTING_HOST: &str = "redirected.example.com";

/// Starts NGINX. With [`Upstreams::streams`], the service of the Ingress is Curfew's proxy listener.
pub fn start(upstreams: &Upstreams) -> Proxy {
    let host = |name, sign_in| Host {
        name,
        application: upstreams.streams.unwrap_or(upstreams.application),
        sign_in,
    };
    let mut hosts = vec![
        host("_", None),
        host(REDIRECTING_HOST, Some(annotation("auth-signin"))),
    ];
    if let Some(application) = upstreams.public {
        let public_host = Host {
            name: PUBLIC_HOST,
            application,
            sign_in: None,
        };
        hosts = vec![host(PRIVATE_HOST, None), public_host];
    }
    let curfew = upstreams.listeners();
    let nginx = render(curfew, upstreams.policy, &hosts, |template| {
        upstreams.with_mistake(template)
    });
    Proxy {
        address: nginx.address,
        http2: nginx.http2,
        server: ProxyServer::Nginx(nginx),
    }
}
