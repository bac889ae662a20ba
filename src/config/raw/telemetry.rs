use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Logs.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLog {
    /// `human` or `json`.
    #[schemars(extend("enum" = ["human", "json"]))]
    pub format: String,
    /// A level, or directives.
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

/// Traces, for OpenTelemetry.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawTraces {
    /// A collector that takes OTLP over gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_url: Option<String>,
    /// PEM certificates of the authorities to trust, for `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The part of those checks that is traced whose proxy has not decided; 0 to 1.
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
