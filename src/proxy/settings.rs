use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use ipnet::IpNet;

use super::health::HealthCheck;
use crate::policy::HostPattern;

/// The settings of the proxy listener.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// The applications.
    pub upstreams: Vec<UpstreamSettings>,
    /// The networks of proxies whose `X-Forwarded-*` headers are continued. The headers of other clients are replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// The path that a load balancer may ask without a session; `None` if there is none.
    pub health_path: Option<String>,
}

/// The settings of one application.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The hosts of the application, as clients write them.
    pub hosts: Vec<HostPattern>,
    /// The path prefix, without a trailing slash; empty for all paths.
    pub path_prefix: String,
    /// The address of the application.
    pub target: Target,
    /// Whether the application receives the host that the client wrote. Otherwise it receives the host of the target.
    pub preserve_host: bool,
    /// The certificate authorities for an `https` target, in PEM; `None` for those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The server name in the TLS handshake (SNI); `None` for the host of the target.
    pub server_name: Option<String>,
    /// The time for a connection to the application, including the TLS handshake.
    pub connect_timeout: Duration,
    /// The time from the end of the request until the head of the answer.
    pub response_timeout: Duration,
    /// How Curfew checks the health of the application; `None` if it does not.
    pub health: Option<HealthCheck>,
}

impl UpstreamSettings {
    /// The default of [`Self::connect_timeout`].
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// The default of [`Self::response_timeout`], as in NGINX and HAProxy's examples.
    pub const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
}

/// The address of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// HTTP/1.1 over TCP.
    Http(Authority),
    /// HTTP/2 or HTTP/1.1 over TLS.
    Https(Authority),
    /// HTTP/2 over TCP, without TLS (RFC 9113, section 3.3).
    H2c(Authority),
    /// HTTP/1.1 over a Unix socket.
    Unix(PathBuf),
}

/// Why a text is not the address of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The scheme is missing or unknown.
    #[error("must begin with http://, https://, h2c:// or unix:/")]
    Scheme,
    /// The host is missing or invalid.
    #[error("has no valid host")]
    Host,
    /// There is a path, a query or user information.
    #[error("must have only a host and a port: a path or a user name is not allowed")]
    Rest,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(TargetError::Scheme),
            };
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::Scheme)?;
        let create = match scheme {
            "http" => Self::Http,
            "https" => Self::Https,
            "h2c" => Self::H2c,
            _ => return Err(TargetError::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(TargetError::Rest);
        }
        let authority: Authority = rest.parse().map_err(|_| TargetError::Host)?;
        if authority.host().is_empty() || authority.as_str().ends_with(':') {
            return Err(TargetError::Host);
        }
        Ok(create(authority))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(authority) => write!(f, "https://{authority}"),
            Self::H2c(authority) => write!(f, "h2c://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// The host and the port in requests to the application.
    #[must_use]
    pub fn authority(&self) -> Authority {
        match self {
            Self::Http(authority) | Self::Https(authority) | Self::H2c(authority) => {
                authority.clone()
            }
            Self::Unix(_) => Authority::from_static("localhost"),
        }
    }

    /// The scheme of requests to the application.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Https(_) => Scheme::HTTPS,
            Self::Http(_) | Self::H2c(_) | Self::Unix(_) => Scheme::HTTP,
        }
    }

    /// The URI of a request with the path and query of `uri`.
    ///
    /// # Errors
    /// [`http::Error`] if the path is not valid in a URI.
    pub(super) fn uri(&self, uri: &Uri) -> Result<Uri, http::Error> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let builder = Uri::builder()
            .scheme(self.scheme())
            .authority(self.authority())
            .path_and_query(path);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_without_a_path() {
        for text in [
            "http://app",
            "http://app:8080",
            "https://app.internal:8443",
            "h2c://[::1]:50051",
            "unix:/run/app.sock",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("http://app/".parse(), "http://app".parse::<Target>());
        for (text, error) in [
            ("app:8080", TargetError::Scheme),
            ("ftp://app", TargetError::Scheme),
            ("unix:app.sock", TargetError::Scheme),
            ("http://", TargetError::Host),
            ("http://app:", TargetError::Host),
            ("http://a b", TargetError::Host),
            ("http://app/path", TargetError::Rest),
            ("http://user@app", TargetError::Rest),
            ("http://app?a", TargetError::Rest),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
    }
}
