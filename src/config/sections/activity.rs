use std::collections::BTreeMap;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::policy::BackgroundHeaders;

/// What counts as activity, for every policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawActivity {
    /// Additional headers, with their values, that mark a request as a background request.
    pub background_headers: BTreeMap<String, String>,
}

impl RawActivity {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<BackgroundHeaders> {
        let mut headers = Vec::new();
        for (name, value) in &self.background_headers {
            let key = format!("activity.background_headers.{name}");
            let parsed = name.parse::<HeaderName>();
            let parsed =
                mistakes.record_error(&key, parsed.map_err(|_| "is not the name of a header"));
            if value.is_empty() || value.trim() != value {
                mistakes.add(
                    &key,
                    "must be a value of this header without white space at its start or end, such as \"1\"",
                );
            }
            headers.push((parsed?, value.clone()));
        }
        Ok(BackgroundHeaders::new(headers))
    }
}

impl Section for RawActivity {}
