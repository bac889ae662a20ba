//! HAProxy with the configuration that haproxy-ingress renders for `deploy/haproxy/ingress.yaml`. The Lua script of
//! the controller sends the checks. The controller itself does not run, because it needs a cluster.

use std::net::SocketAddr;
use std::process::Command;

use super::{Proxy, ProxyServer, Upstreams};
use crate::router::PUBLIC_HOST;
use crate::support::deployment::{Server, installed_path, read_deploy_file};
use crate::support::{free_port, loopback};

/// The controller's maps. HAProxy finds the backend of a path in the first two maps, and the ID of the path in the
/// last two maps.
const MAPS: [(&str, &str); 4] = [
    (
        "_front_defaulthost__exact.map",
        include_str!("haproxy-ingress-maps/_front_defaulthost__exact.map"),
    ),
    (
        "_front_defaulthost__prefix.map",
        include_str!("haproxy-ingress-maps/_front_defaulthost__prefix.map"),
    ),
    (
        "_back_default_application_80_idpathdef__exact.map",
        include_str!("haproxy-ingress-maps/_back_default_application_80_idpathdef__exact.map"),
    ),
    (
        "_back_default_application_80_idpathdef__prefix.map",
        include_str!("haproxy-ingress-maps/_back_default_application_80_idpathdef__prefix.map"),
    ),
];

/// Starts HAProxy. With [`Upstreams::streams`], the service of the Ingress is Curfew's proxy listener.
pub fn start(upstreams: &Upstreams) -> Proxy {
    let ingress = read_deploy_file("haproxy/ingress.yaml");
    let url = reqwest::Url::parse(annotation(&ingress, "auth-url")).unwrap();
    let path = upstreams.policy.map_or(url.path().to_owned(), |policy| {
        format!("/policy/{policy}{}", url.path())
    });
    let application = upstreams.streams.unwrap_or(upstreams.application);
    let list = |name: &str| annotation(&ingress, name);
    let (address, proxy) = (loopback(free_port()), loopback(free_port()));
    let lua = installed_path("haproxy-ingress");
    let template = match upstreams.public {
        None => include_str!("haproxy-ingress.cfg").to_owned(),
        Some(public) => with_two_hosts(include_str!("haproxy-ingress.cfg"), public),
    };
    let text = template
        .replace("LISTEN", &address.to_string())
        .replace("AUTH_PROXY", &proxy.to_string())
        .replace("CURFEW_CHECK", &upstreams.check.to_string())
        .replace("CURFEW_BROWSER", &upstreams.browser.to_string())
        .replace("APPLICATION", &application.to_string())
        .replace("LUA", lua.to_str().unwrap())
        .replace("CONFIG_GLOBAL", &block(&ingress, "  config-global: |\n"))
        .replace(
            "EARLY",
            &block(
                &ingress,
                "haproxy-ingress.github.io/config-backend-early: |\n",
            ),
        )
        .replace(
            "LATE",
            &block(
                &ingress,
                "haproxy-ingress.github.io/config-backend-late: |\n",
            ),
        )
        .replace("AUTH_PATH", &path)
        .replace("AUTH_METHOD", "GET")
        .replace("HEADERS_REQUEST", list("auth-headers-request"))
        .replace("HEADERS_SUCCEED", list("auth-headers-succeed"))
        .replace("HEADERS_FAIL", list("auth-headers-fail"));
    let text = upstreams.with_mistake(&text);
    let mut files = vec![("haproxy.cfg", &*text)];
    files.extend(MAPS);
    let public_host_map = format!("{PUBLIC_HOST}#/ default_public_80\n");
    files.push(("_front_http_host__prefix.map", &*public_host_map));
    let server = Server::start(
        Command::new(installed_path("haproxy")).args(["-db", "-f", "haproxy.cfg"]),
        &files,
        &[address],
    );
    Proxy {
        address,
        http2: address,
        server: ProxyServer::Server(server),
    }
}

fn annotation<'a>(ingress: &'a str, name: &str) -> &'a str {
    let key = format!("haproxy-ingress.github.io/{name}: ");
    let mut lines = ingress.lines().map(str::trim);
    let value = lines.find_map(|line| line.strip_prefix(&*key));
    value.unwrap_or_else(|| panic!("{name} is not set"))
}

/// Returns the lines of a YAML block with the indentation that the controller uses in a section.
fn block(ingress: &str, key: &str) -> String {
    let (before, rest) = ingress.split_once(key).unwrap();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let key = key.len() - key.trim_start().len();
    let depth = line.len() + key;
    let lines = rest.lines().take_while(|line| {
        let indentation = line.len() - line.trim_start().len();
        indentation > depth
    });
    let lines: Vec<&str> = lines.map(str::trim).collect();
    lines.join("\n    ")
}

/// Returns the configuration with one backend for each host.
fn with_two_hosts(template: &str, public: SocketAddr) -> String {
    let (start, end) = (
        template.find("backend default_application_80").unwrap(),
        template.find("backend _error404").unwrap(),
    );
    let backend = template[start..end]
        .replace(
            "backend default_application_80",
            "backend default_public_80",
        )
        .replace("APPLICATION", &public.to_string());
    let default_lookup =
        "    http-request set-var(req.defaultbackend) str(<default>\\#),concat(,req.path),map_str(";
    let by_host = "    http-request set-var(req.backend) var(req.base),map_dir(_front_http_host__prefix.map)\n";
    let frontend =
        template[end..].replacen(default_lookup, &format!("{by_host}{default_lookup}"), 1);
    format!("{}{backend}{frontend}", &template[..end])
}
