//! Returns logs and metrics that contain a given text, for a test that all outputs escape text correctly.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt;

use crate::actor::{Actor, ActorKind};
use crate::audit::{self, DeniedRequest};
use crate::logging::{LogFormat, line_layer};
use crate::metrics::Metrics;
use crate::session::DenyReason;
pub use curfew_core::testing::*;

/// Runs the function `write`, and returns the log lines that it writes, in the given format.
pub fn capture_log(format: LogFormat, colours: bool, write: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let buffer = Buffer::default();
    let writer = buffer.clone();
    let layer = line_layer(format, move || writer.clone(), colours);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, write);
    let bytes = buffer.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

/// Logs a text in events of every kind: in fields of each type, in the message, and in audit events. Returns the
/// output.
pub fn logged_outputs(text: &str) -> Vec<Output> {
    let denied = DeniedRequest {
        contract: "auth-request",
        session: None,
        subject: Some(text),
        address: None,
        host: Some(text),
        path: Some(text.as_bytes()),
        method: Some(text),
        rule: None,
        peer: None,
        detail: Some(text),
    };
    let actor = Actor::new(ActorKind::Provider, text, None);
    let all = || {
        audit::session_denied(&denied, DenyReason::IdleTimeout);
        audit::login_refused(text, "refused", &text, &actor);
        audit::access_refused("wrong_credential", text, text, &actor);
        audit::admin_refused(text, Some(text), &actor);
        tracing::warn!(error = %text, name = text, more = ?text, "could not do it");
        tracing::warn!("could not do it: {text}");
    };
    vec![
        (
            "log for people",
            OutputFormat::Fields,
            capture_log(LogFormat::Human, false, all),
        ),
        (
            "log in JSON",
            OutputFormat::Json,
            capture_log(LogFormat::Json, false, all),
        ),
    ]
}

/// Uses a text as a metric label. Returns the output.
pub fn metrics_outputs(text: &str) -> Vec<Output> {
    let metrics = Metrics::new().unwrap();
    metrics.count_login(text, text);
    metrics.count_keys_fetch(text, false);
    vec![("metrics", OutputFormat::Fields, metrics.render().unwrap())]
}
