//! Common mistakes in the file of a proxy. `curfew probe` must find each mistake.

use crate::kinds::Replacements;

pub struct Mistake {
    pub proxies: &'static [&'static str],
    pub what: &'static str,
    pub replacements: Replacements,
    /// True if the mistake has an effect only while Curfew is down.
    pub while_curfew_is_down: bool,
    /// A line in the output of `curfew probe`.
    pub finding: &'static str,
}

const NO_CHECK_FINDING: &str = "FAIL  without a session, the page is refused: served, 200";
const IDENTITY_REMOVED_FINDING: &str = "FAIL  a Connection header that lists the identity headers has no effect: served, 200, without the identity";
const CACHED_ANSWER_FINDING: &str = "FAIL  after the idle limit, the page is refused: served, 200";
const FORGED_HEADERS_FINDING: &str = "FAIL  forged request headers give no access: served, 200";
const PATH_PREFIX_FINDING: &str = "FAIL  with a session, the page is served: refused, 401 (malformed_request: a rule depends on the path, \
                      and the path begins with two slashes: a path prefix of the proxy must not end in /)";
const FAIL_OPEN_FINDING: &str = "FAIL  while Curfew is down, the page is refused: served, 200";

const fn mistake(
    proxies: &'static [&'static str],
    what: &'static str,
    replacements: Replacements,
    finding: &'static str,
) -> Mistake {
    Mistake {
        proxies,
        what,
        replacements,
        while_curfew_is_down: false,
        finding,
    }
}

const fn fail_open_mistake(
    proxies: &'static [&'static str],
    what: &'static str,
    replacements: Replacements,
) -> Mistake {
    Mistake {
        proxies,
        what,
        replacements,
        while_curfew_is_down: true,
        finding: FAIL_OPEN_FINDING,
    }
}

pub static MISTAKES: [Mistake; 28] = [
    mistake(
        &["NGINX"],
        "no auth_request",
        &[("auth_request /_curfew/check;", "")],
        NO_CHECK_FINDING,
    ),
    fail_open_mistake(
        &["NGINX"],
        "errors of the check admit requests",
        &[(
            "error_page 401 = @refused;",
            "error_page 401 = @refused;\n        error_page 500 = @open;\n    }\n    location @open {\n        \
             proxy_pass http://application;\n    }\n    location /unused {",
        )],
    ),
    mistake(
        &["ingress-nginx"],
        "no auth-url",
        &[("auth_request /_external-auth;", "")],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["ingress-nginx"],
        "cached answers: auth-cache-key, and a snippet that ignores Curfew's Cache-Control",
        &[
            (
                "set $tmp_cache_key '$host/_external-auth$cookie___Host_session';",
                "set $tmp_cache_key '$host/_external-auth$http_cookie';",
            ),
            (
                "proxy_cache_key \"$tmp_cache_key\";",
                "proxy_cache_key \"$tmp_cache_key\";\n        proxy_ignore_headers Cache-Control Set-Cookie;",
            ),
        ],
        CACHED_ANSWER_FINDING,
    ),
    mistake(
        &["ingress-nginx"],
        "custom-http-errors: 401, and a backend that answers them with 200",
        &[(
            "location ~* \"^/\" {\n",
            "location @custom_upstream-default-backend_401 {\n        internal;\n        \
             proxy_set_header X-Code 401;\n        rewrite (.*) / break;\n        \
             proxy_pass http://upstream_balancer;\n    }\n\n    location ~* \"^/\" {\n        \
             proxy_intercept_errors on;\n        error_page 401 = @custom_upstream-default-backend_401;\n",
        )],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Traefik"],
        "a router without the middleware",
        &[(
            "middlewares: [no-identity, curfew]",
            "middlewares: [no-identity]",
        )],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Traefik"],
        "trustForwardHeader, at an entry point that trusts every client",
        &[
            ("trustForwardHeader: false", "trustForwardHeader: true"),
            (
                "    http:\n      # Some",
                "    forwardedHeaders:\n      insecure: true\n    http:\n      # Some",
            ),
        ],
        FORGED_HEADERS_FINDING,
    ),
    mistake(
        &["Traefik"],
        "an errors middleware that answers denials with 200",
        &[
            (
                "middlewares: [no-identity, curfew]",
                "middlewares: [pages, no-identity, curfew]",
            ),
            (
                "    # Remove the client's own identity headers.\n",
                "    pages:\n      errors:\n        status: \"401\"\n        statusRewrites: { \"401\": 200 }\n        \
                 service: application\n        query: /\n\n    # Remove the client's own identity headers.\n",
            ),
        ],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Traefik ingress-nginx"],
        "an empty auth-url",
        &[(
            "auth-url: http://curfew.curfew.svc.cluster.local:9180/forward-auth",
            "auth-url: \"\"",
        )],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["haproxy-ingress"],
        "no auth-url",
        &[
            (
                "http-request lua.auth-intercept",
                "# http-request lua.auth-intercept",
            ),
            (
                "http-request deny if !{ var(txn.auth_response_successful) -m bool } {",
                "# http-request deny if {",
            ),
            (
                "http-request deny if !{ path /sign-in }",
                "# http-request deny if {",
            ),
        ],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Caddy"],
        "no forward_auth",
        &[("\t\t\timport curfew\n", "")],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Caddy"],
        "Connection may list the identity",
        &[
            ("\trequest_header @upgrade Connection Upgrade\n", ""),
            ("\trequest_header @no_upgrade -Connection\n", ""),
        ],
        IDENTITY_REMOVED_FINDING,
    ),
    fail_open_mistake(
        &["Caddy"],
        "errors of the check admit requests",
        &[(
            ":8080 {\n",
            ":8080 {\n\thandle_errors 502 504 {\n\t\treverse_proxy application:3000 {\n\t\t\t\
             @any status 2xx\n\t\t\thandle_response @any {\n\t\t\t\trespond open 200\n\t\t\t}\n\t\t}\n\t}\n",
        )],
    ),
    mistake(
        &["Envoy HTTP", "Envoy gRPC"],
        "the filter is disabled for the route",
        &[(
            "- match: { prefix: / }\n",
            "- match: { prefix: / }\n                          typed_per_filter_config:\n                            \
             envoy.filters.http.ext_authz:\n                              \
             \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n                              \
             disabled: true\n",
        )],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Envoy HTTP"],
        "a prefix that ends in a slash",
        &[("path_prefix: /ext-authz\n", "path_prefix: /ext-authz/\n")],
        PATH_PREFIX_FINDING,
    ),
    fail_open_mistake(
        &["Envoy HTTP", "Envoy gRPC"],
        "failure_mode_allow",
        &[("failure_mode_allow: false", "failure_mode_allow: true")],
    ),
    mistake(
        &["HAProxy 2.6", "HAProxy 2.8"],
        "every path is public",
        &[("acl public path /sign-in", "acl public path_beg /")],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["HAProxy 2.6", "HAProxy 2.8"],
        "denials are answered with 200",
        &[(
            "http-request return status 401 content-type \"text/html; charset=utf-8\"",
            "http-request return status 200 content-type \"text/html; charset=utf-8\"",
        )],
        NO_CHECK_FINDING,
    ),
    fail_open_mistake(
        &["HAProxy 2.6", "HAProxy 2.8"],
        "only explicit denials are enforced",
        &[("http-request return status 503 if !public !allowed", "")],
    ),
    mistake(
        &["Traefik IngressRoute"],
        "no middleware for the check",
        &[(
            "        - name: no-identity\n        - name: curfew\n",
            "        - name: no-identity\n",
        )],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Traefik Ingress"],
        "no middleware for the check",
        &[(",default_curfew@kubernetescrd", "")],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Traefik Gateway API"],
        "no filter for the check",
        &[(
            "            name: curfew\n",
            "            name: no-identity\n",
        )],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Envoy Gateway HTTP"],
        "a SecurityPolicy for another route",
        &[(
            "      name: application\n  extAuth:",
            "      name: other\n  extAuth:",
        )],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Envoy Gateway gRPC"],
        "a SecurityPolicy for another route",
        &[(
            "      name: application-grpc\n  extAuth:",
            "      name: other\n  extAuth:",
        )],
        NO_CHECK_FINDING,
    ),
    fail_open_mistake(
        &["Envoy Gateway HTTP"],
        "failOpen",
        &[(
            "failOpen: false\n    statusOnError: 503\n    timeout: 1s\n    #",
            "failOpen: true\n    timeout: 1s\n    #",
        )],
    ),
    mistake(
        &["haproxy-ingress controller"],
        "no auth-url",
        &[
            ("haproxy-ingress.github.io/auth-url:", "example.com/unused:"),
            (
                "http-request deny if !{ path /sign-in } !{ var(txn.auth_response_successful) -m bool }\n",
                "\n",
            ),
        ],
        NO_CHECK_FINDING,
    ),
    mistake(
        &["Contour"],
        "a route without the check",
        &[(
            "enableWebsockets: true\n",
            "enableWebsockets: true\n      authPolicy: { disabled: true }\n",
        )],
        NO_CHECK_FINDING,
    ),
    fail_open_mistake(
        &["Contour"],
        "failOpen",
        &[("failOpen: false", "failOpen: true")],
    ),
];
