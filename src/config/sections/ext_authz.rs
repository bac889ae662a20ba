use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::section::Section;

/// Options of the contract `ext-authz`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawExtAuthz {
    /// Whether to read the method and path of the client's request from the headers `Method` and `Path`.
    pub literal_headers: bool,
    /// Whether to send the time until the absolute limit as `grpc-timeout`, so that Envoy ends streams then.
    pub stream_deadline: bool,
}

impl Section for RawExtAuthz {}
