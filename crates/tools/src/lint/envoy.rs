//! Checks for Envoy, and for resources that configure Envoy: EnvoyFilter, the mesh configuration of Istio, and Envoy
//! Gateway.

use super::yaml::Node;
use super::{Findings, time};

const FAIL_CLOSED_REMEDY: &str = "remove it, so that a request that cannot be checked is refused";

/// Checks a document. Returns whether it is for Envoy.
pub(super) fn check(document: &Node, findings: &mut Findings) -> bool {
    let mut known = false;
    document.walk(&mut |key, line, node| match key {
        "failure_mode_allow" | "failureModeAllow" | "failOpen" => {
            known = true;
            if node.is("true") {
                findings.fail_open(line, key, FAIL_CLOSED_REMEDY);
            }
        }
        "status_on_error" | "statusOnError" => {
            let code = node.get("code").unwrap_or(node);
            let code = code.text().unwrap_or_default();
            if code.starts_with('2') || code == "OK" {
                findings.fail_open(line, key, "use 503");
            }
        }
        "stream_idle_timeout" | "streamIdleTimeout" => {
            known = true;
            let timeout = node.text().and_then(time::parse);
            findings.long_stream(line, key, timeout.filter(|it| !it.is_zero()));
        }
        "max_stream_duration" | "maxStreamDuration" => {
            let timeout = node.text().and_then(time::parse);
            if node.text().is_some() {
                findings.long_stream(line, key, timeout.filter(|it| !it.is_zero()));
            }
        }
        "http_filters" | "httpFilters" => {
            known = true;
            check_filters(line, node, findings);
        }
        "path_prefix" | "pathPrefix" => {
            let prefix = node.text().unwrap_or_default();
            if prefix.contains("ext-authz") && prefix.ends_with('/') {
                let message =
                    format!("{key} ends with /, so each path of the check starts with two slashes");
                findings.error(line, "prefix-slash", message, "remove the last slash");
            }
        }
        "static_resources" | "envoyExtAuthzGrpc" | "envoyExtAuthzHttp" | "extAuth" => known = true,
        "envoy.filters.http.ext_authz" if node.get("disabled").is_some_and(|it| it.is("true")) => {
            findings.unprotected(line, "a route");
        }
        _ => {}
    });
    known
}

/// Checks the HTTP filter chain of a listener.
fn check_filters(line: usize, node: &Node, findings: &mut Findings) {
    let name = |filter: &Node| filter.get("name").and_then(Node::text).map(str::to_owned);
    let names: Vec<String> = node.items().iter().filter_map(name).collect();
    let asks = names.iter().any(|name| name.contains("ext_authz"));
    let routes = names.iter().any(|name| name.contains("router"));
    if routes && !asks {
        let remedy = "put envoy.filters.http.ext_authz before the router, as deploy/envoy does";
        findings.missing_auth(line, "every request of this listener", remedy);
    }
}
