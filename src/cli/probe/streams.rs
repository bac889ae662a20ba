//! Streams: WebSockets and event streams that must end with their session.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, COOKIE, UPGRADE};
use reqwest::{Response, Upgraded};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use url::Url;

use super::client::{Answer, ProbeClient, classify};
use super::report::Report;
use crate::clock::Stopwatch;
use crate::secret::Secret;

/// The interval of the pings on a WebSocket. Pings keep a stream open on proxies that measure silence, and they never count
/// as activity.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The time within which a stream must end after its session.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A stream to test.
#[derive(Clone, Debug)]
pub(super) struct ProbeStream {
    url: Url,
    is_websocket: bool,
}

impl ProbeStream {
    /// Parses a URL: `ws` and `wss` are WebSockets, `http` and `https` are event streams.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut url: Url = text.parse().map_err(|error| format!("{error}"))?;
        let scheme = match url.scheme() {
            "ws" => Some("http"),
            "wss" => Some("https"),
            "http" | "https" => None,
            _ => return Err("must begin with ws://, wss://, http:// or https://".to_owned()),
        };
        if let Some(scheme) = scheme {
            url.set_scheme(scheme).map_err(|()| "is not a URL")?;
        }
        Ok(Self {
            url,
            is_websocket: scheme.is_some(),
        })
    }

    /// Describes the stream for the report.
    fn name(&self) -> String {
        let kind = match self.is_websocket {
            true => "the WebSocket",
            false => "the event stream",
        };
        format!("{kind} {}", self.url.path())
    }

    /// Sends the request for the stream.
    async fn request(
        &self,
        client: &ProbeClient,
        cookie: Option<&Secret<String>>,
    ) -> Result<Response, Answer> {
        let mut request = client.stream_request(&self.url);
        request = if self.is_websocket {
            request
                .header(CONNECTION, "Upgrade")
                // Proxies must compare without case.
                .header(UPGRADE, "WebSocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "Y3VyZmV3IHByb2JlIGtleQ==")
        } else {
            request.header(ACCEPT, "text/event-stream")
        };
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie.expose());
        }
        let answer = request.send().await;
        answer.map_err(|error| Answer::Error(error.without_url().to_string()))
    }

    /// Opens the stream with a session, and keeps it open in a task.
    async fn open(
        &self,
        client: &ProbeClient,
        cookie: &Secret<String>,
    ) -> Result<OpenStream, Answer> {
        let response = self.request(client, Some(cookie)).await?;
        let task = if self.is_websocket {
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(not_a_stream(&response, "a WebSocket"));
            }
            let upgraded = response.upgrade().await;
            let upgraded = upgraded.map_err(|error| Answer::Error(error.to_string()))?;
            tokio::spawn(keep_websocket_open(upgraded))
        } else {
            let content_type = response.headers().get(CONTENT_TYPE);
            let content_type = content_type.and_then(|it| it.to_str().ok()).unwrap_or("");
            if !response.status().is_success() || !content_type.starts_with("text/event-stream") {
                return Err(not_a_stream(&response, "an event stream"));
            }
            tokio::spawn(read_events(response))
        };
        Ok(OpenStream {
            name: self.name(),
            task,
        })
    }
}

/// The answer to a request that opened no stream.
fn not_a_stream(response: &Response, expected: &str) -> Answer {
    match classify(response) {
        Answer::Served(code) => Answer::Error(format!("{code}, but not {expected}")),
        other => other,
    }
}

/// An open stream. The task returns how the stream has ended.
pub(super) struct OpenStream {
    name: String,
    task: JoinHandle<String>,
}

/// Sends pings until the connection ends.
async fn keep_websocket_open(upgraded: Upgraded) -> String {
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    let mut pings = tokio::time::interval(PING_INTERVAL);
    loop {
        tokio::select! {
            _ = pings.tick() => {
                if socket.send(Message::Ping("curfew".into())).await.is_err() {
                    return "the connection ended".to_owned();
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return format!("closed with {} {}", u16::from(frame.code), frame.reason);
                }
                Some(Ok(Message::Close(None))) => return "closed without a reason".to_owned(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return "the connection ended".to_owned(),
            },
        }
    }
}

/// Reads the events until the end of the answer.
async fn read_events(mut response: Response) -> String {
    while let Ok(Some(_)) = response.chunk().await {}
    "the answer ended".to_owned()
}

/// Checks that each stream is refused without a session.
pub(super) async fn check_refused(
    client: &ProbeClient,
    streams: &[ProbeStream],
    report: &mut Report,
) {
    for stream in streams {
        let answer = match stream.request(client, None).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Answer::Served(101)
            }
            Ok(response) => classify(&response),
            Err(error) => error,
        };
        let name = format!("without a session, {} is refused", stream.name());
        report.expect_refused(&name, &answer);
    }
}

/// Opens all streams. A stream that cannot be opened is a failed step.
pub(super) async fn open_all(
    client: &ProbeClient,
    streams: &[ProbeStream],
    cookie: &Secret<String>,
    report: &mut Report,
) -> Vec<OpenStream> {
    let mut open = Vec::new();
    for stream in streams {
        let name = format!("with a session, {} opens", stream.name());
        match stream.open(client, cookie).await {
            Ok(opened) => {
                report.add_passed(&name, "open");
                open.push(opened);
            }
            Err(answer) => report.expect_served(&name, &answer),
        }
    }
    open
}

/// Checks that all streams are still open.
pub(super) fn check_open(streams: &[OpenStream], when: &str, report: &mut Report) {
    for stream in streams {
        let is_open = !stream.task.is_finished();
        let seen = if is_open { "open" } else { "it has ended" };
        let name = format!("{when}, {} is still open", stream.name);
        report.expect(&name, is_open, seen);
    }
}

/// Checks that all streams end within [`END_TIMEOUT`].
pub(super) async fn check_ended(streams: Vec<OpenStream>, when: &str, report: &mut Report) {
    let stopwatch = Stopwatch::start();
    for OpenStream { name, mut task } in streams {
        let left = END_TIMEOUT.saturating_sub(Duration::from_secs_f64(stopwatch.seconds()));
        let ended = tokio::time::timeout(left, &mut task).await;
        task.abort();
        let (has_ended, seen) = match ended {
            Ok(how) => (true, how.unwrap_or_else(|error| error.to_string())),
            Err(_) => (false, "still open".to_owned()),
        };
        report.expect(&format!("{when}, {name} ends"), has_ended, &seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_names_the_kind_of_the_stream() {
        for (text, expected) in [
            (
                "wss://app.example.com/ws",
                Ok(("https://app.example.com/ws", true)),
            ),
            (
                "ws://app.example.com/ws",
                Ok(("http://app.example.com/ws", true)),
            ),
            (
                "https://app.example.com/e",
                Ok(("https://app.example.com/e", false)),
            ),
            (
                "http://app.example.com/e",
                Ok(("http://app.example.com/e", false)),
            ),
            ("ftp://app.example.com/", Err(())),
            ("/ws", Err(())),
        ] {
            let stream = ProbeStream::parse(text);
            let stream = stream.as_ref().map(|it| (it.url.as_str(), it.is_websocket));
            assert_eq!(stream.map_err(|_| ()), expected, "{text}");
        }
    }
}
