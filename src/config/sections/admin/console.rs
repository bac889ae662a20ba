use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{DAY, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::sections::policy::{
    MIN_LIMIT, check_preset, format_limit, parse_preset, reject_unreachable,
};
use crate::policy::Policies;
use crate::session::Limits;

/// The limits of an operator's session in the console.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawConsole {
    /// The idle limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub idle: Option<String>,
    /// The absolute limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema_types::Duration>")]
    pub absolute: Option<String>,
    /// The preset of a standard: upper bounds for the limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The reason why a limit exceeds the preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation_reason: Option<String>,
}

impl RawConsole {
    /// Parses the limits of operators' sessions in the console.
    pub(in crate::config) fn parse(&mut self, mistakes: &mut Mistakes) -> Valid<Limits> {
        const KEY: &str = "admin.console";
        let preset = parse_preset(
            KEY,
            self.preset.as_deref(),
            self.deviation_reason.as_deref(),
            mistakes,
        );
        let ceilings = preset.unwrap_or_default();
        let defaults = Policies::DEFAULT_CONSOLE_LIMITS;
        // The defaults are shorter than the limits of most standards. So a preset must not make a default longer.
        let ceiling = Limits {
            idle: ceilings.and_then(|preset| preset.idle),
            absolute: ceilings.map_or(defaults.absolute, |preset| preset.absolute),
            max_auth_age: None,
        };
        let defaults = defaults.strictest(ceiling);
        let idle = self
            .idle
            .get_or_insert_with(|| defaults.idle.map_or_else(String::new, format_limit));
        let idle = mistakes.parse_duration("admin.console.idle", idle, MIN_LIMIT, DAY);
        let absolute = self
            .absolute
            .get_or_insert_with(|| format_limit(defaults.absolute));
        let absolute =
            mistakes.parse_duration("admin.console.absolute", absolute, MIN_LIMIT, DAY * 30);
        let limits = Limits {
            idle: Some(idle?),
            absolute: absolute?,
            max_auth_age: None,
        };
        reject_unreachable(KEY, &limits, mistakes);
        if let Some(preset) = ceilings
            && self.deviation_reason.is_none()
        {
            check_preset(KEY, &preset, &limits, mistakes);
        }
        preset.map(|_| limits)
    }
}
