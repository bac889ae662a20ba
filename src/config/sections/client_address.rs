use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::policy::AddressHeader;

/// The header that contains the address of a client, for sessions that are bound to an address.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawClientAddress {
    /// The header to which every proxy appends the address of its client.
    pub header: String,
    /// The number of trusted proxies that append to the header.
    pub trusted_proxies: usize,
}

impl Default for RawClientAddress {
    fn default() -> Self {
        Self {
            header: "x-forwarded-for".to_owned(),
            trusted_proxies: 1,
        }
    }
}

impl RawClientAddress {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<AddressHeader> {
        let name = self.header.parse::<HeaderName>();
        let name = name.map_err(|_| "must be the name of a header, such as x-forwarded-for");
        let name = mistakes.record_error("client_address.header", name);
        if !(1..=100).contains(&self.trusted_proxies) {
            mistakes.add(
                "client_address.trusted_proxies",
                "must be between 1 and 100",
            );
        }
        Ok(AddressHeader {
            name: name?,
            proxies: self.trusted_proxies,
        })
    }
}

impl Section for RawClientAddress {}
