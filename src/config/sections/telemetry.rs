use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Log settings.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLog {
    /// `human` or `json`.
    #[schemars(extend("enum" = ["human", "json"]))]
    pub format: String,
    /// A level, or directives such as `info,curfew_store=debug`.
    pub filter: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self {
            format: "human".to_owned(),
            filter: "info".to_owned(),
        }
    }
}

/// Traces for OpenTelemetry.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTraces {
    /// The address of a collector that accepts OTLP over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_url: Option<String>,
    /// A file with PEM certificates of the CAs to trust for `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The sampling ratio, 0 to 1, for checks without a sampling decision from the proxy.
    pub ratio: f64,
}

impl Default for RawTraces {
    fn default() -> Self {
        Self {
            otlp_url: None,
            ca_file: None,
            ratio: 0.01,
        }
    }
}
