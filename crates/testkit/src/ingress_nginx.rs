//! Runs NGINX with the directives that ingress-nginx renders for the annotations of `deploy/nginx/ingress.yaml`,
//! because the tests have no cluster in which the controller itself could run.

use std::net::SocketAddr;

use super::Listeners;
use super::deployment::{read_deploy_file, replace_once};
use super::nginx::Nginx;

/// The NGINX in the image of the controller contains these modules, but the NGINX of Debian must load them.
const MODULES: &str = "load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_set_misc_module.so;
";

/// The directives that the annotation `auth-signin` adds to a protected location.
const SIGN_IN_DIRECTIVES: &str = "set_escape_uri $escaped_request_uri $request_uri;
error_page 401 = @sign-in;";

/// The Ingress of a host: the address of its application, and its annotation `auth-signin`.
#[derive(Clone)]
pub struct Host<'a> {
    /// The host name, or `_` for all hosts that have no Ingress of their own.
    pub name: &'a str,
    pub application: SocketAddr,
    pub sign_in: Option<String>,
}

/// Returns the value of an annotation in `deploy/nginx/ingress.yaml` or in its comments.
pub fn annotation(name: &str) -> String {
    ingress_value(&format!("nginx.ingress.kubernetes.io/{name}"))
}

fn ingress_value(key: &str) -> String {
    let ingress = read_deploy_file("nginx/ingress.yaml");
    let key = format!("{key}: ");
    let value = ingress.lines().find_map(|line| line.split_once(&*key));
    value
        .unwrap_or_else(|| panic!("no annotation {key}"))
        .1
        .to_owned()
}

/// Returns the data of a ConfigMap in `deploy/nginx/ingress.yaml`.
fn config_map(name: &str) -> Vec<(String, String)> {
    let ingress = read_deploy_file("nginx/ingress.yaml");
    let mut documents = ingress.split("\n---\n");
    let name = format!("\n  name: {name}\n");
    let document = documents.find(|text| text.contains("kind: ConfigMap") && text.contains(&name));
    let (_, data) = document.unwrap().split_once("\ndata:\n").unwrap();
    let lines = data
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .map(|line| line.trim().split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// Returns the directives that the controller renders for the headers in the ConfigMap `name`. The setting
/// `auth-proxy-set-headers` or `proxy-set-headers` refers to this ConfigMap.
fn set_header_directives(name: &str) -> String {
    let headers = config_map(name).into_iter();
    headers
        .map(|(name, value)| format!("proxy_set_header \"{name}\" \"{value}\";\n"))
        .collect()
}

/// Starts NGINX for these hosts, with a configuration from the template of ingress-nginx. The function `change` can
/// edit the template first. `policy` is the policy that the check names, if any.
pub fn start(
    curfew: Listeners,
    policy: Option<&str>,
    hosts: &[Host<'_>],
    change: impl FnOnce(&str) -> String,
) -> Nginx {
    let url = reqwest::Url::parse(&annotation("auth-url")).unwrap();
    let path = policy.map_or(url.path().to_owned(), |policy| {
        format!("/policy/{policy}{}", url.path())
    });
    assert_eq!(annotation("auth-always-set-cookie"), "\"true\"");
    assert_eq!(
        annotation("auth-proxy-set-headers"),
        "default/curfew-request"
    );
    assert_eq!(
        ingress_value("  proxy-set-headers"),
        "ingress-nginx/no-identity"
    );
    let buffer_size = annotation("proxy-buffer-size");
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
    let proxied = replace_once(
        include_str!("ingress-nginx-proxied.conf"),
        &[("PROXY_SET_HEADERS", set_header_directives("no-identity"))],
    );
    let template = change(include_str!("ingress-nginx.conf"));
    let (http, server) = template.split_once("server {").unwrap();
    let http = replace_once(
        http,
        &[(
            "HEADER_BUFFERS",
            ingress_value("large-client-header-buffers"),
        )],
    );
    let (http, upstream) = http.split_once("upstream upstream_balancer").unwrap();
    let mut text = http.to_owned();
    for (index, host) in hosts.iter().enumerate() {
        let upstream = upstream.replace("127.0.0.1:3000", &host.application.to_string());
        text += &format!("upstream upstream_balancer_{index}{upstream}");
    }
    for (index, host) in hosts.iter().enumerate() {
        let sign_in = host.sign_in.as_deref();
        text += &format!("server {{{}", server_template(server, sign_in.is_some()))
            .replace("SERVER_NAME", host.name)
            .replace("AUTH_URL", &format!("http://{}{path}", curfew.check))
            .replace(
                "AUTH_PROXY_SET_HEADERS",
                &set_header_directives("curfew-request"),
            )
            .replace("CURFEW", &curfew.browser.to_string())
            .replace("AUTH_RESPONSE_HEADERS", &response_headers)
            .replace("SIGN_IN_URL", sign_in.unwrap_or("https://unused.example/"))
            .replace(
                "SIGN_IN",
                if sign_in.is_some() {
                    SIGN_IN_DIRECTIVES
                } else {
                    ""
                },
            )
            .replace("include proxied.conf;", &proxied)
            .replace("BUFFER_SIZE", &buffer_size)
            .replace("upstream_balancer", &format!("upstream_balancer_{index}"));
    }
    Nginx::start_with_configuration(&text, MODULES)
}

/// Returns the template `server`. If `has_sign_in` is false, removes the location for `auth-signin` from it.
fn server_template(server: &str, has_sign_in: bool) -> String {
    let (before, rest) = server.split_once("    location @sign-in {").unwrap();
    let (_, after) = rest.split_once("\n    }\n").unwrap();
    match has_sign_in {
        true => server.to_owned(),
        false => format!("{before}{after}"),
    }
}
