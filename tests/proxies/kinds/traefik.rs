use std::net::SocketAddr;

use curfew::render::Proxy as Rendered;

use super::{Proxy, ProxyServer, Upstreams};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::deployment::{replace_once, uncomment};
use crate::support::traefik;

pub fn start(upstreams: &Upstreams) -> Proxy {
    let path = upstreams
        .policy
        .map_or("/forward-auth".to_owned(), |policy| {
            format!("/policy/{policy}/forward-auth")
        });
    let files = [
        &*upstreams.render(Rendered::Traefik, "traefik.yaml"),
        &upstreams.render(Rendered::Traefik, "curfew.yaml"),
    ];
    let mut files = upstreams.with_mistake_in_either(files);
    files[1] = uncomment(
        &files[1],
        "If Curfew asks another authorization service (`delegated`), list the cookies to return to the client.",
    )
    .replace(
        "- _oauth2_proxy\n",
        "- _oauth2_proxy\n          - _oauth2_proxy_1\n",
    );
    if let Some(public) = upstreams.public {
        files[1] = with_two_hosts(&files[1], public);
    }
    if let Some(certificates) = upstreams.certificate {
        files[0] = replace_once(
            &files[0],
            &[(
                "    address: :8080\n",
                "    address: :8080\n    http3: {}\n".to_owned(),
            )],
        );
        files[1] = files[1].replace("      service: ", "      tls: {}\n      service: ");
        files[1] += &format!(
            "\ntls:\n  stores:\n    default:\n      defaultCertificate:\n        certFile: {}\n        keyFile: {}\n",
            certificates.path_string("server.pem"),
            certificates.path_string("server.key")
        );
    }
    let (address, server) =
        traefik::start_with_files(&files, upstreams.listeners(), &path, upstreams.application);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Server(server),
    }
}

/// Returns the file with one router for each host.
fn with_two_hosts(file: &str, public: SocketAddr) -> String {
    let router = "    application:\n      rule: PathPrefix(`/`)\n      middlewares: [no-identity, curfew]\n      \
                  service: application\n";
    let host_section = |name: &str, host: &str| {
        router
            .replace("application", name)
            .replace("PathPrefix(`/`)", &format!("Host(`{host}`)"))
    };
    replace_once(
        file,
        &[
            (
                router,
                host_section("application", PRIVATE_HOST) + &host_section("public", PUBLIC_HOST),
            ),
            (
                "  services:\n",
                format!(
                    "  services:\n    public:\n      loadBalancer:\n        servers:\n          - url: http://{public}\n"
                ),
            ),
        ],
    )
}
