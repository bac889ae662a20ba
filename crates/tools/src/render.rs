//! Renders proxy configurations: the files of `deploy/` with the given addresses and time limits.
//!
//! A proxy checks a stream, such as a WebSocket, only when the stream opens. Therefore a stream must not stay open for
//! longer than the idle limit. The renderer writes this limit into the configuration of every proxy that can close
//! streams. Or it sends the streams to Curfew's proxy listener, which ends them with their session.

mod addresses;
mod global;
mod streams;
mod time_limits;

use std::time::Duration;

use addresses::set_addresses;
use global::set_global_addresses;
use streams::send_streams_to_curfew;
use time_limits::set_time_limits;

pub use streams::uncomment;

/// A supported proxy. For a controller in Kubernetes, there is also a value for its global setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Proxy {
    /// NGINX with `auth_request`.
    Nginx,
    /// ingress-nginx, with annotations.
    IngressNginx,
    /// Traefik, with configuration files.
    Traefik,
    /// Caddy with `forward_auth`.
    Caddy,
    /// Envoy with `ext_authz` over HTTP.
    EnvoyHttp,
    /// Envoy with `ext_authz` over gRPC.
    EnvoyGrpc,
    /// HAProxy with SPOE.
    Haproxy,
    /// oauth2-proxy, as a sign-in service behind Curfew.
    Oauth2Proxy,
    /// Traefik in Kubernetes, for every route: the middlewares of the entry point.
    TraefikGlobal,
    /// ingress-nginx, for every Ingress: the controller's ConfigMap.
    IngressNginxGlobal,
    /// Envoy Gateway, for every route of a Gateway: a SecurityPolicy.
    EnvoyGatewayGlobal,
    /// Istio, for every request of the ingress gateway: the mesh configuration, and an AuthorizationPolicy.
    IstioGlobal,
    /// haproxy-ingress, for every Ingress: the controller's ConfigMap.
    HaproxyIngressGlobal,
}

impl Proxy {
    /// Returns whether the files contain the global setting of a controller, which applies to all its routes.
    #[must_use]
    pub fn is_global(self) -> bool {
        matches!(
            self,
            Self::TraefikGlobal
                | Self::IngressNginxGlobal
                | Self::EnvoyGatewayGlobal
                | Self::IstioGlobal
                | Self::HaproxyIngressGlobal
        )
    }
}

/// Addresses, each `host:port`.
#[derive(Clone, Debug)]
pub struct RenderAddresses {
    /// The address that the proxy listens on.
    pub listen: String,
    /// Curfew's `listen.check`.
    pub check: String,
    /// Curfew's `listen.grpc`.
    pub grpc: String,
    /// Curfew's `listen.spoe`.
    pub spoe: String,
    /// Curfew's `listen.browser`.
    pub browser: String,
    /// The address of the application.
    pub application: String,
    /// Curfew's `listen.proxy`. With this address, the proxy sends streams to Curfew.
    pub streams: Option<String>,
}

/// The address that proxies listen on in the files of `deploy/`.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:8080";
/// The address of the listener `check` in the files of `deploy/`.
pub const DEFAULT_CHECK: &str = "curfew:9180";
/// The address of the listener `grpc` in the files of `deploy/`.
pub const DEFAULT_GRPC: &str = "curfew:9181";
/// The address of the listener `spoe` in the files of `deploy/`.
pub const DEFAULT_SPOE: &str = "curfew:9182";
/// The address of the listener `browser` in the files of `deploy/`.
pub const DEFAULT_BROWSER: &str = "curfew:9183";
/// The address of the listener `proxy` in the files of `deploy/`.
pub const DEFAULT_PROXY: &str = "curfew:9184";
/// The address of the application in the files of `deploy/`.
pub const DEFAULT_APPLICATION: &str = "application:3000";

impl Default for RenderAddresses {
    /// Returns the addresses in the files of `deploy/`.
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.to_owned(),
            check: DEFAULT_CHECK.to_owned(),
            grpc: DEFAULT_GRPC.to_owned(),
            spoe: DEFAULT_SPOE.to_owned(),
            browser: DEFAULT_BROWSER.to_owned(),
            application: DEFAULT_APPLICATION.to_owned(),
            streams: None,
        }
    }
}

/// The session limits, from which the renderer computes the time limits of a proxy.
#[derive(Clone, Copy, Debug)]
pub struct RenderLimits {
    /// The idle limit; `None` if it is off.
    pub idle: Option<Duration>,
    /// The absolute limit.
    pub absolute: Duration,
}

/// A rendered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// The file name, without a directory.
    pub name: &'static str,
    /// The contents.
    pub text: String,
}

/// A file of `deploy/` is missing, or does not contain the text to replace, or contains this text more than once. Only
/// a bug causes this error. To find such bugs, a test renders the files of every proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "deploy/ does not contain this file, or the file does not contain this text exactly once: {0}"
)]
pub struct AnchorError(&'static str);

/// An error of [`render`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A file of `deploy/` is not as expected.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The files of the proxy cannot contain this address.
    #[error("{option} {value}: {reason}; write NAME.NAMESPACE:PORT, such as {example}")]
    Address {
        /// The option of the command line.
        option: &'static str,
        /// The value of the option.
        value: String,
        /// The fault of the value.
        reason: &'static str,
        /// A correct value.
        example: String,
    },
    /// The files of the proxy cannot send streams to Curfew. Contains the reason.
    #[error("--streams: {0}")]
    Streams(&'static str),
}

/// A function that takes the path of a file, relative to `deploy/`, and returns the text of the file; `None` if there
/// is no such file.
pub type DeployedFiles = fn(&str) -> Option<&'static str>;

/// Renders the configuration of a proxy.
///
/// # Errors
/// [`RenderError`] if the files of the proxy cannot contain an address, or cannot send streams to Curfew, or if the
/// function `deployed_file` returns other files than this version of the crate expects.
pub fn render(
    proxy: Proxy,
    addresses: &RenderAddresses,
    limits: &RenderLimits,
    deployed_file: DeployedFiles,
) -> Result<Vec<RenderedFile>, RenderError> {
    let ends_streams = addresses.streams.is_some();
    if ends_streams && proxy == Proxy::Oauth2Proxy {
        return Err(RenderError::Streams(
            "oauth2-proxy is not on the path of streams; use the proxy that forwards them",
        ));
    }
    if ends_streams && proxy.is_global() {
        return Err(RenderError::Streams(
            "the global files contain no route of an application; send streams to Curfew in the route of the \
             application, see docs/streams.md",
        ));
    }
    let mut paths: Vec<&'static str> = match proxy {
        Proxy::Nginx => vec!["nginx/curfew.conf"],
        Proxy::IngressNginx => vec!["nginx/ingress.yaml"],
        Proxy::Traefik => vec!["traefik/traefik.yaml", "traefik/curfew.yaml"],
        Proxy::Caddy => vec!["caddy/Caddyfile"],
        Proxy::EnvoyHttp => vec!["envoy/http.yaml"],
        Proxy::EnvoyGrpc => vec!["envoy/grpc.yaml"],
        Proxy::Haproxy => vec!["haproxy/haproxy.cfg", "haproxy/curfew-spoe.conf"],
        Proxy::Oauth2Proxy => vec!["oauth2-proxy/oauth2-proxy.cfg"],
        Proxy::TraefikGlobal => vec!["traefik/kubernetes-global.yaml"],
        Proxy::IngressNginxGlobal => vec!["nginx/ingress-global.yaml"],
        Proxy::EnvoyGatewayGlobal => vec!["gateway-api/envoy-gateway-global.yaml"],
        Proxy::IstioGlobal => vec![
            "istio/mesh-config.yaml",
            "istio/authorization-policy-global.yaml",
        ],
        Proxy::HaproxyIngressGlobal => vec!["haproxy/ingress-global.yaml"],
    };
    match proxy {
        Proxy::Nginx if ends_streams => paths.push("nginx/streams.conf"),
        Proxy::IngressNginx if ends_streams => paths.push("nginx/ingress-streams.yaml"),
        _ => {}
    }
    let files = paths.iter().map(|path| {
        let text = deployed_file(path).ok_or(AnchorError(path))?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let mut text = set_time_limits(proxy, name, text, limits)?;
        if ends_streams {
            text = send_streams_to_curfew(proxy, name, &text)?;
        }
        let text = if proxy.is_global() {
            set_global_addresses(proxy, name, &text, addresses)?
        } else {
            set_addresses(proxy, &text, addresses)
        };
        Ok(RenderedFile { name, text })
    });
    files.collect()
}

#[cfg(test)]
mod tests;
