use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::actor::{Actor, ActorKind};
use crate::session::DenyReason;
use crate::telemetry::audit::{self, Denied};
use crate::testing::outputs::{Form, Output};

/// What a process writes to its log, in a format, while `write` runs.
pub(crate) fn logged(format: LogFormat, colours: bool, write: impl FnOnce()) -> String {
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
    let layer = lines(format, move || writer.clone(), colours);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, write);
    let bytes = buffer.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

fn written(write: impl FnOnce()) -> String {
    let line = logged(LogFormat::Human, false, write);
    let line = line.strip_suffix('\n').unwrap();
    let (_, rest) = line.split_once("tests: ").unwrap();
    rest.to_owned()
}

#[test]
fn a_line_for_people_has_fields_that_no_value_can_forge() {
    let forged = "a user.id=\"root\"\nb";
    assert_eq!(
        written(|| tracing::info!(text = "a", count = 3, ok = true, "it is so")),
        r#"it is so text="a" count=3 ok=true"#
    );
    let expected = r#"it is so text="a user.id=\"root\"\nb""#;
    assert_eq!(
        written(|| tracing::info!(text = forged, "it is so")),
        expected
    );
    assert_eq!(
        written(|| tracing::info!(text = %forged, "it is so")),
        expected
    );
    assert_eq!(
        written(|| tracing::info!(text = %"redis:6379", at = ?"x", "it is so")),
        r#"it is so text=redis:6379 at="\"x\"""#
    );
    assert_eq!(
        written(|| tracing::info!("{forged}")),
        r#""a user.id=\"root\"\nb""#
    );
    assert_eq!(written(|| tracing::info!("two\nlines")), r"two\nlines");
}

#[test]
fn colours_are_for_a_terminal_alone() {
    let line = logged(LogFormat::Human, true, || {
        tracing::info!(text = "\u{1b}[2J", "it is so");
    });
    assert!(line.contains("\u{1b}[3mtext"), "{line:?}");
    assert!(line.contains(r#""\u{1b}[2J""#), "{line:?}");
}

/// A text in events of every kind: in fields written in each way, in the message, and in audit events.
pub(crate) fn outputs(text: &str) -> Vec<Output> {
    let denied = Denied {
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
            Form::Fields,
            logged(LogFormat::Human, false, all),
        ),
        (
            "log in JSON",
            Form::Json,
            logged(LogFormat::Json, false, all),
        ),
    ]
}
