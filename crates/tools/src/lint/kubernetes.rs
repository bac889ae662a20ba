//! Checks for Kubernetes manifests: Ingresses, Traefik's IngressRoutes and Middlewares, and policies of the Gateway
//! API.

use super::yaml::Node;
use super::{Findings, time};

const NGINX: &str = "nginx.ingress.kubernetes.io/";
const TRAEFIK: &str = "traefik.ingress.kubernetes.io/";
const ANNOTATE_REMEDY: &str =
    "annotate it with nginx.ingress.kubernetes.io/auth-url, as deploy/nginx/ingress.yaml does";

/// Checks a document. Returns whether it is a manifest.
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
    // The linter checks other kinds through their keys, such as `forwardAuth` and `failOpen`.
    true
}

fn check_ingress(document: &Node, line: usize, findings: &mut Findings) {
    let empty = Node::default();
    let annotations = document.at(&["metadata", "annotations"]).unwrap_or(&empty);
    let class = document
        .at(&["spec", "ingressClassName"])
        .and_then(Node::text);
    let has = |prefix: &str| {
        annotations
            .entries()
            .any(|(key, ..)| key.starts_with(prefix))
    };
    let name = document.at(&["metadata", "name"]).and_then(Node::text);
    let what = format!("the Ingress `{}`", name.unwrap_or("without a name"));
    if !needs_no_session(document) {
        if class.is_some_and(|class| class.contains("nginx")) || has(NGINX) {
            check_nginx_ingress(document, annotations, line, &what, findings);
        } else if class.is_some_and(|class| class.contains("traefik")) || has(TRAEFIK) {
            let middlewares = format!("{TRAEFIK}router.middlewares");
            if annotations.get(&middlewares).is_none() {
                let remedy = "annotate it with traefik.ingress.kubernetes.io/router.middlewares, as \
                              deploy/traefik/kubernetes.yaml does";
                report_unprotected(document, line, &what, remedy, findings);
            }
        }
    }
}

/// Returns the hosts of a protected Ingress.
pub(super) fn protected_hosts(document: &Node) -> Vec<String> {
    let empty = Node::default();
    let annotations = document.at(&["metadata", "annotations"]).unwrap_or(&empty);
    let asks = ["auth-url", "router.middlewares"];
    let mut entries = annotations.entries();
    if entries.any(|(key, ..)| asks.iter().any(|end| key.ends_with(end))) {
        hosts(document)
    } else {
        Vec::new()
    }
}

fn hosts(document: &Node) -> Vec<String> {
    let rules = document.at(&["spec", "rules"]).map_or(&[][..], Node::items);
    let hosts = rules
        .iter()
        .map(|rule| rule.get("host").and_then(Node::text));
    hosts
        .map(|host| host.unwrap_or_default().to_owned())
        .collect()
}

/// Reports an unprotected Ingress: an error, or a notice if another Ingress protects the same
/// hosts.
fn report_unprotected(
    document: &Node,
    line: usize,
    what: &str,
    remedy: &str,
    findings: &mut Findings,
) {
    let hosts = hosts(document);
    let beside = hosts
        .iter()
        .all(|host| findings.protected_hosts.contains(host));
    if beside && !hosts.is_empty() {
        findings.unprotected(line, what);
    } else {
        findings.missing_auth(line, what, remedy);
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
    let open = |path: &&str| path.starts_with("/.curfew") || path.starts_with("/oauth2");
    !paths.is_empty() && paths.iter().all(open)
}

fn check_nginx_ingress(
    document: &Node,
    annotations: &Node,
    line: usize,
    what: &str,
    findings: &mut Findings,
) {
    let find = |name: &str| {
        let key = format!("{NGINX}{name}");
        let mut entries = annotations.entries();
        let found = entries.find(|(found, ..)| *found == key);
        found.and_then(|(_, line, node)| Some((line, node.text()?)))
    };
    if find("auth-url").is_none() {
        report_unprotected(document, line, what, ANNOTATE_REMEDY, findings);
    }
    match find("auth-url") {
        Some((line, url)) if url.ends_with("/auth-request") => {
            let message = "ingress-nginx sends the check the host from the client ($http_host), but NGINX routes by \
                           $host: with an absolute request line, Curfew checks another host";
            let remedy = "ask /forward-auth and set auth-proxy-set-headers, as deploy/nginx/ingress.yaml does";
            findings.error(line, "other-host", message.to_owned(), remedy);
        }
        Some((line, url))
            if url.ends_with("/forward-auth") && find("auth-proxy-set-headers").is_none() =>
        {
            let message = "ingress-nginx passes a client's own X-Forwarded- headers to the check, which then rejects every \
                           request; Traefik sets them itself";
            let remedy = "behind ingress-nginx, set auth-proxy-set-headers, as deploy/nginx/ingress.yaml does";
            findings.notice(line, "foreign-input", message.to_owned(), remedy);
        }
        _ => {}
    }
    if let Some((line, "false")) = find("enable-global-auth") {
        findings.missing_auth(line, what, "remove enable-global-auth");
    }
    if let Some((line, _)) = find("auth-cache-key") {
        // The default cache duration is five minutes.
        let (line, kept) = find("auth-cache-duration").map_or((line, None), |(line, text)| {
            let words = text.split([' ', ',']);
            (
                line,
                words
                    .filter(|it| it.parse::<u16>().is_err())
                    .filter_map(time::parse)
                    .max(),
            )
        });
        findings.cached_answers(line, "auth-cache-key", kept);
    }
    for name in ["proxy-read-timeout", "proxy-send-timeout"] {
        if let Some((line, text)) = find(name) {
            findings.long_stream(line, name, time::parse(text));
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
        let at = line + usize::from(text.contains('\n'));
        let mut lines = text.lines().enumerate();
        let off = |line: &str| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .starts_with("auth_request off")
        };
        if let Some((number, _)) = lines.find(|(_, line)| off(line)) {
            findings.missing_auth(
                at + number,
                what,
                "remove `auth_request off` from the snippet",
            );
        }
    }
}

/// Adds an error: the default backend replaces the denial of Curfew.
fn report_replaced_denial(line: usize, findings: &mut Findings) {
    let message = "the default backend replaces the answers 401 and 403, which drops the cookie, the \
                   reason and the redirect to the sign-in page";
    let remedy = "remove 401 and 403 from custom-http-errors";
    findings.error(line, "swallowed-denial", message.to_owned(), remedy);
}

fn check_ingress_route(document: &Node, findings: &mut Findings) {
    let routes = document
        .at(&["spec", "routes"])
        .map_or(&[][..], Node::items);
    let is_protected = |route: &Node| {
        route
            .get("middlewares")
            .is_some_and(|it| !it.items().is_empty())
    };
    let any = routes.iter().any(is_protected);
    for route in routes.iter().filter(|route| !is_protected(route)) {
        let matches = route.get("match").and_then(Node::text).unwrap_or_default();
        if matches.contains("/.curfew/") {
            continue;
        }
        let what = format!("the route {matches}");
        if any {
            findings.unprotected(route.line, &what);
        } else {
            let remedy = "give it the Middleware of deploy/traefik/kubernetes.yaml";
            findings.missing_auth(route.line, &what, remedy);
        }
    }
}
