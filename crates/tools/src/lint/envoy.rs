//! The linter for Envoy, and for resources that configure Envoy: EnvoyFilter, the mesh configuration of Istio, and
//! Envoy Gateway.

use super::{Findings, duration};
use crate::yaml_node::Node;

const FAIL_CLOSED_REMEDY: &str =
    "remove the setting, so that a request that cannot be checked is refused";

/// Lints a document. Returns whether the document is for Envoy.
pub(super) fn check(document: &Node, findings: &mut Findings) -> bool {
    let mut is_envoy = false;
    document.walk(&mut |key, line, node| match key {
        "failure_mode_allow" | "failureModeAllow" | "failOpen" => {
            is_envoy = true;
            if node.is("true") {
                findings.report_fail_open(line, key, FAIL_CLOSED_REMEDY);
            }
        }
        "status_on_error" | "statusOnError" => {
            let code = node.get("code").unwrap_or(node);
            let code = code.text().unwrap_or_default();
            if code.starts_with('2') || code == "OK" {
                findings.report_fail_open(line, key, "use 503");
            }
        }
        "stream_idle_timeout" | "streamIdleTimeout" => {
            is_envoy = true;
            let timeout = node.text().and_then(duration::parse);
            findings.check_stream_timeout(line, key, timeout.filter(|it| !it.is_zero()));
        }
        "max_stream_duration" | "maxStreamDuration" => {
            let timeout = node.text().and_then(duration::parse);
            if node.text().is_some() {
                findings.check_stream_timeout(line, key, timeout.filter(|it| !it.is_zero()));
            }
        }
        "http_filters" | "httpFilters" => {
            is_envoy = true;
            check_filters(line, node, findings);
        }
        "path_prefix" | "pathPrefix" => {
            let prefix = node.text().unwrap_or_default();
            if prefix.contains("ext-authz") && prefix.ends_with('/') {
                let message =
                    format!("{key} ends with /, so the path of each check begins with two slashes");
                findings.add_error(line, "prefix-slash", message, "remove the last slash");
            }
        }
        "static_resources" | "envoyExtAuthzGrpc" | "envoyExtAuthzHttp" | "extAuth" => {
            is_envoy = true
        }
        "envoy.filters.http.ext_authz" if node.get("disabled").is_some_and(|it| it.is("true")) => {
            findings.report_unprotected(line, "a route");
        }
        _ => {}
    });
    is_envoy
}

/// Lints the HTTP filter chain of an Envoy listener.
fn check_filters(line: usize, node: &Node, findings: &mut Findings) {
    let name = |filter: &Node| filter.get("name").and_then(Node::text).map(str::to_owned);
    let names: Vec<String> = node.items().iter().filter_map(name).collect();
    let has_ext_authz = names.iter().any(|name| name.contains("ext_authz"));
    let has_router = names.iter().any(|name| name.contains("router"));
    if has_router && !has_ext_authz {
        let remedy = "put envoy.filters.http.ext_authz before the router, as deploy/envoy does";
        findings.report_missing_auth(line, "every request of this listener", remedy);
    }
}
