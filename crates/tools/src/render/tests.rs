use clap::ValueEnum;
use yaml_rust2::{Yaml, YamlLoader};

use super::*;
use crate::lint::{Finding, LintLimits, Severity, lint};

/// A proxy, and whether it sends streams to Curfew.
fn all_variants() -> impl Iterator<Item = (Proxy, RenderAddresses)> {
    let variants = Proxy::value_variants().iter();
    variants.flat_map(|proxy| {
        let streams = [None, Some("guard:6".to_owned())].into_iter();
        let sends_no_streams = *proxy == Proxy::Oauth2Proxy || proxy.is_global();
        let streams = streams.filter(move |it| it.is_none() || !sends_no_streams);
        streams.map(|streams| {
            (
                *proxy,
                RenderAddresses {
                    streams,
                    ..addresses(*proxy)
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
        "traefik/kubernetes-global.yaml" => {
            include_str!("../../../../deploy/traefik/kubernetes-global.yaml")
        }
        "nginx/ingress-global.yaml" => {
            include_str!("../../../../deploy/nginx/ingress-global.yaml")
        }
        "gateway-api/envoy-gateway-global.yaml" => {
            include_str!("../../../../deploy/gateway-api/envoy-gateway-global.yaml")
        }
        "istio/mesh-config.yaml" => include_str!("../../../../deploy/istio/mesh-config.yaml"),
        "istio/authorization-policy-global.yaml" => {
            include_str!("../../../../deploy/istio/authorization-policy-global.yaml")
        }
        "haproxy/ingress-global.yaml" => {
            include_str!("../../../../deploy/haproxy/ingress-global.yaml")
        }
        _ => return None,
    })
}

const LIMITS: RenderLimits = RenderLimits {
    idle: Some(Duration::from_secs(300)),
    absolute: Duration::from_secs(3600),
};

fn addresses(proxy: Proxy) -> RenderAddresses {
    let address = |text: &str| text.to_owned();
    if proxy.is_global() {
        // Each address has another namespace, so that a test finds an address in a wrong place.
        return RenderAddresses {
            check: address("guard.checks:1"),
            grpc: address("guard.calls.svc:2"),
            browser: address("pages.guard.svc.example.org:5"),
            ..RenderAddresses::default()
        };
    }
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
        // The configuration of every proxy except Traefik and Istio contains a time limit.
        let all_text: String = files.iter().map(|file| &*file.text).collect();
        let has_limit = ["300", "3600s", "streamIdleTimeout: 5m\n"]
            .iter()
            .any(|it| all_text.contains(it));
        let has_no_limit = matches!(
            proxy,
            Proxy::Traefik | Proxy::TraefikGlobal | Proxy::IstioGlobal
        );
        assert_eq!(has_limit, !has_no_limit, "{proxy:?}");
        let has_listen_address = all_text.contains("127.0.0.2");
        let has_no_listener =
            matches!(proxy, Proxy::IngressNginx | Proxy::Oauth2Proxy) || proxy.is_global();
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

fn parse_documents(file: &RenderedFile) -> Vec<Yaml> {
    YamlLoader::load_from_str(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.name))
}

/// Returns every scalar in a document as text, with its path.
fn scalars(node: &Yaml, path: &str, found: &mut Vec<(String, String)>) {
    match node {
        Yaml::Hash(entries) => {
            for (key, value) in entries {
                let key = key.as_str().unwrap_or_default();
                scalars(value, &format!("{path}/{key}"), found);
            }
        }
        Yaml::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                scalars(item, &format!("{path}/{index}"), found);
            }
        }
        Yaml::String(text) => found.push((path.to_owned(), text.clone())),
        Yaml::Integer(number) => found.push((path.to_owned(), number.to_string())),
        _ => {}
    }
}

/// Returns the scalars of all documents, each as `KIND/NAME/PATH = VALUE`.
fn manifest_lines(proxy: Proxy, addresses: &RenderAddresses, limits: &RenderLimits) -> Vec<String> {
    let mut lines = Vec::new();
    for file in render(proxy, addresses, limits, deployed_file).unwrap() {
        for document in parse_documents(&file) {
            let kind = document["kind"].as_str().unwrap_or("-");
            let name = document["metadata"]["name"].as_str().unwrap_or("-");
            let mut found = Vec::new();
            scalars(&document, "", &mut found);
            let found = found.into_iter();
            lines.extend(found.map(|(path, value)| format!("{kind}/{name}{path} = {value}")));
        }
    }
    lines
}

/// For each global setting: the fields that contain an address of Curfew or a time limit.
const GLOBAL_FIELDS: [(Proxy, &[&str]); 5] = [
    (
        Proxy::TraefikGlobal,
        &[
            "Ingress/curfew-browser-traefik/metadata/namespace = guard",
            "Ingress/curfew-browser-traefik/spec/rules/0/http/paths/0/backend/service/name = pages",
            "Ingress/curfew-browser-traefik/spec/rules/0/http/paths/0/backend/service/port/number = 5",
        ],
    ),
    (
        Proxy::IngressNginxGlobal,
        &[
            "ConfigMap/ingress-nginx-controller/data/global-auth-url = \
             http://guard.checks.svc.cluster.local:1/forward-auth",
            "ConfigMap/ingress-nginx-controller/data/proxy-read-timeout = 300",
            "ConfigMap/ingress-nginx-controller/data/proxy-send-timeout = 300",
            "Ingress/curfew-browser/metadata/namespace = guard",
            "Ingress/curfew-browser/spec/rules/0/http/paths/0/backend/service/name = pages",
            "Ingress/curfew-browser/spec/rules/0/http/paths/0/backend/service/port/number = 5",
        ],
    ),
    (
        Proxy::EnvoyGatewayGlobal,
        &[
            "SecurityPolicy/curfew/spec/extAuth/http/backendRefs/0/name = guard",
            "SecurityPolicy/curfew/spec/extAuth/http/backendRefs/0/namespace = checks",
            "SecurityPolicy/curfew/spec/extAuth/http/backendRefs/0/port = 1",
            "ReferenceGrant/curfew/metadata/namespace = checks",
            "ReferenceGrant/curfew/spec/to/0/name = guard",
            "ClientTrafficPolicy/no-identity/spec/timeout/http/streamIdleTimeout = 5m",
            "HTTPRoute/curfew-browser/metadata/namespace = guard",
            "HTTPRoute/curfew-browser/spec/rules/0/backendRefs/0/name = pages",
            "HTTPRoute/curfew-browser/spec/rules/0/backendRefs/0/port = 5",
            "SecurityPolicy/curfew-browser/metadata/namespace = guard",
        ],
    ),
    (
        Proxy::IstioGlobal,
        &[
            "-/-/meshConfig/extensionProviders/0/envoyExtAuthzHttp/service = guard.checks.svc.cluster.local",
            "-/-/meshConfig/extensionProviders/0/envoyExtAuthzHttp/port = 1",
            "-/-/meshConfig/extensionProviders/1/envoyExtAuthzGrpc/service = guard.calls.svc.cluster.local",
            "-/-/meshConfig/extensionProviders/1/envoyExtAuthzGrpc/port = 2",
            "VirtualService/curfew-browser/metadata/namespace = guard",
            "VirtualService/curfew-browser/spec/http/0/route/0/destination/host = pages.guard.svc.example.org",
            "VirtualService/curfew-browser/spec/http/0/route/0/destination/port/number = 5",
        ],
    ),
    (
        Proxy::HaproxyIngressGlobal,
        &[
            "ConfigMap/haproxy-ingress/data/auth-url = http://guard.checks.svc.cluster.local:1/forward-auth",
            "ConfigMap/haproxy-ingress/data/timeout-tunnel = 300s",
            "Ingress/curfew-browser-haproxy/metadata/namespace = guard",
            "Ingress/curfew-browser-haproxy/spec/rules/0/http/paths/0/backend/service/name = pages",
            "Ingress/curfew-browser-haproxy/spec/rules/0/http/paths/0/backend/service/port/number = 5",
        ],
    ),
];

/// Rendering changes exactly the fields of `GLOBAL_FIELDS`, and no default address remains, not even in a comment.
#[test]
fn global_files_contain_the_addresses_in_the_right_fields() {
    let global_proxies = Proxy::value_variants().iter().filter(|it| it.is_global());
    assert!(global_proxies.eq(GLOBAL_FIELDS.iter().map(|(proxy, _)| proxy)));
    for (proxy, fields) in GLOBAL_FIELDS {
        let rendered = manifest_lines(proxy, &addresses(proxy), &LIMITS);
        for field in fields {
            let count = rendered.iter().filter(|line| line == field).count();
            assert_eq!(count, 1, "{proxy:?}: {field} is not in {rendered:#?}");
        }
        // Without addresses, only the time limits are added.
        let defaults = manifest_lines(proxy, &RenderAddresses::default(), &LIMITS);
        let changed = rendered.iter().filter(|line| !defaults.contains(line));
        for line in changed {
            // The middlewares of Traefik are one text.
            let is_middleware = line.starts_with("ConfigMap/curfew/data/curfew.yaml = ")
                && line.contains("address: http://guard.checks.svc.cluster.local:1/forward-auth\n");
            assert!(
                is_middleware || fields.contains(&&**line),
                "{proxy:?}: {line}"
            );
        }
        for RenderedFile { name, text } in
            render(proxy, &addresses(proxy), &LIMITS, deployed_file).unwrap()
        {
            for default in [
                "curfew.curfew",
                "9180",
                "9181",
                "9183",
                "namespace: curfew\n",
            ] {
                assert!(!text.contains(default), "{proxy:?} {name}: {default}");
            }
        }
    }
}

/// With the default addresses, a rendered file differs from the file of `deploy/` only in the time limits.
#[test]
fn default_addresses_change_no_line_of_a_global_file() {
    for (proxy, _) in GLOBAL_FIELDS {
        let files = render(proxy, &RenderAddresses::default(), &LIMITS, deployed_file).unwrap();
        for RenderedFile { name, text } in files {
            let folder = ["traefik", "nginx", "gateway-api", "istio", "haproxy"];
            let mut originals = folder
                .iter()
                .filter_map(|folder| deployed_file(&format!("{folder}/{name}")));
            let is_unchanged = originals.any(|original| {
                let mut rendered = text.lines();
                // Every line of the file is in the rendered file, in the same order.
                original.lines().all(|line| rendered.any(|it| it == line))
            });
            assert!(is_unchanged, "{proxy:?} {name}");
        }
    }
}

#[test]
fn every_rendered_yaml_file_is_valid() {
    for (proxy, addresses) in all_variants() {
        for file in render(proxy, &addresses, &LIMITS, deployed_file).unwrap() {
            if file.name.ends_with(".yaml") {
                assert!(
                    !parse_documents(&file).is_empty(),
                    "{proxy:?} {}",
                    file.name
                );
            }
        }
    }
}

/// A check by URL can use an IP address or a name outside the cluster.
#[test]
fn urls_of_global_files_accept_other_hosts() {
    for (check, url) in [
        ("10.0.0.5:80", "http://10.0.0.5:80/forward-auth"),
        ("[fd00::5]:80", "http://[fd00::5]:80/forward-auth"),
        (
            "guard.example.com:80",
            "http://guard.example.com:80/forward-auth",
        ),
        (
            "guard.auth:80",
            "http://guard.auth.svc.cluster.local:80/forward-auth",
        ),
        (
            "curfew:9180",
            "http://curfew.curfew.svc.cluster.local:9180/forward-auth",
        ),
    ] {
        let addresses = RenderAddresses {
            check: check.to_owned(),
            ..RenderAddresses::default()
        };
        for proxy in [
            Proxy::TraefikGlobal,
            Proxy::IngressNginxGlobal,
            Proxy::HaproxyIngressGlobal,
        ] {
            let files = render(proxy, &addresses, &LIMITS, deployed_file).unwrap();
            assert_eq!(files[0].text.matches(url).count(), 1, "{proxy:?} {check}");
            assert!(!parse_documents(&files[0]).is_empty(), "{proxy:?} {check}");
        }
    }
}

#[test]
fn addresses_that_a_global_file_cannot_contain_are_errors() {
    const NO_SERVICE: &str = "the file needs a Service of the cluster";
    const NO_NAMESPACE: &str = "the namespace of the Service is missing";
    const NO_PORT: &str = "the port is not valid";
    let all = GLOBAL_FIELDS.map(|(proxy, _)| proxy);
    let (services, istio) = (
        &[Proxy::EnvoyGatewayGlobal, Proxy::IstioGlobal][..],
        &[Proxy::IstioGlobal][..],
    );
    let cases: [(&[Proxy], &str, &str, &str, &str); 14] = [
        (
            &all,
            "--browser",
            "10.0.0.5:9183",
            NO_SERVICE,
            "curfew.curfew:9183",
        ),
        (
            &all,
            "--browser",
            "[fd00::5]:9183",
            NO_SERVICE,
            "curfew.curfew:9183",
        ),
        (
            &all,
            "--browser",
            "guard.example.com:80",
            NO_SERVICE,
            "guard.curfew:80",
        ),
        (&all, "--browser", "guard:5", NO_NAMESPACE, "guard.curfew:5"),
        (
            &all,
            "--browser",
            "Guard.auth:5",
            NO_SERVICE,
            "curfew.curfew:5",
        ),
        (
            &all,
            "--browser",
            "guard.auth.svc.:5",
            NO_SERVICE,
            "guard.curfew:5",
        ),
        (&all, "--browser", "-.auth:5", NO_SERVICE, "curfew.curfew:5"),
        (
            &all,
            "--browser",
            "guard.auth:0",
            NO_PORT,
            "guard.curfew:PORT",
        ),
        (&all, "--check", "guard:1", NO_NAMESPACE, "guard.curfew:1"),
        (
            &all,
            "--check",
            "curfew:9280",
            NO_NAMESPACE,
            "curfew.curfew:9280",
        ),
        (
            &all,
            "--check",
            "guard.auth:x",
            NO_PORT,
            "guard.curfew:PORT",
        ),
        (
            services,
            "--check",
            "10.0.0.5:9180",
            NO_SERVICE,
            "curfew.curfew:9180",
        ),
        (
            istio,
            "--grpc",
            "10.0.0.5:9181",
            NO_SERVICE,
            "curfew.curfew:9181",
        ),
        (
            istio,
            "--grpc",
            "guard:9181",
            NO_NAMESPACE,
            "guard.curfew:9181",
        ),
    ];
    for (proxies, option, value, reason, example) in cases {
        let mut addresses = RenderAddresses::default();
        *match option {
            "--check" => &mut addresses.check,
            "--grpc" => &mut addresses.grpc,
            _ => &mut addresses.browser,
        } = value.to_owned();
        for proxy in proxies {
            let error = render(*proxy, &addresses, &LIMITS, deployed_file).unwrap_err();
            let expected =
                format!("{option} {value}: {reason}; write NAME.NAMESPACE:PORT, such as {example}");
            assert_eq!(error.to_string(), expected, "{proxy:?}");
        }
    }
    // A file ignores the addresses that it does not contain.
    let addresses = RenderAddresses {
        grpc: "10.0.0.5:9181".to_owned(),
        spoe: "10.0.0.5:9182".to_owned(),
        ..RenderAddresses::default()
    };
    for proxy in all.into_iter().filter(|it| *it != Proxy::IstioGlobal) {
        assert!(
            render(proxy, &addresses, &LIMITS, deployed_file).is_ok(),
            "{proxy:?}"
        );
    }
}

#[test]
fn files_without_routes_of_applications_send_no_streams() {
    for proxy in Proxy::value_variants() {
        let addresses = RenderAddresses {
            streams: Some("guard:6".to_owned()),
            ..addresses(*proxy)
        };
        let result = render(*proxy, &addresses, &LIMITS, deployed_file);
        let sends_no_streams = *proxy == Proxy::Oauth2Proxy || proxy.is_global();
        let is_refused = matches!(result, Err(RenderError::Streams(_)));
        assert_eq!(is_refused, sends_no_streams, "{proxy:?}");
        assert_eq!(result.is_ok(), !sends_no_streams, "{proxy:?}");
    }
}

/// The Gateway API accepts at most five digits for each unit.
#[test]
fn the_time_limit_of_envoy_gateway_has_short_numbers() {
    for (idle, absolute, expected) in [
        (Some(90), 3600, "1m30s"),
        (Some(3600), 7200, "1h"),
        (None, 604_800, "168h"),
        (Some(3723), 7200, "1h2m3s"),
    ] {
        let limits = RenderLimits {
            idle: idle.map(Duration::from_secs),
            absolute: Duration::from_secs(absolute),
        };
        let proxy = Proxy::EnvoyGatewayGlobal;
        let lines = manifest_lines(proxy, &addresses(proxy), &limits);
        let suffix = format!("/streamIdleTimeout = {expected}");
        let count = lines.iter().filter(|it| it.ends_with(&suffix)).count();
        assert_eq!(count, 1, "{expected}: {lines:#?}");
    }
}
