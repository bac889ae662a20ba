use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Listen;
use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;

/// Listeners, each with an address and a port.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawListen {
    /// HTTP contracts, for proxies.
    pub check: String,
    /// `ext-authz` over gRPC, for Envoy; `off` to disable.
    pub grpc: String,
    /// The SPOE agent, for HAProxy; `off` to disable.
    pub spoe: String,
    /// Paths for browsers and identity providers: `/.curfew/`, `/oidc/`, `/ssf/`, the JWKS of assertions; `off` to
    /// disable.
    pub browser: String,
    /// The admin API and the console.
    pub admin: String,
    /// Metrics and health probes.
    pub ops: String,
    /// The maximum number of open connections on each of `check`, `grpc`, `spoe`, `browser` and
    /// `admin`.
    pub max_connections: usize,
    /// The maximum number of concurrent requests on each of `check`, `grpc`, `spoe`, `browser` and
    /// `admin`.
    pub max_in_flight: usize,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            check: "0.0.0.0:9180".to_owned(),
            grpc: "0.0.0.0:9181".to_owned(),
            spoe: "off".to_owned(),
            browser: "0.0.0.0:9183".to_owned(),
            admin: "127.0.0.1:9188".to_owned(),
            ops: "0.0.0.0:9189".to_owned(),
            max_connections: 10_000,
            max_in_flight: 4_096,
        }
    }
}

/// The value that disables a listener.
const OFF: &str = "off";

impl RawListen {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<Listen> {
        let check = parse_address("listen.check", &self.check, mistakes);
        let grpc = parse_address_or_off("listen.grpc", &self.grpc, mistakes);
        let spoe = parse_address_or_off("listen.spoe", &self.spoe, mistakes);
        let browser = parse_address_or_off("listen.browser", &self.browser, mistakes);
        let admin = parse_address("listen.admin", &self.admin, mistakes);
        let ops = parse_address("listen.ops", &self.ops, mistakes);
        let listen = Listen {
            check: check?,
            grpc: grpc?,
            spoe: spoe?,
            browser: browser?,
            admin: admin?,
            ops: ops?,
            max_connections: self.max_connections,
            max_in_flight: self.max_in_flight,
        };
        for (key, max) in [
            ("listen.max_connections", listen.max_connections),
            ("listen.max_in_flight", listen.max_in_flight),
        ] {
            if max == 0 {
                mistakes.add(key, "must be 1 or more");
            }
        }
        let mut used_addresses = vec![listen.check];
        for (key, address) in [
            ("listen.grpc", listen.grpc),
            ("listen.spoe", listen.spoe),
            ("listen.browser", listen.browser),
            ("listen.admin", Some(listen.admin)),
            ("listen.ops", Some(listen.ops)),
        ] {
            let Some(address) = address else { continue };
            if address.port() != 0 && used_addresses.contains(&address) {
                mistakes.add(key, "another listener has the same address");
            }
            used_addresses.push(address);
        }
        Ok(listen)
    }
}

impl Section for RawListen {
    fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
        (self != before).then_some("listen").into_iter().collect()
    }
}

fn parse_address(key: &str, text: &str, mistakes: &mut Mistakes) -> Valid<SocketAddr> {
    let parsed = text.parse();
    mistakes.record_error(
        key,
        parsed.map_err(|_| "not an address and port such as 127.0.0.1:9180"),
    )
}

fn parse_address_or_off(
    key: &str,
    text: &str,
    mistakes: &mut Mistakes,
) -> Valid<Option<SocketAddr>> {
    if text == OFF || text == "false" {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    mistakes.record_error(
        key,
        parsed.map_err(|_| "must be `off`, or an address and port such as 127.0.0.1:9180"),
    )
}
