//! The addresses in the files with the global setting of a controller. These files are Kubernetes manifests: some of
//! their fields contain a URL, and others the name, the namespace and the port of a Service.

use super::addresses::replace_exactly;
use super::{DEFAULT_BROWSER, DEFAULT_CHECK, DEFAULT_GRPC, Proxy, RenderAddresses, RenderError};

/// The host of Curfew's Service in the files of `deploy/`.
const DEFAULT_HOST: &str = "curfew.curfew.svc.cluster.local";
/// The domain of a cluster, unless the address contains another one.
const DEFAULT_DOMAIN: &str = "cluster.local";

/// Writes the addresses into a file with the global setting of a controller.
pub(super) fn set_global_addresses(
    proxy: Proxy,
    name: &str,
    text: &str,
    addresses: &RenderAddresses,
) -> Result<String, RenderError> {
    let check = Address::new("--check", &addresses.check, DEFAULT_CHECK);
    let grpc = Address::new("--grpc", &addresses.grpc, DEFAULT_GRPC);
    let browser = Address::new("--browser", &addresses.browser, DEFAULT_BROWSER);
    let mut changes: Vec<(&'static str, String, usize)> = Vec::new();
    match proxy {
        Proxy::EnvoyGatewayGlobal => {
            let (check, browser) = (check.service()?, browser.service()?);
            changes.push((
                "        - name: curfew\n          namespace: curfew\n          port: 9180\n",
                format!(
                    "        - name: {}\n          namespace: {}\n          port: {}\n",
                    check.name, check.namespace, check.port
                ),
                1,
            ));
            changes.push((
                "kind: ReferenceGrant\nmetadata:\n  name: curfew\n  namespace: curfew\n",
                format!(
                    "kind: ReferenceGrant\nmetadata:\n  name: curfew\n  namespace: {}\n",
                    check.namespace
                ),
                1,
            ));
            changes.push((
                "      kind: Service\n      name: curfew\n",
                format!("      kind: Service\n      name: {}\n", check.name),
                1,
            ));
            changes.push((
                "        - name: curfew\n          port: 9183\n",
                format!(
                    "        - name: {}\n          port: {}\n",
                    browser.name, browser.port
                ),
                1,
            ));
            // The HTTPRoute, and the SecurityPolicy for this route.
            changes.push(set_browser_namespace(BROWSER, &browser, 2));
        }
        Proxy::IstioGlobal if name == "mesh-config.yaml" => {
            let (check, grpc) = (check.service()?, grpc.service()?);
            changes.push((
                "service: curfew.curfew.svc.cluster.local\n        port: 9180\n",
                format!(
                    "service: {}\n        port: {}\n",
                    check.host_name(),
                    check.port
                ),
                1,
            ));
            changes.push((
                "service: curfew.curfew.svc.cluster.local\n        port: 9181\n",
                format!(
                    "service: {}\n        port: {}\n",
                    grpc.host_name(),
                    grpc.port
                ),
                1,
            ));
        }
        Proxy::IstioGlobal => {
            let browser = browser.service()?;
            changes.push((
                "host: curfew.curfew.svc.cluster.local\n            port:\n              number: 9183\n",
                format!(
                    "host: {}\n            port:\n              number: {}\n",
                    browser.host_name(),
                    browser.port
                ),
                1,
            ));
            changes.push(set_browser_namespace(BROWSER, &browser, 1));
        }
        _ => {
            let (host, port) = check.url_host()?;
            changes.push((
                "http://curfew.curfew.svc.cluster.local:9180/forward-auth",
                format!("http://{host}:{port}/forward-auth"),
                1,
            ));
            if proxy == Proxy::IngressNginxGlobal {
                // A comment with the address for another policy.
                changes.push(("…:9180/policy/", format!("…:{port}/policy/"), 1));
            }
            let browser = browser.service()?;
            changes.push((
                "                name: curfew\n                port:\n                  number: 9183\n",
                format!(
                    "                name: {}\n                port:\n                  number: {}\n",
                    browser.name, browser.port
                ),
                1,
            ));
            let anchor = match proxy {
                Proxy::TraefikGlobal => "  name: curfew-browser-traefik\n  namespace: curfew\n",
                Proxy::HaproxyIngressGlobal => {
                    "  name: curfew-browser-haproxy\n  namespace: curfew\n"
                }
                _ => BROWSER,
            };
            changes.push(set_browser_namespace(anchor, &browser, 1));
        }
    }
    let mut text = text.to_owned();
    for (anchor, replacement, count) in changes {
        text = replace_exactly(&text, anchor, &replacement, count)?;
    }
    Ok(text)
}

/// The name and the namespace of an object for the browser route.
const BROWSER: &str = "  name: curfew-browser\n  namespace: curfew\n";

/// Returns the change of the namespace in `count` objects for the browser route. This namespace is that of the Service.
fn set_browser_namespace(
    anchor: &'static str,
    browser: &Service<'_>,
    count: usize,
) -> (&'static str, String, usize) {
    let namespace = format!("namespace: {}\n", browser.namespace);
    let replacement = anchor.replace("namespace: curfew\n", &namespace);
    (anchor, replacement, count)
}

/// The value of an option of the command line.
struct Address<'a> {
    option: &'static str,
    value: &'a str,
    host: &'a str,
    /// The port; `None` if the value has no valid port.
    port: Option<u16>,
}

impl<'a> Address<'a> {
    fn new(option: &'static str, value: &'a str, default: &str) -> Self {
        let (host, port) = value.rsplit_once(':').unwrap_or((value, ""));
        Self {
            option,
            value,
            // The default has the short form of the other files.
            host: if value == default { DEFAULT_HOST } else { host },
            port: port.parse().ok().filter(|port| *port != 0),
        }
    }

    /// Returns the Service of this address.
    fn service(&self) -> Result<Service<'a>, RenderError> {
        let port = self.port()?;
        if let Some(service) = Service::parse(self.host, port) {
            return Ok(service);
        }
        Err(self.error(if is_label(self.host) {
            "the namespace of the Service is missing"
        } else {
            "the file needs a Service of the cluster"
        }))
    }

    /// Returns the host and the port for a URL. The host is the full name of a Service, another DNS name, or an IP
    /// address.
    fn url_host(&self) -> Result<(String, u16), RenderError> {
        let port = self.port()?;
        if let Some(service) = Service::parse(self.host, port) {
            return Ok((service.host_name(), port));
        }
        if self.host.contains(['.', '[']) {
            return Ok((self.host.to_owned(), port));
        }
        Err(self.error("the namespace of the Service is missing"))
    }

    fn port(&self) -> Result<u16, RenderError> {
        self.port.ok_or_else(|| self.error("the port is not valid"))
    }

    fn error(&self, reason: &'static str) -> RenderError {
        // Suggest the name in the address if it is the name of a Service.
        let name = self.host.split('.').next();
        let name = name.filter(|name| is_service_name(name));
        let port = self
            .port
            .map_or_else(|| "PORT".to_owned(), |port| port.to_string());
        RenderError::Address {
            option: self.option,
            value: self.value.to_owned(),
            reason,
            example: format!("{}.curfew:{port}", name.unwrap_or("curfew")),
        }
    }
}

/// A Service of Kubernetes.
struct Service<'a> {
    name: &'a str,
    namespace: &'a str,
    /// The domain of the cluster.
    domain: &'a str,
    port: u16,
}

impl<'a> Service<'a> {
    /// Parses `NAME.NAMESPACE`, `NAME.NAMESPACE.svc`, or the full name with the domain of the cluster. Returns `None` if
    /// the host has another form.
    fn parse(host: &'a str, port: u16) -> Option<Self> {
        let (name, rest) = host.split_once('.')?;
        let (namespace, rest) = rest.split_once('.').unwrap_or((rest, "svc"));
        let (svc, domain) = rest.split_once('.').unwrap_or((rest, DEFAULT_DOMAIN));
        let is_service = is_service_name(name)
            && is_label(namespace)
            && svc == "svc"
            && domain.split('.').all(is_label);
        is_service.then_some(Self {
            name,
            namespace,
            domain,
            port,
        })
    }

    /// Returns the full name in the DNS of the cluster.
    fn host_name(&self) -> String {
        format!("{}.{}.svc.{}", self.name, self.namespace, self.domain)
    }
}

/// Returns whether Kubernetes accepts this name for a Service (RFC 1035).
fn is_service_name(text: &str) -> bool {
    is_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Returns whether this is a DNS label in the form of Kubernetes (RFC 1123).
fn is_label(text: &str) -> bool {
    let is_allowed_byte =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_allowed_byte)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
