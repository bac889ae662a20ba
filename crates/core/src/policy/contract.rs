use std::fmt;

/// How a family of proxies sends a check and reads the answer. The contract can be a condition of a rule. Metrics and
/// audit events name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contract {
    /// NGINX and ingress-nginx.
    AuthRequest,
    /// Traefik, Caddy and APISIX.
    ForwardAuth,
    /// Envoy and products that are built on it, over HTTP.
    ExtAuthz,
    /// Envoy and products that are built on it, over gRPC.
    ExtAuthzGrpc,
    /// HAProxy, with its Stream Processing Offload Engine.
    Spoe,
    /// The tower layer inside a Rust service, without a proxy.
    Layer,
    /// The proxy listener, where Curfew itself is the proxy.
    Proxy,
}

impl Contract {
    /// Every contract.
    pub const ALL: [Self; 7] = [
        Self::AuthRequest,
        Self::ForwardAuth,
        Self::ExtAuthz,
        Self::ExtAuthzGrpc,
        Self::Spoe,
        Self::Layer,
        Self::Proxy,
    ];

    /// The name in the configuration, in metrics and in audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthRequest => "auth-request",
            Self::ForwardAuth => "forward-auth",
            Self::ExtAuthz => "ext-authz",
            Self::ExtAuthzGrpc => "ext-authz-grpc",
            Self::Spoe => "spoe",
            Self::Layer => "layer",
            Self::Proxy => "proxy",
        }
    }

    /// The contract with this name; `None` if no contract has this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
