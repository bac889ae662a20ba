//! Renders proxy configurations: the files of `deploy/` with the given addresses and time limits.
//!
//! A proxy checks a stream, such as a WebSocket, only when the stream opens. Therefore a stream must not stay open for
//! longer than the idle limit. The renderer writes this limit into the configuration of every proxy that can close
//! streams.

use std::time::Duration;

/// A supported proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Proxy {
    /// NGINX with `auth_request`.
    Nginx,
    /// ingress-nginx, with annotations.
    IngressNginx,
    /// Traefik, with configuration files.
    Traefik,
    /// Caddy with `forward_auth`.
    Caddy,
    /// Envoy with `ext_authz` over HTTP.
    EnvoyHttp,
    /// Envoy with `ext_authz` over gRPC.
    EnvoyGrpc,
    /// HAProxy with SPOE.
    Haproxy,
    /// oauth2-proxy, as a sign-in service behind Curfew.
    Oauth2Proxy,
}

/// Addresses, each `host:port`.
#[derive(Clone, Debug)]
pub struct RenderAddresses {
    /// The address that the proxy listens on.
    pub listen: String,
    /// Curfew's `listen.check`.
    pub check: String,
    /// Curfew's `listen.grpc`.
    pub grpc: String,
    /// Curfew's `listen.spoe`.
    pub spoe: String,
    /// Curfew's `listen.browser`.
    pub browser: String,
    /// The address of the application.
    pub application: String,
}

/// The address that proxies listen on in the files of `deploy/`.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:8080";
/// The address of the listener `check` in the files of `deploy/`.
pub const DEFAULT_CHECK: &str = "curfew:9180";
/// The address of the listener `grpc` in the files of `deploy/`.
pub const DEFAULT_GRPC: &str = "curfew:9181";
/// The address of the listener `spoe` in the files of `deploy/`.
pub const DEFAULT_SPOE: &str = "curfew:9182";
/// The address of the listener `browser` in the files of `deploy/`.
pub const DEFAULT_BROWSER: &str = "curfew:9183";
/// The address of the application in the files of `deploy/`.
pub const DEFAULT_APPLICATION: &str = "application:3000";

impl Default for RenderAddresses {
    /// Returns the addresses in the files of `deploy/`.
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.to_owned(),
            check: DEFAULT_CHECK.to_owned(),
            grpc: DEFAULT_GRPC.to_owned(),
            spoe: DEFAULT_SPOE.to_owned(),
            browser: DEFAULT_BROWSER.to_owned(),
            application: DEFAULT_APPLICATION.to_owned(),
        }
    }
}

/// The session limits, from which the renderer computes the time limits of a proxy.
#[derive(Clone, Copy, Debug)]
pub struct RenderLimits {
    /// The idle limit; `None` if it is off.
    pub idle: Option<Duration>,
    /// The absolute limit.
    pub absolute: Duration,
}

/// A rendered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// The file name, without a directory.
    pub name: &'static str,
    /// The contents.
    pub text: String,
}

/// A file of `deploy/` is missing, or does not contain the text to replace, or contains this text more than once. Only
/// a bug causes this error. To find such bugs, a test renders the files of every proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "deploy/ does not contain this file, or the file does not contain this text exactly once: {0}"
)]
pub struct AnchorError(&'static str);

/// A function that takes the path of a file, relative to `deploy/`, and returns the text of the file; `None` if there
/// is no such file.
pub type DeployedFiles = fn(&str) -> Option<&'static str>;

/// Renders the configuration of a proxy.
///
/// # Errors
/// [`AnchorError`] if the function `deployed_file` returns other files than this version of the crate expects.
pub fn render(
    proxy: Proxy,
    addresses: &RenderAddresses,
    limits: &RenderLimits,
    deployed_file: DeployedFiles,
) -> Result<Vec<RenderedFile>, AnchorError> {
    let paths: &[&'static str] = match proxy {
        Proxy::Nginx => &["nginx/curfew.conf"],
        Proxy::IngressNginx => &["nginx/ingress.yaml"],
        Proxy::Traefik => &["traefik/traefik.yaml", "traefik/curfew.yaml"],
        Proxy::Caddy => &["caddy/Caddyfile"],
        Proxy::EnvoyHttp => &["envoy/http.yaml"],
        Proxy::EnvoyGrpc => &["envoy/grpc.yaml"],
        Proxy::Haproxy => &["haproxy/haproxy.cfg", "haproxy/curfew-spoe.conf"],
        Proxy::Oauth2Proxy => &["oauth2-proxy/oauth2-proxy.cfg"],
    };
    let files = paths.iter().map(|path| {
        let text = deployed_file(path).ok_or(AnchorError(path))?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let text = set_time_limits(proxy, name, text, limits)?;
        let text = set_addresses(proxy, &text, addresses);
        Ok(RenderedFile { name, text })
    });
    files.collect()
}

/// Writes the time limits into a file.
fn set_time_limits(
    proxy: Proxy,
    name: &str,
    text: &str,
    limits: &RenderLimits,
) -> Result<String, AnchorError> {
    let absolute = limits.absolute.as_secs();
    // Without an idle limit, a stream may last as long as the absolute limit.
    let stream = limits.idle.unwrap_or(limits.absolute).as_secs().max(1);
    let changes: Vec<(&'static str, String)> = match (proxy, name) {
        (Proxy::Nginx, _) => {
            const ANCHOR: &str = "        proxy_pass http://application;\n        proxy_http_version 1.1;\n        proxy_set_header Host $host$request_port;\n        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n";
            let replacement = format!(
                "{ANCHOR}\n        # Curfew checks a stream only once. Close a stream that has no data for the idle limit.\n        \
                 proxy_read_timeout {stream}s;\n        proxy_send_timeout {stream}s;\n\n"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::Oauth2Proxy, _) => {
            const ANCHOR: &str = "cookie_expire = \"12h\"";
            vec![(ANCHOR, format!("cookie_expire = \"{absolute}s\""))]
        }
        (Proxy::IngressNginx, _) => {
            const ANCHOR: &str = "    # Return the cookie of a delegated service to the client, even if the application answers with an error.\n";
            let replacement = format!(
                "    # Curfew checks a stream only once. Close a stream that has no data for the idle limit.\n    \
                 nginx.ingress.kubernetes.io/proxy-read-timeout: \"{stream}\"\n    \
                 nginx.ingress.kubernetes.io/proxy-send-timeout: \"{stream}\"\n{ANCHOR}"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::Caddy, _) => {
            const ANCHOR: &str = "\t\t\timport curfew\n\t\t\treverse_proxy application:3000\n";
            let replacement = format!(
                "\t\t\timport curfew\n\t\t\treverse_proxy application:3000 {{\n\t\t\t\t# Curfew checks a WebSocket only once, \
                 so close it after the idle limit.\n\t\t\t\tstream_timeout {stream}s\n\t\t\t}}\n"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::EnvoyHttp | Proxy::EnvoyGrpc, _) => {
            const WEB_SOCKET_ANCHOR: &str = "exact: websocket, ignore_case: true } }] }\n                          \
                 route: { cluster: application, timeout: 0s, max_stream_duration: { grpc_timeout_header_max: 0s } }\n";
            const EVENT_STREAM_ANCHOR: &str = "contains: text/event-stream, ignore_case: true } }] }\n                          \
                 route: { cluster: application, timeout: 0s, max_stream_duration: { grpc_timeout_header_max: 0s } }\n";
            // The limits are only on the routes of streams, so they cut no download and no upload.
            [WEB_SOCKET_ANCHOR, EVENT_STREAM_ANCHOR]
                .map(|anchor| {
                    let (before, _) = anchor.split_once(", max_stream_duration").unwrap_or((anchor, ""));
                    let comment = "                          # Curfew checks a stream only once, so close it after the idle limit.\n";
                    let (condition, route) = before.split_once('\n').unwrap_or((before, ""));
                    let replacement = format!(
                        "{condition}\n{comment}{route}, idle_timeout: {stream}s, max_stream_duration: {{ \
                         max_stream_duration: {stream}s, grpc_timeout_header_max: 0s }} }}\n"
                    );
                    (anchor, replacement)
                })
                .to_vec()
        }
        (Proxy::Haproxy, "haproxy.cfg") => {
            const ANCHOR: &str = "    timeout tunnel 1h\n";
            let replacement = format!(
                "    # Curfew checks a WebSocket only once. Close a WebSocket that has no data for the idle limit.\n    \
                 timeout tunnel {stream}s\n"
            );
            vec![(ANCHOR, replacement)]
        }
        // Traefik cannot close streams, and HAProxy's second file, curfew-spoe.conf, has no timeout for streams.
        (Proxy::Haproxy | Proxy::Traefik, _) => Vec::new(),
    };
    let mut text = text.to_owned();
    for (anchor, replacement) in changes {
        if text.matches(anchor).count() != 1 {
            return Err(AnchorError(anchor));
        }
        text = text.replace(anchor, &replacement);
    }
    Ok(text)
}

/// Writes the addresses into a file.
fn set_addresses(proxy: Proxy, text: &str, addresses: &RenderAddresses) -> String {
    let pairs = [
        (DEFAULT_CHECK, &*addresses.check),
        (DEFAULT_GRPC, &*addresses.grpc),
        (DEFAULT_SPOE, &*addresses.spoe),
        (DEFAULT_BROWSER, &*addresses.browser),
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
        Proxy::IngressNginx | Proxy::Oauth2Proxy => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn deployed_file(path: &str) -> Option<&'static str> {
        Some(match path {
            "nginx/curfew.conf" => include_str!("../../../deploy/nginx/curfew.conf"),
            "nginx/ingress.yaml" => include_str!("../../../deploy/nginx/ingress.yaml"),
            "traefik/traefik.yaml" => include_str!("../../../deploy/traefik/traefik.yaml"),
            "traefik/curfew.yaml" => include_str!("../../../deploy/traefik/curfew.yaml"),
            "caddy/Caddyfile" => include_str!("../../../deploy/caddy/Caddyfile"),
            "envoy/http.yaml" => include_str!("../../../deploy/envoy/http.yaml"),
            "envoy/grpc.yaml" => include_str!("../../../deploy/envoy/grpc.yaml"),
            "haproxy/haproxy.cfg" => include_str!("../../../deploy/haproxy/haproxy.cfg"),
            "haproxy/curfew-spoe.conf" => include_str!("../../../deploy/haproxy/curfew-spoe.conf"),
            "oauth2-proxy/oauth2-proxy.cfg" => {
                include_str!("../../../deploy/oauth2-proxy/oauth2-proxy.cfg")
            }
            _ => return None,
        })
    }

    const LIMITS: RenderLimits = RenderLimits {
        idle: Some(Duration::from_secs(300)),
        absolute: Duration::from_secs(3600),
    };

    fn addresses() -> RenderAddresses {
        let address = |text: &str| text.to_owned();
        RenderAddresses {
            listen: address("127.0.0.2:80"),
            check: address("guard:1"),
            grpc: address("guard:2"),
            spoe: address("guard:3"),
            browser: address("guard:5"),
            application: address("shop:4"),
        }
    }

    #[test]
    fn renders_every_proxy_and_replaces_every_address() {
        for proxy in Proxy::value_variants() {
            let files = render(*proxy, &addresses(), &LIMITS, deployed_file).unwrap();
            for RenderedFile { name, text } in &files {
                let lines = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with('#'));
                for line in lines {
                    for address in [
                        DEFAULT_CHECK,
                        DEFAULT_GRPC,
                        DEFAULT_SPOE,
                        DEFAULT_BROWSER,
                        DEFAULT_APPLICATION,
                        "address: curfew",
                    ] {
                        assert!(!line.contains(address), "{proxy:?} {name}: {line}");
                    }
                    for port in ["9180", "9181", "9182", "9183", "3000", "8080"] {
                        // In the manifests of ingress-nginx, the ports belong to the Service, so the default ports
                        // may remain.
                        let is_manifest = *proxy == Proxy::IngressNginx;
                        assert!(is_manifest || !line.contains(port), "{name}: {line}");
                    }
                }
            }
            // The configuration of every proxy except Traefik contains a time limit.
            let all_text: String = files.iter().map(|file| &*file.text).collect();
            let has_limit = all_text.contains("300") || all_text.contains("3600s");
            assert_eq!(has_limit, *proxy != Proxy::Traefik, "{proxy:?}");
            let has_listen_address = all_text.contains("127.0.0.2");
            let has_no_listener = matches!(proxy, Proxy::IngressNginx | Proxy::Oauth2Proxy);
            assert_eq!(has_listen_address, !has_no_listener, "{proxy:?}");
        }
    }

    #[test]
    fn rendered_files_have_no_lint_errors() {
        let limits = crate::lint::LintLimits {
            idle: LIMITS.idle,
            absolute: LIMITS.absolute,
            touch_interval: Duration::from_secs(5),
        };
        for proxy in Proxy::value_variants() {
            for file in render(*proxy, &addresses(), &LIMITS, deployed_file).unwrap() {
                if matches!(proxy, Proxy::Caddy | Proxy::Haproxy) {
                    continue;
                }
                let findings = crate::lint::lint(&file.text, &limits);
                let findings = findings.unwrap_or_else(|error| panic!("{}: {error}", file.name));
                let is_error =
                    |it: &&crate::lint::Finding| it.severity == crate::lint::Severity::Error;
                assert_eq!(findings.iter().find(is_error), None, "{}", file.name);
            }
        }
    }
}
