use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::LogConfig;
use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::telemetry::logging::LogFormat;

/// Log settings.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawLog {
    /// The format: `human` or `json`.
    #[schemars(extend("enum" = ["human", "json"]))]
    pub format: String,
    /// The events to log: a level, or directives such as `info,curfew_store=debug`.
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

impl RawLog {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<LogConfig> {
        let format = match self.format.as_str() {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be `human` or `json`"),
        };
        // Reject a single word that is not a level, because it would be a log target, and would disable the logs of all
        // other targets.
        let is_directive =
            |part: &str| part.contains('=') || part.parse::<tracing::Level>().is_ok();
        let filter = self.filter.parse::<tracing_subscriber::EnvFilter>().ok();
        let filter = filter
            .filter(|_| self.filter.split(',').all(is_directive))
            .ok_or(
                "not a level (error, warn, info, debug, trace) or directives such as info,curfew=debug",
            );
        let format = mistakes.record_error("log.format", format);
        mistakes.record_error("log.filter", filter)?;
        Ok(LogConfig {
            format: format?,
            filter: self.filter.clone(),
        })
    }
}

impl Section for RawLog {
    fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
        let changed = self.format != before.format;
        changed.then_some("log.format").into_iter().collect()
    }
}
