//! NGINX with the directives that ingress-nginx renders for the annotations of a snippet. The controller itself does
//! not run, because it needs a cluster.

use crate::harness::Upstreams;
use crate::proxies::Proxy;
use crate::snippet::replace_all;
use crate::support::nginx::Nginx;

/// The controller's image contains these modules, but Debian's NGINX must load them.
const MODULES: &str = "load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_set_misc_module.so;
";

/// The part of the template that redirects to `auth-signin`.
const SIGN_IN_REDIRECT: &str =
    "SIGN_IN_URL?rd=$pass_access_scheme://$http_host$escaped_request_uri";

pub fn start(text: &str, upstreams: &Upstreams) -> Proxy {
    let manifest = Manifest(text);
    let url = reqwest::Url::parse(manifest.annotation("auth-url").unwrap()).unwrap();
    let path = url.path();
    let response_headers = manifest.annotation("auth-response-headers").unwrap();
    let response_headers: String = response_headers
        .split(',')
        .enumerate()
        .map(response_header)
        .collect();
    let proxied = replace_all(
        include_str!("../../crates/testkit/src/ingress-nginx-proxied.conf"),
        &[("PROXY_SET_HEADERS", "")],
    );
    let text = replace_all(
        &manifest.locations(include_str!("../../crates/testkit/src/ingress-nginx.conf")),
        &[
            ("HEADER_BUFFERS", "4 8k"),
            ("SERVER_NAME", manifest.host()),
            ("AUTH_URL", &format!("http://{}{path}", upstreams.check)),
            ("AUTH_PROXY_SET_HEADERS", &manifest.check_headers()),
            ("AUTH_RESPONSE_HEADERS", &response_headers),
            (SIGN_IN_REDIRECT, &manifest.sign_in()),
            (
                "SIGN_IN",
                "set_escape_uri $escaped_request_uri $request_uri;\nerror_page 401 = @sign-in;",
            ),
            ("include proxied.conf;", &proxied),
            (
                "BUFFER_SIZE",
                manifest.annotation("proxy-buffer-size").unwrap_or("4k"),
            ),
            ("127.0.0.1:3000", &upstreams.application.to_string()),
        ],
    );
    // Does not use `replace_all`, which would panic: the unchanged manifest has no route to the browser listener.
    let text = text.replace("CURFEW", &upstreams.browser.to_string());
    Proxy::of(Nginx::start_with_configuration(&text, MODULES))
}

fn response_header((index, name): (usize, &str)) -> String {
    let variable = name.to_lowercase().replace('-', "_");
    format!(
        "auth_request_set $authHeader{index} $upstream_http_{variable};\n\
         proxy_set_header '{name}' $authHeader{index};\n"
    )
}

/// A manifest. Its first object is the Ingress of the application.
struct Manifest<'a>(&'a str);

impl<'a> Manifest<'a> {
    fn annotation(&self, name: &str) -> Option<&'a str> {
        let key = format!("nginx.ingress.kubernetes.io/{name}: ");
        let mut lines = self.0.lines();
        let value = lines.find_map(|line| line.trim_start().strip_prefix(&*key))?;
        let value = value.split("  # ").next().unwrap_or_default();
        Some(value.trim().trim_matches(['\'', '"']))
    }

    fn host(&self) -> &'a str {
        let (_, rest) = self.0.split_once("- host: ").unwrap();
        rest.lines().next().unwrap()
    }

    /// Returns the template with the locations of this manifest. It has no location for `/sign-in`, and a location
    /// for `/.curfew/` only if the manifest routes that path.
    fn locations(&self, template: &str) -> String {
        let mut text = without_location(template, "    location ~* \"^/sign-in$\" {");
        if !self.0.contains("path: /.curfew/") {
            text = without_location(&text, "    location ~* \"^/.curfew/\" {");
        }
        // The controller uses regular expressions only for hosts with the annotation `rewrite-target`.
        text = text
            .replace("location ~* \"^/.curfew/\"", "location /.curfew/")
            .replace("location ~* \"^/\"", "location /");
        if self.annotation("auth-always-set-cookie") == Some("true") {
            return text;
        }
        let always = "add_header Set-Cookie $auth_cookie always;";
        replace_all(&text, &[(always, "add_header Set-Cookie $auth_cookie;")])
    }

    /// Returns the directives that `auth-method` and `auth-proxy-set-headers` add to the check.
    fn check_headers(&self) -> String {
        let mut text = String::new();
        if let Some(method) = self.annotation("auth-method") {
            text += &format!(
                "proxy_method {method};\nproxy_set_header X-Original-URI $request_uri;\n\
                 proxy_set_header X-Scheme $pass_access_scheme;\n"
            );
        }
        if let Some(reference) = self.annotation("auth-proxy-set-headers") {
            for (name, value) in self.config_map(reference) {
                text += &format!("proxy_set_header \"{name}\" \"{value}\";\n");
            }
        }
        text
    }

    /// Returns the data of the ConfigMap `namespace/name`.
    fn config_map(&self, reference: &str) -> Vec<(&'a str, &'a str)> {
        let (namespace, name) = reference.split_once('/').unwrap();
        let metadata = format!(
            "kind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n"
        );
        let mut documents = self.0.split("\n---\n");
        let data = documents.find_map(|document| Some(document.split_once(&*metadata)?.1));
        let lines = data.unwrap().lines();
        lines
            .map(|line| line.trim().split_once(": ").unwrap())
            .collect()
    }

    /// Returns the URL of `auth-signin`, with the return address that the controller adds.
    fn sign_in(&self) -> String {
        let url = self.annotation("auth-signin").unwrap();
        if url.contains("rd=") {
            return url.to_owned();
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}rd=$pass_access_scheme://$http_host$escaped_request_uri")
    }
}

/// Returns the template without the location whose first line starts with `head`.
fn without_location(template: &str, head: &str) -> String {
    let (before, rest) = template.split_once(head).unwrap();
    let (_, after) = rest.split_once("\n    }\n").unwrap();
    format!("{before}{after}")
}
