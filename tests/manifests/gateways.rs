//! Compares the files for Istio, Envoy Gateway and the Gateway API with the files that other tests run in Envoy.

use super::*;

const MESH: &str = "deploy/istio/mesh-config.yaml";
const POLICY: &str = "deploy/istio/authorization-policy.yaml";
const ENVOY_GATEWAY: &str = "deploy/gateway-api/envoy-gateway.yaml";
const EXTERNAL_AUTH: &str = "deploy/gateway-api/external-auth.yaml";

/// Returns two filters of an Envoy file: the filter that removes forged identities, and the external authorization.
fn envoy_filters(file: &str) -> (Value, Value) {
    let mut envoy = documents(file).remove(0);
    let mut manager =
        envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
            .take();
    let filters = manager["http_filters"].take();
    (filters[0].clone(), filters[1]["typed_config"].clone())
}

/// Returns the request headers that Envoy sends to Curfew over HTTP.
pub fn checked_headers() -> Vec<String> {
    let (_, ext_authz) = envoy_filters("deploy/envoy/http.yaml");
    exact_names(&ext_authz["allowed_headers"]["patterns"])
}

fn exact_names(patterns: &Value) -> Vec<String> {
    let patterns = patterns.as_array().unwrap().iter();
    let patterns: Vec<&Value> = patterns.map(|pattern| &pattern["exact"]).collect();
    sorted_names(&json!(patterns))
}

/// Returns the regular expression that matches identity headers in every spelling.
fn identity_pattern() -> Value {
    let (mutation, _) = envoy_filters("deploy/envoy/http.yaml");
    let mutation = &mutation["typed_config"]["mutations"]["request_mutations"][0];
    mutation["remove_on_match"]["key_matcher"]["safe_regex"]["regex"].clone()
}

/// Asserts that the rule makes only the sign-in path public, and removes the identity headers of clients.
fn assert_way_in(rule: &Value) {
    assert_eq!(
        rule["matches"][0]["path"],
        json!({ "type": "Exact", "value": "/sign-in" })
    );
    let filters = rule["filters"].as_array().unwrap();
    assert_eq!(filters.len(), 1);
    assert_eq!(
        sorted_names(&filters[0]["requestHeaderModifier"]["remove"]),
        identity_headers()
    );
}

#[test]
fn the_two_envoy_files_agree() {
    let (http, asking) = envoy_filters("deploy/envoy/http.yaml");
    let (grpc, _) = envoy_filters("deploy/envoy/grpc.yaml");
    assert_eq!(http, grpc);
    let handed_on = &asking["http_service"]["authorization_response"]["allowed_upstream_headers"];
    assert_eq!(exact_names(&handed_on["patterns"]), identity_headers());
    let on_success = "allowed_client_headers_on_success";
    let to_client = &asking["http_service"]["authorization_response"][on_success];
    assert_eq!(exact_names(&to_client["patterns"]), ["set-cookie"]);
}

#[test]
fn istio_sends_the_same_checks_as_envoy() {
    let (mutation, ext_authz) = envoy_filters("deploy/envoy/http.yaml");
    let providers = documents(MESH).remove(0)["meshConfig"]["extensionProviders"].take();
    let http = &providers[0]["envoyExtAuthzHttp"];
    assert_eq!(http["pathPrefix"], ext_authz["http_service"]["path_prefix"]);
    assert_eq!(
        (&http["port"], &http["failOpen"]),
        (&json!(9180), &json!(false))
    );
    assert_eq!(
        sorted_names(&http["includeRequestHeadersInCheck"]),
        checked_headers()
    );
    assert_eq!(
        sorted_names(&http["headersToUpstreamOnAllow"]),
        identity_headers()
    );
    assert_eq!(
        sorted_names(&http["headersToDownstreamOnAllow"]),
        ["set-cookie"]
    );
    let on_deny = sorted_names(&http["headersToDownstreamOnDeny"]);
    for header in [
        "location",
        "set-cookie",
        "www-authenticate",
        "x-session-reason",
        "x-session-detail",
        "content-type",
    ] {
        assert!(on_deny.contains(&header.to_owned()), "{header}");
    }
    let grpc = &providers[1]["envoyExtAuthzGrpc"];
    assert_eq!(
        (&grpc["port"], &grpc["failOpen"]),
        (&json!(9181), &json!(false))
    );

    let policy = document(POLICY, "AuthorizationPolicy", "curfew")["spec"].take();
    assert_eq!(policy["provider"]["name"], providers[0]["name"]);
    assert_eq!(
        policy["rules"][0]["to"][0]["operation"]["notPaths"],
        json!(["/sign-in", "/.curfew/*"])
    );
    let service = document(POLICY, "VirtualService", "application")["spec"].take();
    let way_in = &service["http"][0];
    assert_eq!(way_in["match"], json!([{ "uri": { "exact": "/sign-in" } }]));
    assert_eq!(
        sorted_names(&way_in["headers"]["request"]["remove"]),
        identity_headers()
    );
    let filter = document(POLICY, "EnvoyFilter", "no-identity");
    assert_eq!(
        filter["spec"]["configPatches"][0]["patch"]["value"],
        mutation
    );
}

#[test]
fn envoy_gateway_sends_the_same_checks_as_envoy() {
    let (_, ext_authz) = envoy_filters("deploy/envoy/http.yaml");
    let policy = document(ENVOY_GATEWAY, "SecurityPolicy", "curfew-http")["spec"].take();
    let asking = &policy["extAuth"];
    assert_eq!(asking["failOpen"], false);
    assert_eq!(sorted_names(&asking["headersToExtAuth"]), checked_headers());
    assert_eq!(
        sorted_names(&asking["http"]["headersToBackend"]),
        identity_headers()
    );
    assert_eq!(
        asking["http"]["path"],
        ext_authz["http_service"]["path_prefix"]
    );
    assert_eq!(asking["http"]["backendRefs"][0]["port"], 9180);
    let policy = document(ENVOY_GATEWAY, "SecurityPolicy", "curfew-grpc")["spec"].take();
    let asking = &policy["extAuth"];
    assert_eq!(asking["failOpen"], false);
    assert_eq!(asking["contextExtensions"][0]["name"], "policy");
    assert_eq!(asking["grpc"]["backendRefs"][0]["port"], 9181);
    // Over gRPC, Envoy sends all headers if this list is missing.
    assert!(asking.get("headersToExtAuth").is_none());
    for (policy, route) in [
        ("curfew-http", "application"),
        ("curfew-grpc", "application-grpc"),
    ] {
        let target = &document(ENVOY_GATEWAY, "SecurityPolicy", policy)["spec"]["targetRefs"][0];
        assert_eq!(target["name"], route);
        document(ENVOY_GATEWAY, "HTTPRoute", route);
    }
    let way_in = document(ENVOY_GATEWAY, "HTTPRoute", "application-sign-in");
    assert_way_in(&way_in["spec"]["rules"][0]);
    let traffic = document(ENVOY_GATEWAY, "ClientTrafficPolicy", "no-identity");
    let removed = &traffic["spec"]["headers"]["earlyRequestHeaders"]["removeOnMatch"][0];
    assert_eq!(removed["value"], identity_pattern());
}

#[test]
fn the_gateway_api_filter_sends_the_same_checks_as_envoy() {
    let (_, ext_authz) = envoy_filters("deploy/envoy/http.yaml");
    let rules = document(EXTERNAL_AUTH, "HTTPRoute", "application")["spec"]["rules"].take();
    let filter = &rules[0]["filters"][0];
    assert_eq!(filter["type"], "ExternalAuth");
    let asking = &filter["externalAuth"];
    assert_eq!(asking["protocol"], "HTTP");
    assert_eq!(asking["backendRef"]["port"], 9180);
    assert_eq!(
        asking["http"]["path"],
        ext_authz["http_service"]["path_prefix"]
    );
    assert_eq!(
        sorted_names(&asking["http"]["allowedHeaders"]),
        checked_headers()
    );
    assert_eq!(
        sorted_names(&asking["http"]["allowedResponseHeaders"]),
        identity_headers()
    );
    assert_way_in(&rules[1]);
    let rules = document(EXTERNAL_AUTH, "HTTPRoute", "application-grpc")["spec"]["rules"].take();
    let asking = &rules[0]["filters"][0]["externalAuth"];
    assert_eq!(asking["protocol"], "GRPC");
    assert_eq!(asking["backendRef"]["port"], 9181);
    assert_eq!(
        sorted_names(&asking["grpc"]["allowedHeaders"]),
        checked_headers()
    );
    assert_way_in(&rules[1]);
}
