//! The terminal of the demo: a WebSocket that ends with its session.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;

use super::{Demo, render_page, subject_of};
use crate::layer::LiveSession;

/// The maximum size of a message from the page.
const MAX_MESSAGE_BYTES: usize = 4096;
/// The interval of the clock, which shows that data of the server is not activity.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// A message of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input {
    line: Option<String>,
}

pub(super) async fn show_terminal(
    State(demo): State<Demo>,
    live: Option<Extension<LiveSession>>,
) -> Response {
    let text = demo.fill(include_str!("terminal.html"), &subject_of(live.as_deref()));
    render_page("A terminal", &text)
}

pub(super) async fn serve_script() -> Response {
    let content_type = (CONTENT_TYPE, HeaderValue::from_static("text/javascript"));
    ([content_type], include_str!("terminal.js")).into_response()
}

pub(super) async fn open_terminal(
    upgrade: WebSocketUpgrade,
    live: Option<Extension<LiveSession>>,
) -> Response {
    let subject = subject_of(live.as_deref());
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .on_upgrade(async move |socket| run_terminal(socket, &subject).await)
}

/// Answers commands until the connection ends.
async fn run_terminal(mut socket: WebSocket, subject: &str) {
    let start = tokio::time::Instant::now();
    let mut clock = tokio::time::interval(CLOCK_INTERVAL);
    let greeting = "Try: whoami, uptime, help. Or stop typing, and watch the terminal end.";
    let mut next = Some(json!({ "text": greeting }));
    loop {
        if let Some(message) = next.take()
            && socket
                .send(Message::Text(message.to_string().into()))
                .await
                .is_err()
        {
            return;
        }
        tokio::select! {
            _ = clock.tick() => next = Some(json!({ "clock": start.elapsed().as_secs() })),
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    let input: Input = serde_json::from_str(&text).unwrap_or_default();
                    let answer = input.line.map(|line| answer(&line, subject, start.elapsed()));
                    next = answer.map(|text| json!({ "text": text }));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

/// Answers a command.
fn answer(line: &str, subject: &str, uptime: Duration) -> String {
    match line.trim() {
        "whoami" => subject.to_owned(),
        "uptime" => format!("{} seconds", uptime.as_secs()),
        "help" => "whoami, uptime, help".to_owned(),
        command => format!("{command}: command not found"),
    }
}
