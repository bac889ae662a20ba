//! The linter for Traefik: for middlewares in files, manifests and labels, for routers in configuration files, and for
//! entry points.

use super::Findings;
use crate::yaml_node::Node;

const TRUST_HEADER_REMEDY: &str = "remove the setting: Traefik sets these headers itself. If another proxy is \
                      in front, list that proxy in forwardedHeaders.trustedIPs of the entry point";

/// Lints a document. Returns whether the document is for Traefik.
pub(super) fn check(document: &Node, findings: &mut Findings) -> bool {
    let mut is_traefik = false;
    document.walk(&mut |key, line, node| match key {
        "forwardAuth" => {
            is_traefik = true;
            check_middleware(line, node, findings);
        }
        "forwardedHeaders" => {
            is_traefik = true;
            if node.get("insecure").is_some_and(|it| it.is("true")) {
                findings.report_trusted_headers(
                    line,
                    "forwardedHeaders.insecure",
                    TRUST_HEADER_REMEDY,
                );
            }
        }
        "entryPoints" => is_traefik = true,
        provider if provider.eq_ignore_ascii_case("kubernetesCRD") => {
            is_traefik = true;
            if !node.get("safeNaming").is_some_and(|it| it.is("true")) {
                report_shared_names(line, findings);
            }
        }
        label if label.starts_with("traefik.http.") => {
            is_traefik = true;
            let label = label.to_ascii_lowercase();
            if label.ends_with(".forwardauth.trustforwardheader") && node.is("true") {
                findings.report_trusted_headers(line, "trustForwardHeader", TRUST_HEADER_REMEDY);
            }
        }
        _ => {}
    });
    let mut crd_flags = Vec::new();
    document.walk_scalars(&mut |line, text| {
        let label = text.to_ascii_lowercase();
        if label.starts_with("--providers.kubernetescrd") {
            is_traefik = true;
            crd_flags.push((line, label.clone()));
        }
        if label.starts_with("traefik.http.") {
            is_traefik = true;
            if label.ends_with(".forwardauth.trustforwardheader=true") {
                findings.report_trusted_headers(line, "trustForwardHeader", TRUST_HEADER_REMEDY);
            }
        }
    });
    check_crd_flags(&crd_flags, findings);
    if let Some(routers) = document.get_path(&["http", "routers"]) {
        is_traefik = true;
        check_routers(document, routers, findings);
    }
    is_traefik
}

/// Reports that `safeNaming` is missing. Without this setting, the internal name of a Middleware is `NAMESPACE-NAME`.
/// Two Middlewares in different namespaces can then have the same name, such as `a-b-c`.
fn report_shared_names(line: usize, findings: &mut Findings) {
    let message = "without safeNaming, the name of a Middleware is NAMESPACE-NAME, so another namespace can replace \
                   the Middleware that calls Curfew";
    let remedy = "set providers.kubernetesCRD.safeNaming to true (--providers.kubernetescrd.safenaming=true)";
    findings.add_error(line, "shared-names", message.to_owned(), remedy);
}

/// Reports command-line flags that enable the CRD provider without `safeNaming`. Each flag has its line number.
fn check_crd_flags(flags: &[(usize, String)], findings: &mut Findings) {
    let is_crd_flag = |flag: &str| flag.starts_with("--providers.kubernetescrd");
    let has_safe_naming = flags.iter().any(|(_, flag)| {
        flag == "--providers.kubernetescrd.safenaming=true"
            || flag == "--providers.kubernetescrd.safenaming"
    });
    if let Some((line, _)) = flags.iter().find(|(_, flag)| is_crd_flag(flag))
        && !has_safe_naming
    {
        report_shared_names(*line, findings);
    }
}

fn check_middleware(line: usize, node: &Node, findings: &mut Findings) {
    if let Some(trust) = node.get("trustForwardHeader")
        && trust.is("true")
    {
        findings.report_trusted_headers(trust.line, "trustForwardHeader", TRUST_HEADER_REMEDY);
    }
    if let Some(allowed_headers) = node.get("authRequestHeaders") {
        let names = || allowed_headers.items().iter().filter_map(Node::text);
        let has_header = |wanted: &str| names().any(|name| name.eq_ignore_ascii_case(wanted));
        if !allowed_headers.items().is_empty()
            && !has_header("cookie")
            && !has_header("authorization")
        {
            let message = "authRequestHeaders omits Cookie and Authorization, so Curfew receives no credential";
            let remedy = "remove authRequestHeaders, or list Cookie and the other headers in docs/proxies/traefik.md";
            findings.add_error(
                allowed_headers.line,
                "credential-withheld",
                message.to_owned(),
                remedy,
            );
        }
    }
    let address = node.get("address").and_then(Node::text).unwrap_or_default();
    if address.ends_with(":9180") || address.ends_with(":9180/") {
        let message =
            "the address has no path, so Curfew answers 404, and Traefik refuses every request";
        findings.add_error(
            line,
            "no-contract",
            message.to_owned(),
            "add the path /forward-auth",
        );
    }
}

/// Lints the routers of a dynamic configuration.
fn check_routers(document: &Node, routers: &Node, findings: &mut Findings) {
    let empty = Node::default();
    let middlewares = document
        .get_path(&["http", "middlewares"])
        .unwrap_or(&empty);
    let calls_curfew = |name: &str| {
        let definition = middlewares.get(name);
        // A middleware that is defined in another file may call Curfew, so its router is not reported.
        definition.is_none_or(|definition| definition.get("forwardAuth").is_some())
    };
    let is_protected = |router: &Node| {
        let names = router.get("middlewares").map_or(&[][..], Node::items);
        names.iter().filter_map(Node::text).any(calls_curfew)
    };
    let any_protected = routers.entries().any(|(.., router)| is_protected(router));
    for (name, line, router) in routers.entries() {
        let rule = router.get("rule").and_then(Node::text).unwrap_or_default();
        if is_protected(router) || rule.contains("/.curfew/") {
            continue;
        }
        let what = format!("the router `{name}`");
        if any_protected {
            findings.report_unprotected(line, &what);
        } else {
            let remedy = "give the router the middleware `curfew` of deploy/traefik/curfew.yaml";
            findings.report_missing_auth(line, &what, remedy);
        }
    }
}
