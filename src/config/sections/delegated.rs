mod service;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::delegate::DelegateSettings;
use crate::policy::Policies;

pub use service::RawService;

/// Other authorization services that Curfew asks during a check.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawDelegated {
    /// The timeout for one request to a service.
    #[schemars(with = "schema_types::Duration")]
    pub timeout: String,
    /// The services; the key is a name of your choice.
    pub services: BTreeMap<String, RawService>,
}

impl Default for RawDelegated {
    fn default() -> Self {
        Self {
            timeout: "1s".to_owned(),
            services: BTreeMap::new(),
        }
    }
}

impl RawDelegated {
    /// Parses the services. Writes the values of presets into them.
    pub(in crate::config) fn parse(
        &mut self,
        policies: Valid<&Policies>,
        mistakes: &mut Mistakes,
    ) -> Valid<Vec<DelegateSettings>> {
        let min = Duration::from_millis(10);
        let timeout = mistakes.parse_duration("delegated.timeout", &self.timeout, min, HOUR / 60);
        let mut services = Vec::new();
        let mut default_service: Option<&str> = None;
        let mut service_by_host: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, service) in &mut self.services {
            service.apply_preset(name, mistakes);
            let key = |part: &str| format!("delegated.services.{name}.{part}");
            if service.hosts.is_empty() {
                match default_service {
                    Some(other) => mistakes.add(
                        key("hosts"),
                        format!("is missing here and in delegated.services.{other}: only one service may omit `hosts`"),
                    ),
                    None => default_service = Some(name),
                }
            }
            for host in &service.hosts.0 {
                if let Some(other) = service_by_host.insert(host, name) {
                    let message = format!("{host} is also in delegated.services.{other}.hosts");
                    mistakes.add(key("hosts"), message);
                }
            }
            services.push(service.parse(name, timeout, policies, mistakes));
        }
        services.into_iter().collect()
    }
}

impl Section for RawDelegated {}
