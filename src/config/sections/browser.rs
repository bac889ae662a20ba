use http::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::TextList;

/// The paths below `/.curfew/`, for browsers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawBrowser {
    /// Site data that a browser deletes at sign-out (`Clear-Site-Data`): `cache`, `cookies`,
    /// `storage`, `executionContexts`.
    #[schemars(with = "schema_types::StringList")]
    pub clear_site_data: TextList<String>,
}

/// Valid types of `Clear-Site-Data` (Clear Site Data specification, section 3.1).
const SITE_DATA_TYPES: [&str; 4] = ["cache", "cookies", "storage", "executionContexts"];

impl RawBrowser {
    /// Returns the `Clear-Site-Data` header; `None` if the header is off.
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<Option<HeaderValue>> {
        let key = "browser.clear_site_data";
        for kind in &self.clear_site_data.0 {
            if !SITE_DATA_TYPES.contains(&&**kind) {
                let known = SITE_DATA_TYPES.join(", ");
                return mistakes.reject(key, format!("`{kind}` is not one of {known}"));
            }
        }
        let quoted = self.clear_site_data.0.iter();
        let quoted: Vec<String> = quoted.map(|kind| format!("\"{kind}\"")).collect();
        if quoted.is_empty() {
            return Ok(None);
        }
        mistakes
            .record_error(key, HeaderValue::try_from(quoted.join(", ")))
            .map(Some)
    }
}

impl Section for RawBrowser {}
