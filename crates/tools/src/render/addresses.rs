//! The addresses in the files of `deploy/`.

use super::{
    AnchorError, DEFAULT_APPLICATION, DEFAULT_BROWSER, DEFAULT_CHECK, DEFAULT_GRPC, DEFAULT_LISTEN,
    DEFAULT_PROXY, DEFAULT_SPOE, Proxy, RenderAddresses,
};

/// Replaces a text that must occur exactly `count` times.
pub(super) fn replace_exactly(
    text: &str,
    anchor: &'static str,
    replacement: &str,
    count: usize,
) -> Result<String, AnchorError> {
    if text.matches(anchor).count() != count {
        return Err(AnchorError(anchor));
    }
    Ok(text.replace(anchor, replacement))
}

/// Writes the addresses into a file.
pub(super) fn set_addresses(proxy: Proxy, text: &str, addresses: &RenderAddresses) -> String {
    let pairs = [
        (DEFAULT_CHECK, &*addresses.check),
        (DEFAULT_GRPC, &*addresses.grpc),
        (DEFAULT_SPOE, &*addresses.spoe),
        (DEFAULT_BROWSER, &*addresses.browser),
        (
            DEFAULT_PROXY,
            addresses.streams.as_deref().unwrap_or(DEFAULT_PROXY),
        ),
        (DEFAULT_APPLICATION, &*addresses.application),
    ];
    let mut text = text.to_owned();
    for (from, to) in pairs {
        text = match proxy {
            Proxy::EnvoyHttp | Proxy::EnvoyGrpc => replace_envoy_address(&text, from, to),
            _ => text.replace(from, to),
        };
    }
    if addresses.listen != DEFAULT_LISTEN {
        text = set_listen_address(proxy, &text, &addresses.listen);
    }
    if proxy == Proxy::IngressNginx && addresses.check != DEFAULT_CHECK {
        text = text.replace("curfew.curfew.svc.cluster.local:9180", &addresses.check);
    }
    if let (Proxy::IngressNginx, Some(streams)) = (proxy, &addresses.streams)
        && streams != DEFAULT_PROXY
    {
        let (host, port) = streams.rsplit_once(':').unwrap_or((streams, "9184"));
        let name = "externalName: curfew.curfew.svc.cluster.local";
        text = text.replace(name, &format!("externalName: {host}"));
        text = text.replace(": 9184\n", &format!(": {port}\n"));
    }
    text
}

/// Replaces an address in Envoy's configuration, where the host and the port are in separate keys.
fn replace_envoy_address(text: &str, from: &str, to: &str) -> String {
    let envoy_form = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let host = host.trim_matches(['[', ']']);
        format!("address: {host}, port_value: {port} ")
    };
    text.replace(&envoy_form(from), &envoy_form(to))
        // The configuration for HTTP also contains the address in a URL.
        .replace(&format!("http://{from}\n"), &format!("http://{to}\n"))
}

/// Replaces the listening address, in the syntax of each proxy.
fn set_listen_address(proxy: Proxy, text: &str, listen: &str) -> String {
    let (host, port) = listen.rsplit_once(':').unwrap_or(("0.0.0.0", listen));
    match proxy {
        Proxy::Nginx => text.replace("listen 8080;", &format!("listen {listen};")),
        Proxy::Traefik => text.replace("address: :8080\n", &format!("address: {listen}\n")),
        Proxy::Caddy => text.replace("\n:8080 {\n", &format!("\n:{port} {{\n\tbind {host}\n\n")),
        Proxy::EnvoyHttp | Proxy::EnvoyGrpc => replace_envoy_address(text, DEFAULT_LISTEN, listen),
        Proxy::Haproxy => text.replace("bind :8080\n", &format!("bind {listen}\n")),
        // These files contain no listening address.
        _ => text.to_owned(),
    }
}
