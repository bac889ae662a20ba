use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::RawConfig;
use crate::config::mistakes::{DAY, Mistakes, Valid};
use crate::config::schema_types;
use crate::config::section::Section;
use crate::config::text::RawUrl;
use crate::secret::Secret;
use crate::session::MIN_TOMBSTONE_TTL;
use crate::webhook::WebhookSettings;

/// Events that inform other programs about session ends.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawEvents {
    /// Whether to write the events to a Redis stream.
    pub stream: bool,
    /// The approximate maximum length of the stream, in events.
    pub stream_length: u64,
    /// The address of the webhook that receives the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhook_url: Option<RawUrl>,
    /// The signing key of the webhook, in base64, with or without the prefix `whsec_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhook_secret: Option<Secret<String>>,
    /// A file with the signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_file: Option<String>,
    /// The timeout of one delivery attempt.
    #[schemars(with = "schema_types::Duration")]
    pub webhook_timeout: String,
    /// The maximum number of events that wait for delivery.
    pub webhook_queue: usize,
}

impl Default for RawEvents {
    fn default() -> Self {
        Self {
            stream: false,
            stream_length: 100_000,
            webhook_url: None,
            webhook_secret: None,
            webhook_secret_file: None,
            webhook_timeout: "5s".to_owned(),
            webhook_queue: 10_000,
        }
    }
}

/// The minimum length of a signing key in bytes (Standard Webhooks).
const MIN_KEY_BYTES: usize = 24;

impl RawEvents {
    /// Parses the settings of the webhook; `None` if no webhook is configured.
    pub(in crate::config) fn parse(
        &self,
        mistakes: &mut Mistakes,
    ) -> Valid<Option<WebhookSettings>> {
        let Some(url) = &self.webhook_url else {
            if self.webhook_secret.is_some() || self.webhook_secret_file.is_some() {
                mistakes.add("events.webhook_secret", "needs events.webhook_url");
            }
            return Ok(None);
        };
        let url = Url::parse(&url.0)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = mistakes.record_error(
            "events.webhook_url",
            url.ok_or("not an absolute address such as https://siem.example.com/hooks/curfew"),
        );
        let secret = parse_secret(self, mistakes);
        let (min, max) = (Duration::from_millis(1), Duration::from_secs(60));
        let timeout =
            mistakes.parse_duration("events.webhook_timeout", &self.webhook_timeout, min, max);
        if !(1..=1_000_000).contains(&self.webhook_queue) {
            return mistakes.reject("events.webhook_queue", "must be between 1 and 1000000");
        }
        Ok(Some(WebhookSettings {
            url: url?,
            secret: secret?,
            timeout: timeout?,
            queue_capacity: self.webhook_queue,
            initial_backoff: Duration::from_secs(1),
        }))
    }
}

impl Section for RawEvents {
    const SECRETS: &'static [&'static str] = &["webhook_secret"];
    const URLS: &'static [&'static str] = &["webhook_url"];

    fn changed_for_restart(&self, before: &Self) -> Vec<&'static str> {
        (self != before).then_some("events").into_iter().collect()
    }
}

fn parse_secret(raw: &RawEvents, mistakes: &mut Mistakes) -> Valid<Secret<Vec<u8>>> {
    let (key, text) = match (&raw.webhook_secret, &raw.webhook_secret_file) {
        (Some(_), Some(_)) => {
            return mistakes.reject(
                "events.webhook_secret_file",
                "conflicts with events.webhook_secret: set only one",
            );
        }
        (Some(secret), None) => ("events.webhook_secret", secret.expose().clone()),
        (None, Some(path)) => (
            "events.webhook_secret_file",
            mistakes.read_text_file("events.webhook_secret_file", path)?,
        ),
        (None, None) => {
            return mistakes.reject(
                "events.webhook_secret",
                "is missing: the receiver could not verify the sender. `curfew keygen` makes a key",
            );
        }
    };
    let text = text.trim();
    let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text));
    let bytes = bytes.ok().filter(|bytes| bytes.len() >= MIN_KEY_BYTES);
    let bytes = bytes.ok_or("must be base64 of at least 24 bytes, as `curfew keygen` makes it");
    mistakes.record_error(key, bytes).map(Secret::new)
}

pub(in crate::config) fn parse_end_retention(
    raw: &RawConfig,
    mistakes: &mut Mistakes,
) -> Valid<Duration> {
    mistakes.parse_duration(
        "end_retention",
        &raw.end_retention,
        MIN_TOMBSTONE_TTL,
        DAY * 30,
    )
}
