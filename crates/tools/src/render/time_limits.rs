//! The time limits of a proxy.

use std::fmt::Write as _;
use std::time::Duration;

use super::addresses::replace_exactly;
use super::{AnchorError, Proxy, RenderLimits};

/// Writes the time limits into a file.
pub(super) fn set_time_limits(
    proxy: Proxy,
    name: &str,
    text: &str,
    limits: &RenderLimits,
) -> Result<String, AnchorError> {
    let absolute = limits.absolute.as_secs();
    // Without an idle limit, a stream may last as long as the absolute limit.
    let stream = limits.idle.unwrap_or(limits.absolute).as_secs().max(1);
    let comment =
        "Curfew checks a stream only once. Close a stream that has no data for the idle limit.";
    let changes: Vec<(&'static str, String)> = match (proxy, name) {
        (Proxy::Nginx, "curfew.conf") => {
            const ANCHOR: &str = "        proxy_pass http://application;\n        proxy_http_version 1.1;\n        proxy_set_header Host $host$request_port;\n        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n";
            let replacement = format!(
                "{ANCHOR}\n        # {comment}\n        \
                 proxy_read_timeout {stream}s;\n        proxy_send_timeout {stream}s;\n\n"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::Oauth2Proxy, _) => {
            const ANCHOR: &str = "cookie_expire = \"12h\"";
            vec![(ANCHOR, format!("cookie_expire = \"{absolute}s\""))]
        }
        (Proxy::IngressNginx, "ingress.yaml") => {
            const ANCHOR: &str = "    # Return the cookie of a delegated service to the client, even if the application answers with an error.\n";
            let replacement = format!(
                "    # {comment}\n    \
                 nginx.ingress.kubernetes.io/proxy-read-timeout: \"{stream}\"\n    \
                 nginx.ingress.kubernetes.io/proxy-send-timeout: \"{stream}\"\n{ANCHOR}"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::Caddy, _) => {
            const ANCHOR: &str = "\n\t\t\treverse_proxy application:3000\n\t\t}\n\t}\n";
            let replacement = format!(
                "\n\t\t\treverse_proxy application:3000 {{\n\t\t\t\t# Curfew checks a WebSocket only once, \
                 so close it after the idle limit.\n\t\t\t\tstream_timeout {stream}s\n\t\t\t}}\n\t\t}}\n\t}}\n"
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
                "    # {comment}\n    \
                 timeout tunnel {stream}s\n"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::IngressNginxGlobal, _) => {
            const ANCHOR: &str = "  # The identity of a person in many groups needs a larger buffer than the default of 4k.\n";
            let replacement = format!(
                "  # {comment}\n  proxy-read-timeout: \"{stream}\"\n  \
                 proxy-send-timeout: \"{stream}\"\n{ANCHOR}"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::EnvoyGatewayGlobal, _) => {
            const ANCHOR: &str =
                "  # Without this setting, Envoy Gateway redirects a request with %2F in its path";
            let timeout = gateway_api_duration(Duration::from_secs(stream));
            let replacement = format!(
                "  # {comment}\n  timeout:\n    http:\n      \
                 streamIdleTimeout: {timeout}\n{ANCHOR}"
            );
            vec![(ANCHOR, replacement)]
        }
        (Proxy::HaproxyIngressGlobal, _) => {
            const ANCHOR: &str = "  config-global: |\n";
            let replacement = format!("  # {comment}\n  timeout-tunnel: {stream}s\n{ANCHOR}");
            vec![(ANCHOR, replacement)]
        }
        // Traefik cannot close streams. The files for Istio, and the other files of a proxy, have no timeout for
        // streams.
        (
            Proxy::Haproxy
            | Proxy::Traefik
            | Proxy::TraefikGlobal
            | Proxy::Nginx
            | Proxy::IngressNginx
            | Proxy::IstioGlobal,
            _,
        ) => Vec::new(),
    };
    let mut text = text.to_owned();
    for (anchor, replacement) in changes {
        text = replace_exactly(&text, anchor, &replacement, 1)?;
    }
    Ok(text)
}

/// Formats a duration of at least one second for the Gateway API, which accepts at most five digits for each unit.
fn gateway_api_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let mut text = String::new();
    for (count, unit) in [
        (seconds / 3600, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ] {
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    text
}
