//! NGINX with the directives that ingress-nginx renders for the annotations of
//! `deploy/nginx/ingress.yaml`; there is no cluster to run the controller itself.

use super::{Proxy, Running, Upstreams};
use crate::support::deployed::{changed, deployed};
use crate::support::nginx::Nginx;

/// The host whose Ingress has the optional annotation `auth-signin`.
pub const REDIRECTING_HOST: &str = "redirected.example.com";

/// What the controller's own image has built in, and Debian has as modules.
const MODULES: &str = "load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_set_misc_module.so;
";

/// What the annotation `auth-signin` adds to a protected location.
const SIGN_IN: &str = "set_escape_uri $escaped_request_uri $request_uri;
error_page 401 = @sign-in;";

pub fn start(upstreams: &Upstreams) -> Proxy {
    let ingress = deployed("nginx/ingress.yaml");
    let value = |key: &str| {
        let key = format!("{key}: ");
        let value = ingress.lines().find_map(|line| line.split_once(&*key));
        value.unwrap_or_else(|| panic!("{key} is not there")).1
    };
    let annotation = |name: &str| value(&format!("nginx.ingress.kubernetes.io/{name}"));
    let url = reqwest::Url::parse(annotation("auth-url")).unwrap();
    let path = upstreams.policy.map_or(url.path().to_owned(), |policy| {
        format!("/policy/{policy}{}", url.path())
    });
    assert_eq!(annotation("auth-always-set-cookie"), "\"true\"");
    let response_headers: String = annotation("auth-response-headers")
        .split(',')
        .enumerate()
        .map(|(index, name)| {
            let variable = name.to_lowercase().replace('-', "_");
            format!(
                "auth_request_set $authHeader{index} $upstream_http_{variable};\n\
                 proxy_set_header '{name}' $authHeader{index};\n"
            )
        })
        .collect();
    assert_eq!(value("proxy-set-headers"), "ingress-nginx/no-identity");
    let (_, set_headers) = ingress.rsplit_once("\ndata:\n").unwrap();
    let set_headers: String = set_headers
        .lines()
        .map(|line| line.trim().split_once(": ").unwrap())
        .map(|(name, value)| format!("proxy_set_header {name} {value};\n"))
        .collect();
    let proxied = changed(
        include_str!("ingress-nginx-proxied.conf"),
        &[("PROXY_SET_HEADERS", set_headers)],
    );
    let template = upstreams.break_(include_str!("ingress-nginx.conf"));
    let (http, server) = template.split_once("server {").unwrap();
    let http = changed(
        http,
        &[
            ("127.0.0.1:3000", upstreams.application.to_string()),
            (
                "HEADER_BUFFERS",
                value("large-client-header-buffers").to_owned(),
            ),
        ],
    );
    let server = |name: &str, sign_in: &str| {
        let text = format!("server {{{server}");
        text.replace("SERVER_NAME", name)
            .replace("AUTH_URL", &format!("http://{}{path}", upstreams.check))
            .replace("CURFEW", &upstreams.check.to_string())
            .replace("AUTH_RESPONSE_HEADERS", &response_headers)
            .replace("SIGN_IN_URL", annotation("auth-signin"))
            .replace("SIGN_IN", sign_in)
            .replace("include proxied.conf;", &proxied)
    };
    let text = [http, server("_", ""), server(REDIRECTING_HOST, SIGN_IN)].concat();
    let nginx = Nginx::with(&text, MODULES);
    Proxy {
        address: nginx.address,
        http2: nginx.http2,
        server: Running::Nginx(nginx),
    }
}
