//! Sends session ends to a URL, signed according to [Standard Webhooks].
//!
//! [Standard Webhooks]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::CONTENT_TYPE;
use serde::Serialize;
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stopwatch};
use crate::escape;
use crate::events::SessionEnded;
use crate::http_client::http_client;
use crate::secret::Secret;
use crate::telemetry::Metrics;

const MAX_CONCURRENT_DELIVERIES: usize = 8;
/// The time after which a delivery is dropped, in seconds since the first attempt.
const GIVE_UP_AFTER_SECONDS: f64 = 600.0;

/// The settings of the webhook.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The URL of the receiver. It may contain a secret.
    pub url: url::Url,
    /// The key for the signatures (HMAC-SHA256).
    pub secret: Secret<Vec<u8>>,
    /// The timeout of one attempt.
    pub timeout: Duration,
    /// The maximum number of session ends in the queue.
    pub queue_capacity: usize,
    /// The backoff after the first failed attempt. It doubles with each failure, up to a minute.
    pub initial_backoff: Duration,
}

/// The sending side of the queue for session ends.
#[derive(Clone, Debug)]
pub struct Webhook {
    queue: mpsc::Sender<SessionEnded>,
    metrics: Arc<Metrics>,
}

/// Delivers the queued session ends.
pub struct WebhookSender {
    settings: WebhookSettings,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    queue: mpsc::Receiver<SessionEnded>,
}

/// The fields of the JSON message.
#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'static str,
    timestamp: &'a str,
    data: &'a SessionEnded,
}

impl Webhook {
    /// Creates a queue, and the sender that delivers its session ends.
    ///
    /// # Errors
    /// [`reqwest::Error`] if the HTTP client could not be created.
    pub fn new(
        settings: WebhookSettings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, WebhookSender), reqwest::Error> {
        // The client needs a default crypto provider. `main.rs` installs a provider, but other programs that use this
        // crate may not.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, receiver) = mpsc::channel(settings.queue_capacity);
        let client = http_client(settings.timeout, None)?;
        let webhook = Self {
            queue: sender,
            metrics: Arc::clone(&metrics),
        };
        let sender = WebhookSender {
            settings,
            client,
            clock,
            metrics,
            queue: receiver,
        };
        Ok((webhook, sender))
    }

    /// Queues a session end. If the queue is full, drops and counts the end.
    pub fn enqueue(&self, ended: SessionEnded) {
        if let Err(error) = self.queue.try_send(ended) {
            let ended = error.into_inner();
            tracing::warn!(session = %ended.session, "webhook queue full: session end dropped");
            self.metrics.count_webhook_delivery("dropped");
        }
    }
}

impl WebhookSender {
    /// Delivers session ends until `stop` is cancelled. Then tries once to deliver each remaining end.
    pub async fn run(mut self, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_DELIVERIES));
        let mut deliveries = JoinSet::new();
        loop {
            while deliveries.try_join_next().is_some() {}
            let next = tokio::select! {
                next = self.queue.recv() => next,
                () = stop.cancelled() => self.queue.try_recv().ok(),
            };
            let Some(ended) = next else {
                // The queue is empty and closed, or the process is stopping.
                break;
            };
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                break;
            };
            let delivery = Delivery {
                settings: self.settings.clone(),
                client: self.client.clone(),
                clock: Arc::clone(&self.clock),
            };
            let (metrics, stop) = (Arc::clone(&self.metrics), stop.clone());
            deliveries.spawn(async move {
                metrics.count_webhook_delivery(delivery.deliver(&ended, stop).await);
                drop(permit);
            });
        }
        while deliveries.join_next().await.is_some() {}
        // `App::run` treats a background task that returns early as failed, so wait for the stop.
        stop.cancelled().await;
    }
}

/// The delivery of one session end.
struct Delivery {
    settings: WebhookSettings,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
}

impl Delivery {
    /// Tries until the receiver accepts the session end, the time limit is reached, or the process stops. Returns the
    /// metric label.
    async fn deliver(&self, ended: &SessionEnded, stop: CancellationToken) -> &'static str {
        let (stopwatch, mut backoff) = (Stopwatch::start(), self.settings.initial_backoff);
        loop {
            match self.try_deliver(ended).await {
                Ok(()) => return "sent",
                Err(error) => {
                    tracing::warn!(session = %ended.session, %error, "could not deliver a session end to the webhook")
                }
            }
            if stopwatch.seconds() > GIVE_UP_AFTER_SECONDS {
                return "given_up";
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(backoff))
                .await
                .is_none()
            {
                return "given_up";
            }
            backoff = (2 * backoff).min(Duration::from_secs(60));
        }
    }

    async fn try_deliver(&self, ended: &SessionEnded) -> Result<(), String> {
        let body = build_body(ended).map_err(|error| error.to_string())?;
        let (id, sent_at) = (ended.id(), self.clock.now().as_millis() / 1000);
        let signature = sign(self.settings.secret.expose(), &id, sent_at, &body);
        let request = self
            .client
            .post(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", sent_at)
            .header("webhook-signature", format!("v1,{signature}"))
            .body(body);
        // Remove the URL from the error, because it may contain a secret.
        let response = request
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(format!("unexpected status {}", response.status()))
        }
    }
}

/// Builds the body of a request: the JSON message.
fn build_body(ended: &SessionEnded) -> serde_json::Result<Vec<u8>> {
    let message = serde_json::to_string(&Payload {
        r#type: "session.ended",
        timestamp: &ended.ended,
        data: ended,
    })?;
    Ok(escape::json(&message).into_owned().into_bytes())
}

/// Returns the HMAC-SHA256 of the ID, the time (seconds since the epoch) and the body, in base64.
fn sign(secret: &[u8], id: &str, sent_at: u64, body: &[u8]) -> String {
    // This error does not occur, because HMAC accepts a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(format!("{id}.{sent_at}.").as_bytes());
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::actor::{Actor, ActorKind};
    use crate::testing::outputs::{Output, OutputFormat};

    /// Returns outputs that contain `text` in the message of a session end.
    pub(crate) fn outputs(text: &str) -> Vec<Output> {
        let ended = SessionEnded {
            session: text.to_owned(),
            subject: text.to_owned(),
            policy: text.to_owned(),
            reason: "revoked",
            started: String::new(),
            last_seen: String::new(),
            ended: text.to_owned(),
            redelivered: false,
            actor: Actor::new(ActorKind::Provider, text, None).view(),
        };
        let body = String::from_utf8(build_body(&ended).unwrap()).unwrap();
        vec![("webhook", OutputFormat::Json, body)]
    }

    /// The example is from the libraries of the Standard Webhooks specification.
    #[test]
    fn signatures_follow_standard_webhooks() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
