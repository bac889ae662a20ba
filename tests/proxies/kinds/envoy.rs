use std::net::SocketAddr;

use curfew::render::Proxy as Rendered;

use super::{Proxy, ProxyServer, Upstreams};
use crate::router::{PRIVATE_HOST, PUBLIC_HOST};
use crate::support::deployment::{Server, envoy_address, replace_once, uncomment};
use crate::support::tls::Certificates;
use crate::support::{free_port, loopback};

pub fn start_http(upstreams: &Upstreams) -> Proxy {
    let mut replacements = vec![
        (
            "uri: http://curfew:9180",
            format!("uri: http://{}", upstreams.check),
        ),
        (
            "address: curfew, port_value: 9180",
            envoy_address(upstreams.check),
        ),
        (
            "address: curfew, port_value: 9183",
            envoy_address(upstreams.browser),
        ),
    ];
    if let Some(policy) = upstreams.policy {
        replacements.push((
            "path_prefix: /ext-authz",
            format!("path_prefix: /policy/{policy}/ext-authz"),
        ));
    }
    let text = upstreams.with_mistake(&upstreams.render(Rendered::EnvoyHttp, "http.yaml"));
    start(&replace_once(&text, &replacements), upstreams)
}

pub fn start_grpc(upstreams: &Upstreams) -> Proxy {
    let mut text = upstreams.with_mistake(&upstreams.render(Rendered::EnvoyGrpc, "grpc.yaml"));
    if let Some(policy) = upstreams.policy {
        text = uncomment(&text, "For another policy:")
            .replace("{ policy: payments }", &format!("{{ policy: {policy} }}"));
    }
    let replacements = [
        (
            "address: curfew, port_value: 9181",
            envoy_address(upstreams.grpc),
        ),
        (
            "address: curfew, port_value: 9183",
            envoy_address(upstreams.browser),
        ),
    ];
    start(&replace_once(&text, &replacements), upstreams)
}

fn start(text: &str, upstreams: &Upstreams) -> Proxy {
    let address = loopback(free_port());
    let text = match upstreams.public {
        None => text.to_owned(),
        Some(public) => with_two_hosts(text, public),
    };
    let (text, tcp) = match upstreams.certificate {
        None => (text, &[address][..]),
        Some(certificates) => (with_http_3(&text, certificates), &[][..]),
    };
    let text = replace_once(
        &text,
        &[
            ("address: 0.0.0.0, port_value: 8080", envoy_address(address)),
            (
                "address: application, port_value: 3000",
                envoy_address(upstreams.application),
            ),
        ],
    );
    let server = Server::envoy(&text, tcp);
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Server(server),
    }
}

/// Returns the configuration with the listener changed to HTTP/3.
fn with_http_3(text: &str, certificates: &Certificates) -> String {
    let filters = "      filter_chains:\n        - filters:\n";
    let quic = format!(
        "      udp_listener_config: {{ quic_options: {{}} }}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.quic
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport
              downstream_tls_context:
                common_tls_context:
                  tls_certificates:
                    - certificate_chain: {{ filename: {} }}
                      private_key: {{ filename: {} }}
          filters:
",
        certificates.path_string("server.pem"),
        certificates.path_string("server.key")
    );
    let prefix = "                stat_prefix: web\n";
    let codec = format!("{prefix}                codec_type: HTTP3\n");
    let address = "socket_address: { address: 0.0.0.0";
    let udp = "socket_address: { protocol: UDP, address: 0.0.0.0".to_owned();
    replace_once(text, &[(filters, quic), (prefix, codec), (address, udp)])
}

/// Returns the configuration with one virtual host for each application.
fn with_two_hosts(text: &str, public: SocketAddr) -> String {
    let start = text
        .find("                    - name: application\n")
        .unwrap();
    let end = text.find("\n  clusters:\n").unwrap();
    let host_section = |name: &str, host: &str| {
        text[start..end]
            .replace("name: application", &format!("name: {name}"))
            .replace("cluster: application", &format!("cluster: {name}"))
            .replace("[\"*\"]", &format!("[\"{host}\", \"{host}:*\"]"))
    };
    let clusters = text[end..].to_owned();
    let application_cluster_start = clusters.find("    - name: application\n").unwrap();
    let public_cluster = clusters[application_cluster_start..]
        .replace("name: application", "name: public")
        .replace(
            "address: application, port_value: 3000",
            &envoy_address(public),
        );
    let hosts = [
        host_section("application", PRIVATE_HOST),
        host_section("public", PUBLIC_HOST),
    ]
    .concat();
    format!("{}{hosts}{clusters}\n{public_cluster}", &text[..start])
}
