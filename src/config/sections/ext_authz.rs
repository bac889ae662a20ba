use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::section::Section;

/// Options of the contract `ext-authz` over HTTP.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawExtAuthz {
    /// Whether to read the method and path of the client's request from the headers `Method` and `Path`.
    pub literal_headers: bool,
}

impl Section for RawExtAuthz {}
