use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::config::text::public_url;
use crate::telemetry::traces::TraceSettings;

/// Export of OpenTelemetry traces.
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

impl RawTraces {
    /// Parses the settings of the collector for traces; `None` if no collector is configured.
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<Option<TraceSettings>> {
        if !(0.0..=1.0).contains(&self.ratio) {
            mistakes.add("traces.ratio", "must be between 0 and 1");
        }
        let authorities = mistakes.read_optional_file("traces.ca_file", self.ca_file.as_deref())?;
        let Some(url) = &self.otlp_url else {
            return Ok(None);
        };
        let url = public_url(url);
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let message = "must be the address of a collector, such as http://127.0.0.1:4317";
        let url = mistakes.record_error("traces.otlp_url", url.ok_or(message))?;
        if (url.scheme() == "https") != authorities.is_some() {
            return mistakes.reject(
                "traces.ca_file",
                "must be set if traces.otlp_url is https://, and must not be set if traces.otlp_url is http://",
            );
        }
        Ok(Some(TraceSettings {
            url,
            authorities,
            ratio: self.ratio,
        }))
    }
}

impl Section for RawTraces {
    fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
        (self != before).then_some("traces").into_iter().collect()
    }
}
