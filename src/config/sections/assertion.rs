use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{HOUR, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::TextList;
use crate::identity::{AssertionKey, AssertionSigner};

/// Signed identity assertions for applications.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawAssertion {
    /// PEM files with private keys; the first key signs.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub key_files: TextList<String>,
    /// The `iss` claim of assertions.
    pub issuer: String,
    /// How long an assertion is valid.
    #[schemars(with = "schema_types::Duration")]
    pub lifetime: String,
}

impl Default for RawAssertion {
    fn default() -> Self {
        Self {
            key_files: TextList::default(),
            issuer: "curfew".to_owned(),
            lifetime: "1m".to_owned(),
        }
    }
}

impl RawAssertion {
    /// Creates the signer of identity assertions; `None` if no key is configured.
    pub(in crate::config) fn parse(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<AssertionSigner>> {
        let key = "assertion.key_files";
        let min = Duration::from_secs(1);
        let lifetime = mistakes.parse_duration("assertion.lifetime", &self.lifetime, min, HOUR);
        if self.issuer.is_empty() {
            mistakes.add(
                "assertion.issuer",
                "is empty: set it to the value of the claim `iss` in the assertions",
            );
        }
        let read_key = |path: &String| {
            let pem = mistakes.read_file(key, path)?;
            let parsed = AssertionKey::from_pem(&pem);
            mistakes.record_error(key, parsed.map_err(|error| format!("{path}: {error}")))
        };
        let keys: Vec<Valid<AssertionKey>> = self.key_files.0.iter().map(read_key).collect();
        let mut keys = keys.into_iter().collect::<Valid<Vec<_>>>()?.into_iter();
        let Some(signing_key) = keys.next() else {
            return Ok(None);
        };
        Ok(Some(AssertionSigner {
            issuer: self.issuer.clone(),
            lifetime: lifetime?,
            key: signing_key,
            other_keys: keys.collect(),
        }))
    }
}

impl Section for RawAssertion {}
