use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::sections::RawEvents;
use crate::secret::Secret;
use crate::webhook::WebhookSettings;

/// The minimum length of a signing key in bytes (Standard Webhooks).
const MIN_KEY_BYTES: usize = 24;

/// The webhook for session ends, if any.
pub(super) fn webhook(raw: &RawEvents, mistakes: &mut Mistakes) -> Valid<Option<WebhookSettings>> {
    let Some(url) = &raw.webhook_url else {
        if raw.webhook_secret.is_some() || raw.webhook_secret_file.is_some() {
            mistakes.note("events.webhook_secret", "needs events.webhook_url");
        }
        return Ok(None);
    };
    let url = Url::parse(&url.0)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = mistakes.take(
        "events.webhook_url",
        url.ok_or("not an absolute address such as https://siem.example.com/hooks/curfew"),
    );
    let secret = secret(raw, mistakes);
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(60));
    let timeout = mistakes.duration("events.webhook_timeout", &raw.webhook_timeout, least, most);
    if !(1..=1_000_000).contains(&raw.webhook_queue) {
        return mistakes.reject("events.webhook_queue", "must be between 1 and 1000000");
    }
    Ok(Some(WebhookSettings {
        url: url?,
        secret: secret?,
        timeout: timeout?,
        queue: raw.webhook_queue,
        first_pause: Duration::from_secs(1),
    }))
}

fn secret(raw: &RawEvents, mistakes: &mut Mistakes) -> Valid<Secret<Vec<u8>>> {
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
            mistakes.read_text("events.webhook_secret_file", path)?,
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
    mistakes.take(key, bytes).map(Secret::new)
}
