use clap::ValueEnum;

use super::*;
use crate::lint::{Finding, LintLimits, Severity, lint};

/// A proxy, and whether it sends streams to Curfew.
fn all_variants() -> impl Iterator<Item = (Proxy, RenderAddresses)> {
    let variants = Proxy::value_variants().iter();
    variants.flat_map(|proxy| {
        let streams = [None, Some("guard:6".to_owned())].into_iter();
        let streams = streams.filter(|it| it.is_none() || *proxy != Proxy::Oauth2Proxy);
        streams.map(|streams| {
            (
                *proxy,
                RenderAddresses {
                    streams,
                    ..addresses()
                },
            )
        })
    })
}

fn deployed_file(path: &str) -> Option<&'static str> {
    Some(match path {
        "nginx/curfew.conf" => include_str!("../../../../deploy/nginx/curfew.conf"),
        "nginx/ingress.yaml" => include_str!("../../../../deploy/nginx/ingress.yaml"),
        "nginx/ingress-streams.yaml" => {
            include_str!("../../../../deploy/nginx/ingress-streams.yaml")
        }
        "nginx/streams.conf" => include_str!("../../../../deploy/nginx/streams.conf"),
        "traefik/traefik.yaml" => include_str!("../../../../deploy/traefik/traefik.yaml"),
        "traefik/curfew.yaml" => include_str!("../../../../deploy/traefik/curfew.yaml"),
        "caddy/Caddyfile" => include_str!("../../../../deploy/caddy/Caddyfile"),
        "envoy/http.yaml" => include_str!("../../../../deploy/envoy/http.yaml"),
        "envoy/grpc.yaml" => include_str!("../../../../deploy/envoy/grpc.yaml"),
        "haproxy/haproxy.cfg" => include_str!("../../../../deploy/haproxy/haproxy.cfg"),
        "haproxy/curfew-spoe.conf" => include_str!("../../../../deploy/haproxy/curfew-spoe.conf"),
        "oauth2-proxy/oauth2-proxy.cfg" => {
            include_str!("../../../../deploy/oauth2-proxy/oauth2-proxy.cfg")
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
        streams: None,
    }
}

#[test]
fn renders_every_proxy_and_replaces_every_address() {
    for (proxy, addresses) in all_variants() {
        let files = render(proxy, &addresses, &LIMITS, deployed_file).unwrap();
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
                    DEFAULT_PROXY,
                    "address: curfew",
                ] {
                    assert!(!line.contains(address), "{proxy:?} {name}: {line}");
                }
                for port in ["9180", "9181", "9182", "9183", "9184", "3000", "8080"] {
                    // In the manifests of ingress-nginx, the ports belong to the Service, so the default ports
                    // may remain.
                    let is_manifest = proxy == Proxy::IngressNginx;
                    assert!(is_manifest || !line.contains(port), "{name}: {line}");
                }
            }
        }
        let streams = addresses.streams.as_deref();
        let is_stream_address = |text: &str| text.contains("guard") && text.contains('6');
        let sends_streams = files.iter().any(|file| {
            let lines = file.text.lines();
            let mut lines = lines.filter(|line| !line.trim_start().starts_with('#'));
            lines.any(is_stream_address) || file.text.contains("port: 6\n")
        });
        assert_eq!(sends_streams, streams.is_some(), "{proxy:?} {streams:?}");
        // The configuration of every proxy except Traefik contains a time limit.
        let all_text: String = files.iter().map(|file| &*file.text).collect();
        let has_limit = all_text.contains("300") || all_text.contains("3600s");
        assert_eq!(has_limit, proxy != Proxy::Traefik, "{proxy:?}");
        let has_listen_address = all_text.contains("127.0.0.2");
        let has_no_listener = matches!(proxy, Proxy::IngressNginx | Proxy::Oauth2Proxy);
        assert_eq!(has_listen_address, !has_no_listener, "{proxy:?}");
    }
}

#[test]
fn rendered_files_have_no_lint_errors() {
    let limits = LintLimits {
        idle: LIMITS.idle,
        absolute: LIMITS.absolute,
        touch_interval: Duration::from_secs(5),
    };
    for (proxy, addresses) in all_variants() {
        for file in render(proxy, &addresses, &LIMITS, deployed_file).unwrap() {
            if matches!(proxy, Proxy::Caddy | Proxy::Haproxy) || file.name == "streams.conf" {
                continue;
            }
            let findings = lint(&file.text, &limits);
            let findings = findings.unwrap_or_else(|error| panic!("{}: {error}", file.name));
            let is_error = |it: &&Finding| it.severity == Severity::Error;
            assert_eq!(findings.iter().find(is_error), None, "{}", file.name);
        }
    }
}

/// A comparison with case would send `Upgrade: WebSocket` to the application.
#[test]
fn every_comparison_of_a_stream_ignores_case() {
    for (proxy, addresses) in all_variants().filter(|(_, it)| it.streams.is_some()) {
        let files = render(proxy, &addresses, &LIMITS, deployed_file).unwrap();
        let mut comparisons = 0;
        for line in files.iter().flat_map(|file| file.text.lines()) {
            let line = line.trim();
            let line = line.to_lowercase();
            let names_stream = line.contains("websocket") || line.contains("text/event-stream");
            let compares = line.contains("match")
                || line.contains("header")
                || line.contains("hdr")
                || line.starts_with('~');
            if !names_stream || !compares || line.starts_with('#') {
                continue;
            }
            comparisons += 1;
            let ignores_case = ["~*", "(?i)", "ignore_case: true", " -i "];
            let ignores_case = ignores_case.iter().any(|it| line.contains(it));
            assert!(ignores_case, "{proxy:?}: {line}");
        }
        assert!(comparisons > 0, "{proxy:?}");
    }
}
