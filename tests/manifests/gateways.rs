//! Compares the files for Istio, Envoy Gateway and the Gateway API with the files that other tests run in Envoy.

use super::*;

const MESH_CONFIG: &str = "deploy/istio/mesh-config.yaml";
const AUTHORIZATION_POLICY: &str = "deploy/istio/authorization-policy.yaml";
const ENVOY_GATEWAY: &str = "deploy/gateway-api/envoy-gateway.yaml";
const ISTIO_GLOBAL: &str = "deploy/istio/authorization-policy-global.yaml";
const ENVOY_GATEWAY_GLOBAL: &str = "deploy/gateway-api/envoy-gateway-global.yaml";
const EXTERNAL_AUTH: &str = "deploy/gateway-api/external-auth.yaml";

/// Returns two filters of an Envoy file: the filter that removes forged identities, and the external authorization.
fn read_envoy_filters(file: &str) -> (Value, Value) {
    let mut envoy = read_documents(file).remove(0);
    let mut manager =
        envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
            .take();
    let filters = manager["http_filters"].take();
    (filters[0].clone(), filters[1]["typed_config"].clone())
}

/// The header with the deadline of a stream. Only Envoy's own files have routes that use it.
const STREAM_DEADLINE: &str = "grpc-timeout";

/// Returns the request headers that Envoy sends to Curfew over HTTP, without the deadline of a stream.
pub fn checked_headers() -> Vec<String> {
    let (_, ext_authz) = read_envoy_filters("deploy/envoy/http.yaml");
    let mut names = exact_names(&ext_authz["allowed_headers"]["patterns"]);
    names.retain(|name| name != STREAM_DEADLINE);
    names
}

fn exact_names(patterns: &Value) -> Vec<String> {
    let patterns = patterns.as_array().unwrap().iter();
    let patterns: Vec<&Value> = patterns.map(|pattern| &pattern["exact"]).collect();
    sorted_names(&json!(patterns))
}

/// Returns the regular expression that matches identity headers in every spelling.
fn identity_pattern() -> Value {
    let (mutation, _) = read_envoy_filters("deploy/envoy/http.yaml");
    let mutation = &mutation["typed_config"]["mutations"]["request_mutations"][0];
    mutation["remove_on_match"]["key_matcher"]["safe_regex"]["regex"].clone()
}

/// Asserts that this rule of an HTTPRoute matches only the public sign-in path, and removes the identity headers of
/// clients.
fn assert_sign_in_route(rule: &Value) {
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
    let (http, ext_auth) = read_envoy_filters("deploy/envoy/http.yaml");
    let (grpc, _) = read_envoy_filters("deploy/envoy/grpc.yaml");
    assert_eq!(http, grpc);
    let upstream_headers =
        &ext_auth["http_service"]["authorization_response"]["allowed_upstream_headers"];
    let mut names = exact_names(&upstream_headers["patterns"]);
    names.retain(|name| name != STREAM_DEADLINE);
    assert_eq!(names, identity_headers());
    let on_success = "allowed_client_headers_on_success";
    let to_client = &ext_auth["http_service"]["authorization_response"][on_success];
    assert_eq!(exact_names(&to_client["patterns"]), ["set-cookie"]);
}

#[test]
fn istio_sends_the_same_checks_as_envoy() {
    let (mutation, ext_authz) = read_envoy_filters("deploy/envoy/http.yaml");
    let providers =
        read_documents(MESH_CONFIG).remove(0)["meshConfig"]["extensionProviders"].take();
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

    let policy =
        read_document(AUTHORIZATION_POLICY, "AuthorizationPolicy", "curfew")["spec"].take();
    assert_eq!(policy["provider"]["name"], providers[0]["name"]);
    assert_eq!(
        policy["rules"][0]["to"][0]["operation"]["notPaths"],
        json!(["/sign-in", "/.curfew/*"])
    );
    let service =
        read_document(AUTHORIZATION_POLICY, "VirtualService", "application")["spec"].take();
    let sign_in_route = &service["http"][0];
    assert_eq!(
        sign_in_route["match"],
        json!([{ "uri": { "exact": "/sign-in" } }])
    );
    assert_eq!(
        sorted_names(&sign_in_route["headers"]["request"]["remove"]),
        identity_headers()
    );
    let filter = read_document(AUTHORIZATION_POLICY, "EnvoyFilter", "no-identity");
    assert_eq!(
        filter["spec"]["configPatches"][0]["patch"]["value"],
        mutation
    );
}

#[test]
fn envoy_gateway_sends_the_same_checks_as_envoy() {
    let (_, ext_authz) = read_envoy_filters("deploy/envoy/http.yaml");
    let policy = read_document(ENVOY_GATEWAY, "SecurityPolicy", "curfew-http")["spec"].take();
    let ext_auth = &policy["extAuth"];
    assert_eq!(ext_auth["failOpen"], false);
    assert_eq!(
        sorted_names(&ext_auth["headersToExtAuth"]),
        checked_headers()
    );
    assert_eq!(
        sorted_names(&ext_auth["http"]["headersToBackend"]),
        identity_headers()
    );
    assert_eq!(
        ext_auth["http"]["path"],
        ext_authz["http_service"]["path_prefix"]
    );
    assert_eq!(ext_auth["http"]["backendRefs"][0]["port"], 9180);
    let policy = read_document(ENVOY_GATEWAY, "SecurityPolicy", "curfew-grpc")["spec"].take();
    let ext_auth = &policy["extAuth"];
    assert_eq!(ext_auth["failOpen"], false);
    assert_eq!(ext_auth["contextExtensions"][0]["name"], "policy");
    assert_eq!(ext_auth["grpc"]["backendRefs"][0]["port"], 9181);
    // Over gRPC, Envoy sends all headers if this list is missing.
    assert!(ext_auth.get("headersToExtAuth").is_none());
    for (policy, route) in [
        ("curfew-http", "application"),
        ("curfew-grpc", "application-grpc"),
    ] {
        let target =
            &read_document(ENVOY_GATEWAY, "SecurityPolicy", policy)["spec"]["targetRefs"][0];
        assert_eq!(target["name"], route);
        read_document(ENVOY_GATEWAY, "HTTPRoute", route);
    }
    let sign_in_route = read_document(ENVOY_GATEWAY, "HTTPRoute", "application-sign-in");
    assert_sign_in_route(&sign_in_route["spec"]["rules"][0]);
    let traffic = read_document(ENVOY_GATEWAY, "ClientTrafficPolicy", "no-identity");
    let removed = &traffic["spec"]["headers"]["earlyRequestHeaders"]["removeOnMatch"][0];
    assert_eq!(removed["value"], identity_pattern());
}

#[test]
fn the_gateway_api_filter_sends_the_same_checks_as_envoy() {
    let (_, ext_authz) = read_envoy_filters("deploy/envoy/http.yaml");
    let rules =
        read_document(EXTERNAL_AUTH, "HTTPRoute", "application-external-auth")["spec"]["rules"]
            .take();
    let filter = &rules[0]["filters"][0];
    assert_eq!(filter["type"], "ExternalAuth");
    let ext_auth = &filter["externalAuth"];
    assert_eq!(ext_auth["protocol"], "HTTP");
    assert_eq!(ext_auth["backendRef"]["port"], 9180);
    assert_eq!(
        ext_auth["http"]["path"],
        ext_authz["http_service"]["path_prefix"]
    );
    assert_eq!(
        sorted_names(&ext_auth["http"]["allowedHeaders"]),
        checked_headers()
    );
    assert_eq!(
        sorted_names(&ext_auth["http"]["allowedResponseHeaders"]),
        identity_headers()
    );
    assert_sign_in_route(&rules[1]);
    let rules = read_document(EXTERNAL_AUTH, "HTTPRoute", "application-external-auth-grpc")["spec"]
        ["rules"]
        .take();
    let ext_auth = &rules[0]["filters"][0]["externalAuth"];
    assert_eq!(ext_auth["protocol"], "GRPC");
    assert_eq!(ext_auth["backendRef"]["port"], 9181);
    assert_eq!(
        sorted_names(&ext_auth["grpc"]["allowedHeaders"]),
        checked_headers()
    );
    assert_sign_in_route(&rules[1]);
}

/// The policy for all hosts has the provider and the filter of the policy for one host. It has no exception, because an
/// application may read a path in another way than Istio.
#[test]
fn the_global_policy_of_istio_checks_every_path() {
    let [global, one] = [ISTIO_GLOBAL, AUTHORIZATION_POLICY]
        .map(|file| read_document(file, "AuthorizationPolicy", "curfew"));
    assert_eq!(global["metadata"], one["metadata"]);
    for key in ["selector", "action", "provider"] {
        assert_eq!(global["spec"][key], one["spec"][key], "{key}");
    }
    assert_eq!(global["spec"]["rules"], json!([{}]));
    let [global, one] = [ISTIO_GLOBAL, AUTHORIZATION_POLICY]
        .map(|file| read_document(file, "EnvoyFilter", "no-identity"));
    assert_eq!(global, one);
    let service = read_document(ISTIO_GLOBAL, "VirtualService", "curfew-browser");
    let route = &service["spec"]["http"][0];
    assert_eq!(
        route["match"],
        json!([{ "uri": { "prefix": "/.curfew/" } }])
    );
    assert_eq!(route["route"][0]["destination"]["port"]["number"], 9183);
}

/// The SecurityPolicy of the Gateway sends the checks of the SecurityPolicy of a route.
#[test]
fn the_global_policy_of_envoy_gateway_equals_that_of_a_route() {
    let mut global = read_document(ENVOY_GATEWAY_GLOBAL, "SecurityPolicy", "curfew");
    let target = &global["spec"]["targetRefs"][0];
    assert_eq!(
        (&target["kind"], &target["name"]),
        (&json!("Gateway"), &json!("web"))
    );
    let backend = &mut global["spec"]["extAuth"]["http"]["backendRefs"][0];
    assert_eq!(backend["namespace"].take(), "curfew");
    backend.as_object_mut().unwrap().remove("namespace");
    let one = read_document(ENVOY_GATEWAY, "SecurityPolicy", "curfew-http");
    assert_eq!(global["spec"]["extAuth"], one["spec"]["extAuth"]);
    let grant = read_document(ENVOY_GATEWAY_GLOBAL, "ReferenceGrant", "curfew");
    let from = &grant["spec"]["from"][0];
    assert_eq!(grant["metadata"]["namespace"], "curfew");
    assert_eq!(from["namespace"], global["metadata"]["namespace"]);
    let [global, one] = [ENVOY_GATEWAY_GLOBAL, ENVOY_GATEWAY]
        .map(|file| read_document(file, "ClientTrafficPolicy", "no-identity"));
    assert_eq!(global["spec"], one["spec"]);
    // Only the route to Curfew itself has no check.
    let exception = read_document(ENVOY_GATEWAY_GLOBAL, "SecurityPolicy", "curfew-browser");
    let target = &exception["spec"]["targetRefs"][0];
    let route = read_document(
        ENVOY_GATEWAY_GLOBAL,
        "HTTPRoute",
        target["name"].as_str().unwrap(),
    );
    assert_eq!(
        route["metadata"]["namespace"],
        exception["metadata"]["namespace"]
    );
    let rules = route["spec"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0]["matches"][0]["path"]["value"], "/.curfew/");
    assert_eq!(
        rules[0]["backendRefs"],
        json!([{ "name": "curfew", "port": 9183 }])
    );
}
