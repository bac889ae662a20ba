use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid, lines_without_comments};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::TextList;
use crate::credential::{KeyError, KeyRing, SigningKey};
use crate::secret::Secret;

/// Opaque session tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawToken {
    /// The key ring: base64 keys of 32 bytes; the first key signs.
    #[serde(skip_serializing_if = "TextList::is_empty")]
    #[schemars(with = "schema_types::StringList")]
    pub keys: TextList<Secret<String>>,
    /// A file with the key ring, one key per line; `#` starts a comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<String>,
    /// Whether to accept the token in `Authorization: Bearer`, and not only in the cookie.
    pub bearer: bool,
}

impl Default for RawToken {
    fn default() -> Self {
        Self {
            keys: TextList(Vec::new()),
            keys_file: None,
            bearer: true,
        }
    }
}

impl RawToken {
    /// Parses the key ring. `None` means that Curfew generates a key ring; only the embedded store allows this.
    pub(in crate::config) fn parse(
        &self,
        is_embedded: bool,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<KeyRing>> {
        let (key, lines) = match (&self.keys_file, self.keys.is_empty()) {
            (Some(_), false) => {
                return mistakes
                    .reject("token.keys_file", "conflicts with token.keys: set only one");
            }
            (Some(path), true) => (
                "token.keys_file",
                mistakes.read_text_file("token.keys_file", path)?,
            ),
            (None, false) => {
                let lines: Vec<&str> = self
                    .keys
                    .0
                    .iter()
                    .map(|key| key.expose().as_str())
                    .collect();
                ("token.keys", lines.join("\n"))
            }
            (None, true) if is_embedded => return Ok(None),
            (None, true) => {
                return mistakes.reject(
                    "token.keys",
                    "is missing: sessions in Redis outlive this process, so the key that signs their tokens must \
                     outlive the process, too. Make a key with `curfew keygen`, and set the same key in \
                     token.keys, token.keys_file or CURFEW__TOKEN__KEYS of every replica",
                );
            }
        };
        let keys: Result<Vec<SigningKey>, KeyError> = lines_without_comments(&lines)
            .map(SigningKey::parse)
            .collect();
        mistakes
            .record_error(key, keys.and_then(KeyRing::new))
            .map(Some)
    }
}

impl Section for RawToken {
    const SECRETS: &'static [&'static str] = &["keys"];
}
