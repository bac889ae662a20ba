//! The linter for Kubernetes manifests: Ingresses, Traefik's IngressRoutes and Middlewares, and policies of the Gateway
//! API.

use super::{Findings, duration};
use crate::yaml_node::Node;

const NGINX_PREFIX: &str = "nginx.ingress.kubernetes.io/";
const TRAEFIK_PREFIX: &str = "traefik.ingress.kubernetes.io/";
const ANNOTATE_REMEDY: &str = "annotate the Ingress with nginx.ingress.kubernetes.io/auth-url, as \
                      deploy/nginx/ingress.yaml does";

/// Lints a document. Returns whether the document is a manifest.
pub(super) fn check(document: &Node, findings: &mut Findings) -> bool {
    let (Some(kind), Some(_)) = (document.get("kind"), document.get("apiVersion")) else {
        return false;
    };
    match kind.text().unwrap_or_default() {
        "Ingress" => check_ingress(document, kind.line, findings),
        "IngressRoute" => check_ingress_route(document, findings),
        "List" => {
            for item in document.get("items").map_or(&[][..], Node::items) {
                check(item, findings);
            }
        }
        _ => {}
    }
    // The linters for Traefik and Envoy find settings in resources of other kinds by the keys of the settings, such as
    // `forwardAuth`.
    true
}

fn check_ingress(document: &Node, line: usize, findings: &mut Findings) {
    let empty = Node::default();
    let annotations = document
        .get_path(&["metadata", "annotations"])
        .unwrap_or(&empty);
    let class = document
        .get_path(&["spec", "ingressClassName"])
        .and_then(Node::text);
    let has_annotation = |prefix: &str| {
        annotations
            .entries()
            .any(|(key, ..)| key.starts_with(prefix))
    };
    let name = document
        .get_path(&["metadata", "name"])
        .and_then(Node::text);
    let what = format!("the Ingress `{}`", name.unwrap_or("without a name"));
    if !needs_no_session(document) {
        if class.is_some_and(|class| class.contains("nginx")) || has_annotation(NGINX_PREFIX) {
            check_nginx_ingress(document, annotations, line, &what, findings);
        } else if class.is_some_and(|class| class.contains("traefik"))
            || has_annotation(TRAEFIK_PREFIX)
        {
            let middlewares = format!("{TRAEFIK_PREFIX}router.middlewares");
            if annotations.get(&middlewares).is_none() {
                let remedy = "annotate the Ingress with traefik.ingress.kubernetes.io/router.middlewares, as \
                              deploy/traefik/kubernetes.yaml does";
                report_unprotected_ingress(document, line, &what, remedy, findings);
            }
        }
    }
}

/// Returns the hosts of an Ingress whose requests Curfew checks; empty for any other document.
pub(super) fn protected_hosts(document: &Node) -> Vec<String> {
    let empty = Node::default();
    let annotations = document
        .get_path(&["metadata", "annotations"])
        .unwrap_or(&empty);
    let auth_annotations = ["auth-url", "router.middlewares"];
    let mut entries = annotations.entries();
    if entries.any(|(key, ..)| auth_annotations.iter().any(|suffix| key.ends_with(suffix))) {
        ingress_hosts(document)
    } else {
        Vec::new()
    }
}

fn ingress_hosts(document: &Node) -> Vec<String> {
    let rules = document
        .get_path(&["spec", "rules"])
        .map_or(&[][..], Node::items);
    let hosts = rules
        .iter()
        .map(|rule| rule.get("host").and_then(Node::text));
    hosts
        .map(|host| host.unwrap_or_default().to_owned())
        .collect()
}

/// Reports an unprotected Ingress: a notice if another Ingress protects the same hosts, and an error otherwise.
fn report_unprotected_ingress(
    document: &Node,
    line: usize,
    what: &str,
    remedy: &str,
    findings: &mut Findings,
) {
    let hosts = ingress_hosts(document);
    let is_protected_by_another = hosts
        .iter()
        .all(|host| findings.protected_hosts.contains(host));
    if is_protected_by_another && !hosts.is_empty() {
        findings.report_unprotected(line, what);
    } else {
        findings.report_missing_auth(line, what, remedy);
    }
}

/// Returns whether an Ingress has only paths that need no session: Curfew's own paths, or the paths of oauth2-proxy.
fn needs_no_session(document: &Node) -> bool {
    let mut paths = Vec::new();
    document.walk(&mut |key, _, node| {
        if key == "path" {
            paths.extend(node.text());
        }
    });
    let needs_none = |path: &&str| path.starts_with("/.curfew") || path.starts_with("/oauth2");
    !paths.is_empty() && paths.iter().all(needs_none)
}

fn check_nginx_ingress(
    document: &Node,
    annotations: &Node,
    line: usize,
    what: &str,
    findings: &mut Findings,
) {
    let find = |name: &str| {
        let key = format!("{NGINX_PREFIX}{name}");
        let mut entries = annotations.entries();
        let found = entries.find(|(annotation, ..)| *annotation == key);
        found.and_then(|(_, line, node)| Some((line, node.text()?)))
    };
    if let Some((_, "true")) = find("canary") {
        // The controller checks these requests as the main Ingress of the host says, and uses no other annotations.
        let header = find("canary-by-header").map(|(_, name)| name.to_ascii_lowercase());
        let value = find("canary-by-header-value").map(|(line, _)| line);
        let pattern = find("canary-by-header-pattern");
        let pattern = pattern.filter(|(_, text)| !text.contains("(?i)"));
        let line = value.or(pattern.map(|(line, _)| line));
        if let (Some("upgrade"), Some(line)) = (header.as_deref(), line) {
            report_case_sensitive_upgrade(line, findings);
        }
        return;
    }
    if find("auth-url").is_none() {
        report_unprotected_ingress(document, line, what, ANNOTATE_REMEDY, findings);
    }
    match find("auth-url") {
        Some((line, url)) if url.ends_with("/auth-request") => {
            let message = "ingress-nginx sends the client's Host header ($http_host) to Curfew, but NGINX routes by \
                           $host; the two hosts differ if the request line contains a URL";
            let remedy = "use /forward-auth and set auth-proxy-set-headers, as deploy/nginx/ingress.yaml does";
            findings.add_error(line, "other-host", message.to_owned(), remedy);
        }
        Some((line, url))
            if url.ends_with("/forward-auth") && find("auth-proxy-set-headers").is_none() =>
        {
            let message = "ingress-nginx passes the X-Forwarded-* headers of clients to Curfew, so Curfew refuses every \
                           request; Traefik sets these headers itself and needs no change";
            let remedy = "behind ingress-nginx, set auth-proxy-set-headers, as deploy/nginx/ingress.yaml does";
            findings.add_notice(line, "foreign-input", message.to_owned(), remedy);
        }
        _ => {}
    }
    if let Some((line, "false")) = find("enable-global-auth") {
        findings.report_missing_auth(line, what, "remove enable-global-auth");
    }
    if let Some((line, _)) = find("auth-cache-key") {
        // Without `auth-cache-duration`, ingress-nginx caches answers for five minutes. The cache duration is then
        // `None`, which causes the finding.
        let (line, cache_duration) =
            find("auth-cache-duration").map_or((line, None), |(line, text)| {
                let words = text.split([' ', ',']);
                (
                    line,
                    words
                        .filter(|it| it.parse::<u16>().is_err())
                        .filter_map(duration::parse)
                        .max(),
                )
            });
        findings.check_cache_duration(line, "auth-cache-key", cache_duration);
    }
    for name in ["proxy-read-timeout", "proxy-send-timeout"] {
        if let Some((line, text)) = find(name) {
            findings.check_stream_timeout(line, name, duration::parse(text));
        }
    }
    if let Some((line, codes)) = find("custom-http-errors") {
        let codes: Vec<&str> = codes.split(',').map(str::trim).collect();
        if codes.contains(&"401") || codes.contains(&"403") {
            report_replaced_denial(line, findings);
        }
    }
    for name in ["configuration-snippet", "server-snippet", "auth-snippet"] {
        let Some((line, text)) = find(name) else {
            continue;
        };
        // The text of a block scalar starts on the line after its key.
        let first_line = line + usize::from(text.contains('\n'));
        let mut lines = text.lines().enumerate();
        let is_auth_off = |line: &str| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .starts_with("auth_request off")
        };
        if let Some((number, _)) = lines.find(|(_, line)| is_auth_off(line)) {
            findings.report_missing_auth(
                first_line + number,
                what,
                "remove `auth_request off` from the snippet",
            );
        }
    }
}

/// Adds an error: some WebSockets do not go to Curfew's proxy listener.
fn report_case_sensitive_upgrade(line: usize, findings: &mut Findings) {
    let message = "the comparison of the header Upgrade is case-sensitive, so a client can send `Upgrade: WebSocket` \
                   to the application, and this stream does not end with its session";
    let remedy =
        "use canary-by-header-pattern: (?i)^websocket$, as deploy/nginx/ingress-streams.yaml does";
    findings.add_error(line, "stream-outlives-idle", message.to_owned(), remedy);
}

/// Adds an error: the default backend replaces the denial of Curfew.
fn report_replaced_denial(line: usize, findings: &mut Findings) {
    let message = "the default backend replaces the answers 401 and 403 of Curfew, so clients lose the cookie, the \
                   reason and the redirect to the sign-in page";
    let remedy = "remove 401 and 403 from custom-http-errors";
    findings.add_error(line, "swallowed-denial", message.to_owned(), remedy);
}

fn check_ingress_route(document: &Node, findings: &mut Findings) {
    let routes = document
        .get_path(&["spec", "routes"])
        .map_or(&[][..], Node::items);
    let is_protected = |route: &Node| {
        route
            .get("middlewares")
            .is_some_and(|it| !it.items().is_empty())
    };
    let any_protected = routes.iter().any(is_protected);
    for route in routes.iter().filter(|route| !is_protected(route)) {
        let match_rule = route.get("match").and_then(Node::text).unwrap_or_default();
        if match_rule.contains("/.curfew/") {
            continue;
        }
        let what = format!("the route {match_rule}");
        if any_protected {
            findings.report_unprotected(route.line, &what);
        } else {
            let remedy = "give the route the Middleware of deploy/traefik/kubernetes.yaml";
            findings.report_missing_auth(route.line, &what, remedy);
        }
    }
}
