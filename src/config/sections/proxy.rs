use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::{OneOrMany, TextList};
use crate::policy::{HostPattern, PathPattern};
use crate::proxy::{HealthCheck, ProxySettings, Target, UpstreamSettings};

/// The shortest time limit for an application.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The shortest time between two health checks.
const MIN_HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// The proxy listener: Curfew as a reverse proxy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawProxy {
    /// The applications. A request for any other host is refused with 421.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<RawUpstream>,
    /// Networks of proxies before Curfew. Curfew continues their `X-Forwarded-*` headers, and replaces those of all
    /// other clients.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub trusted_proxies: TextList<String>,
    /// A path that a load balancer can ask without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
}

/// An application behind the proxy listener.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawUpstream {
    /// The hosts of the application: `app.example.com`, or `*.example.com` for all subdomains.
    #[schemars(with = "schema_types::StringList")]
    pub host: OneOrMany,
    /// Only this path, and all paths below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// The address: `http://app:8080`, `https://app:8443`, `h2c://app:50051` or `unix:/run/app.sock`.
    pub target: String,
    /// `false` to send the host of the target to the application, and not the host that the client wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_host: Option<bool>,
    /// A file with PEM certificates of the CAs of an `https` target. By default, the CAs of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The server name for the TLS handshake with an `https` target. By default, the host of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The time limit for a connection to the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub connect_timeout: Option<String>,
    /// The time limit from the end of a request until the application begins its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub response_timeout: Option<String>,
    /// A path that Curfew asks to find out whether the application is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// The time between two health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub health_interval: Option<String>,
}

impl RawProxy {
    pub(in crate::config) fn parse(
        &self,
        is_on: bool,
        mistakes: &mut Mistakes,
    ) -> Valid<ProxySettings> {
        if is_on && self.upstreams.is_empty() {
            mistakes.add(
                "proxy.upstreams",
                "is empty: listen.proxy needs at least one application",
            );
        }
        if !is_on && !self.upstreams.is_empty() {
            mistakes.add(
                "proxy.upstreams",
                "has no effect, because listen.proxy is off: set an address such as [::]:9184",
            );
        }
        let upstreams = self.upstreams.iter().enumerate();
        let upstreams = upstreams
            .map(|(index, upstream)| upstream.parse(&format!("proxy.upstreams.{index}"), mistakes));
        let upstreams: Vec<Valid<UpstreamSettings>> = upstreams.collect();
        let networks = self.trusted_proxies.0.iter().map(|text| {
            let network = text.parse::<IpNet>();
            let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            mistakes.record_error(
                "proxy.trusted_proxies",
                network.map_err(|_| format!("`{text}` is not a network such as 10.0.0.0/8")),
            )
        });
        let networks: Vec<Valid<IpNet>> = networks.collect();
        let health_path = self.health_path.clone();
        if let Some(path) = &health_path
            && PathPattern::exact(path).is_err()
        {
            mistakes.add("proxy.health_path", "must be a path such as /healthz");
        }
        Ok(ProxySettings {
            upstreams: upstreams.into_iter().collect::<Valid<_>>()?,
            trusted_proxies: networks.into_iter().collect::<Valid<_>>()?,
            health_path,
        })
    }

    /// Returns the paths of all files.
    pub(in crate::config) fn files(&self) -> impl Iterator<Item = &String> {
        self.upstreams
            .iter()
            .filter_map(|upstream| upstream.ca_file.as_ref())
    }
}

impl RawUpstream {
    fn parse(&self, key: &str, mistakes: &mut Mistakes) -> Valid<UpstreamSettings> {
        if self.host.is_empty() {
            mistakes.add(
                format!("{key}.host"),
                "is missing: set the hosts of this application",
            );
        }
        let hosts = self.host.0.iter().map(|text| {
            let host = HostPattern::parse(text);
            mistakes.record_error(
                &format!("{key}.host"),
                host.map_err(|error| format!("`{text}` {error}")),
            )
        });
        let hosts: Vec<Valid<HostPattern>> = hosts.collect();
        let target = mistakes.record_error(&format!("{key}.target"), self.target.parse::<Target>());
        let path_prefix = match &self.path_prefix {
            None => Ok(String::new()),
            Some(path) => {
                let prefix = PathPattern::prefix(path);
                let prefix = mistakes.record_error(&format!("{key}.path_prefix"), prefix);
                prefix.map(|_| path.trim_end_matches('/').to_owned())
            }
        };
        let is_tls = matches!(target, Ok(Target::Https(_)) | Err(_));
        for (name, is_set) in [
            ("ca_file", self.ca_file.is_some()),
            ("server_name", self.server_name.is_some()),
        ] {
            if is_set && !is_tls {
                mistakes.add(format!("{key}.{name}"), "needs a target with https://");
            }
        }
        let authorities = self.ca_file.as_ref();
        let authorities =
            authorities.map(|path| mistakes.read_file(&format!("{key}.ca_file"), path));
        let mut parse_timeout = |name: &str, text: &Option<String>, default: Duration| {
            text.as_ref().map_or(Ok(default), |text| {
                mistakes.parse_duration(&format!("{key}.{name}"), text, MIN_TIMEOUT, HOUR)
            })
        };
        let connect_timeout = parse_timeout(
            "connect_timeout",
            &self.connect_timeout,
            UpstreamSettings::DEFAULT_CONNECT_TIMEOUT,
        );
        let response_timeout = parse_timeout(
            "response_timeout",
            &self.response_timeout,
            UpstreamSettings::DEFAULT_RESPONSE_TIMEOUT,
        );
        let health = self.parse_health(key, mistakes);
        Ok(UpstreamSettings {
            hosts: hosts.into_iter().collect::<Valid<_>>()?,
            path_prefix: path_prefix?,
            target: target?,
            preserve_host: self.preserve_host.unwrap_or(true),
            authorities: authorities.transpose()?,
            server_name: self.server_name.clone(),
            connect_timeout: connect_timeout?,
            response_timeout: response_timeout?,
            health: health?,
        })
    }

    fn parse_health(&self, key: &str, mistakes: &mut Mistakes) -> Valid<Option<HealthCheck>> {
        let interval_key = format!("{key}.health_interval");
        let interval = match &self.health_interval {
            None => Ok(HealthCheck::DEFAULT_INTERVAL),
            Some(text) => mistakes.parse_duration(&interval_key, text, MIN_HEALTH_INTERVAL, HOUR),
        };
        let Some(path) = &self.health_path else {
            if self.health_interval.is_some() {
                mistakes.add(
                    interval_key,
                    format!("has no effect without {key}.health_path"),
                );
            }
            return Ok(None);
        };
        let is_path = path.starts_with('/') && path.parse::<http::Uri>().is_ok();
        let path = is_path.then(|| path.clone());
        let path = path.ok_or("must be a path such as /healthz");
        let path = mistakes.record_error(&format!("{key}.health_path"), path);
        Ok(Some(HealthCheck {
            path: path?,
            interval: interval?,
        }))
    }
}

impl Section for RawProxy {}
