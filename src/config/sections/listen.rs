use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Listen;
use crate::config::mistakes::{Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::AddressList;
use crate::listener::{ListenerName, PerListener};

/// Listeners. Each has one or more addresses with a port.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawListen {
    /// HTTP contracts, for proxies.
    #[schemars(with = "schema_types::StringList")]
    pub check: AddressList,
    /// `ext-authz` over gRPC, for Envoy; `off` to disable.
    #[schemars(with = "schema_types::AddressesOrOff")]
    pub grpc: AddressList,
    /// The SPOE agent, for HAProxy; `off` to disable.
    #[schemars(with = "schema_types::AddressesOrOff")]
    pub spoe: AddressList,
    /// Paths for browsers and identity providers: `/.curfew/`, `/oidc/`, `/ssf/`, the JWKS of assertions; `off` to
    /// disable.
    #[schemars(with = "schema_types::AddressesOrOff")]
    pub browser: AddressList,
    /// Curfew as a reverse proxy, for the applications in `proxy.upstreams`; `off` to disable.
    #[schemars(with = "schema_types::AddressesOrOff")]
    pub proxy: AddressList,
    /// The admin API and the console.
    #[schemars(with = "schema_types::StringList")]
    pub admin: AddressList,
    /// Metrics and health probes.
    #[schemars(with = "schema_types::StringList")]
    pub ops: AddressList,
    /// The maximum number of open connections on each of `check`, `grpc`, `spoe`, `browser`, `proxy` and
    /// `admin`.
    pub max_connections: usize,
    /// The maximum number of concurrent requests on each of `check`, `grpc`, `spoe`, `browser`, `proxy` and
    /// `admin`.
    pub max_in_flight: usize,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            check: AddressList::new(&["[::]:9180"]),
            grpc: AddressList::new(&["[::]:9181"]),
            spoe: AddressList::off(),
            browser: AddressList::new(&["[::]:9183"]),
            proxy: AddressList::off(),
            admin: AddressList::new(&["127.0.0.1:9188", "[::1]:9188"]),
            ops: AddressList::new(&["[::]:9189"]),
            max_connections: 10_000,
            max_in_flight: 4_096,
        }
    }
}

impl RawListen {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<Listen> {
        let parsed = PerListener::from_fn(|name| {
            let key = format!("listen.{}", name.as_str());
            parse_addresses(&key, self.list(name), can_be_off(name), mistakes)
        });
        for (key, max) in [
            ("listen.max_connections", self.max_connections),
            ("listen.max_in_flight", self.max_in_flight),
        ] {
            if max == 0 {
                mistakes.add(key, "must be 1 or more");
            }
        }
        let mut used_addresses = Vec::new();
        for (name, addresses) in parsed.iter() {
            for address in addresses.iter().flatten() {
                if address.port() != 0 && used_addresses.contains(address) {
                    mistakes.add(
                        format!("listen.{}", name.as_str()),
                        "another listener has the same address",
                    );
                }
                used_addresses.push(*address);
            }
        }
        Ok(Listen {
            addresses: parsed.transpose()?,
            max_connections: self.max_connections,
            max_in_flight: self.max_in_flight,
        })
    }

    const fn list(&self, name: ListenerName) -> &AddressList {
        match name {
            ListenerName::Check => &self.check,
            ListenerName::Grpc => &self.grpc,
            ListenerName::Spoe => &self.spoe,
            ListenerName::Browser => &self.browser,
            ListenerName::Proxy => &self.proxy,
            ListenerName::Admin => &self.admin,
            ListenerName::Ops => &self.ops,
        }
    }
}

impl Section for RawListen {
    fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
        (self != before).then_some("listen").into_iter().collect()
    }
}

const fn can_be_off(name: ListenerName) -> bool {
    matches!(
        name,
        ListenerName::Grpc | ListenerName::Spoe | ListenerName::Browser | ListenerName::Proxy
    )
}

/// Parses the addresses of a listener. The list is empty if the listener is off.
fn parse_addresses(
    key: &str,
    list: &AddressList,
    can_be_off: bool,
    mistakes: &mut Mistakes,
) -> Valid<Vec<SocketAddr>> {
    if can_be_off && list.is_off() {
        return Ok(Vec::new());
    }
    let addresses = list.0.iter().map(|text| text.parse().ok());
    let addresses: Option<Vec<SocketAddr>> = addresses.collect();
    match addresses.filter(|addresses| !addresses.is_empty()) {
        Some(addresses) => Ok(addresses),
        None if can_be_off => mistakes.reject(
            key,
            "must be `off`, or an address and port such as 127.0.0.1:9180 or [::]:9180",
        ),
        None => mistakes.reject(
            key,
            "not an address and port such as 127.0.0.1:9180 or [::]:9180",
        ),
    }
}
