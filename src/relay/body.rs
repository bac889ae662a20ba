use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::retry_after::reconnection_time;
use crate::session::DenyReason;
use crate::streams::{StreamGuard, StreamKind};

/// The gRPC status `UNAUTHENTICATED`.
const GRPC_UNAUTHENTICATED: HeaderValue = HeaderValue::from_static("16");
/// The gRPC status `UNAVAILABLE`, after which clients try again.
const GRPC_UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// The body of a relayed request or answer. It ends when its stream is cut.
///
/// - An event stream ends normally, after an event with the reason if the policy has `stream_end_event`.
/// - A gRPC answer ends with the status `UNAUTHENTICATED`.
/// - Every other body ends with an error, so that the receiver does not take it for complete.
struct RelayedBody {
    body: Body,
    guard: Arc<StreamGuard>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    direction: Direction,
    has_ended: bool,
}

enum Direction {
    FromClient,
    ToClient {
        kind: StreamKind,
        /// The last bytes, to find the end of an event.
        last_bytes: LastBytes,
        /// Whether the data is compressed, so that no text can be added.
        is_encoded: bool,
    },
}

/// Makes the body of a request end when its stream is cut.
#[must_use]
pub fn relay_request(request: Request<Body>, guard: Arc<StreamGuard>) -> Request<Body> {
    request.map(|body| RelayedBody::create(body, guard, Direction::FromClient))
}

/// Makes the body of an answer end when its stream is cut. Sets the kind of the stream.
#[must_use]
pub fn relay_response(response: Response<Body>, guard: Arc<StreamGuard>) -> Response<Body> {
    let headers = response.headers();
    let kind = response_kind(headers);
    let is_encoded = headers.contains_key(CONTENT_ENCODING);
    guard.set_kind(kind);
    let last_bytes = LastBytes::default();
    response.map(|body| {
        RelayedBody::create(
            body,
            guard,
            Direction::ToClient {
                kind,
                last_bytes,
                is_encoded,
            },
        )
    })
}

/// The error at the end of a body whose stream was cut.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream was cut: {0}")]
struct StreamCut(DenyReason);

impl RelayedBody {
    fn create(body: Body, guard: Arc<StreamGuard>, direction: Direction) -> Body {
        Body::new(Self {
            cut: Box::pin(guard.cut_signal().cancelled_owned()),
            body,
            guard,
            direction,
            has_ended: false,
        })
    }

    /// Returns the last frame after a cut; `None` for the normal end.
    fn last_frame(&self, reason: DenyReason) -> Option<Result<Frame<Bytes>, axum::Error>> {
        match &self.direction {
            Direction::ToClient {
                kind: StreamKind::EventStream,
                last_bytes,
                is_encoded,
            } => {
                let has_end_event = self.guard.stream().terms().settings.end_event;
                // In the middle of an event, the client would take the text for a part of that event.
                (has_end_event && !is_encoded && last_bytes.is_end_of_event())
                    .then(|| Ok(Frame::data(Bytes::from(last_event(reason)))))
            }
            Direction::ToClient {
                kind: StreamKind::Grpc,
                ..
            } => {
                let mut trailers = HeaderMap::new();
                let status = if reason.is_temporary_failure() {
                    GRPC_UNAVAILABLE
                } else {
                    GRPC_UNAUTHENTICATED
                };
                trailers.insert(HeaderName::from_static("grpc-status"), status);
                let message = HeaderValue::from_static(reason.as_str());
                trailers.insert(HeaderName::from_static("grpc-message"), message);
                Some(Ok(Frame::trailers(trailers)))
            }
            Direction::FromClient | Direction::ToClient { .. } => {
                Some(Err(axum::Error::new(StreamCut(reason))))
            }
        }
    }
}

impl http_body::Body for RelayedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.cut.as_mut().poll(context).is_ready() {
            self.has_ended = true;
            let reason = self.guard.stream().cut_reason();
            return Poll::Ready(self.last_frame(reason.unwrap_or(DenyReason::Revoked)));
        }
        let Self {
            body,
            guard,
            direction,
            has_ended,
            ..
        } = &mut *self;
        let frame = ready!(Pin::new(body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    match direction {
                        Direction::FromClient => {
                            guard.count_from_client(bytes.len());
                            guard.record_client_data();
                        }
                        Direction::ToClient { last_bytes, .. } => {
                            guard.count_to_client(bytes.len());
                            last_bytes.add(bytes);
                        }
                    }
                }
            }
            Some(Err(_)) | None => *has_ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the last event of an event stream. After a temporary failure, the session may still be valid. So the stream
/// only tells the client when to connect again, with the field `retry` in milliseconds (HTML, section 9.2.6).
fn last_event(reason: DenyReason) -> String {
    if reason.is_temporary_failure() {
        return format!("retry: {}\n\n", reconnection_time().as_millis());
    }
    let reason = reason.as_str();
    format!("event: session-ended\ndata: {{\"reason\":\"{reason}\"}}\n\n")
}

/// Returns the kind of an answer that does not switch protocols.
fn response_kind(headers: &HeaderMap) -> StreamKind {
    let content_type = headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let essence = content_type.map(|value| value.split(';').next().unwrap_or(value).trim());
    match essence.map(str::to_ascii_lowercase).as_deref() {
        Some("text/event-stream") => StreamKind::EventStream,
        Some("application/grpc") => StreamKind::Grpc,
        Some(name) if name.starts_with("application/grpc+") => StreamKind::Grpc,
        _ => StreamKind::Transfer,
    }
}

/// The last bytes of an event stream.
#[derive(Clone, Copy, Debug, Default)]
struct LastBytes {
    bytes: [u8; 4],
    length: usize,
}

impl LastBytes {
    fn add(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(self.bytes.len())..] {
            self.bytes.rotate_left(1);
            self.bytes[3] = *byte;
            self.length += 1;
        }
    }

    /// Whether the stream is empty, or ends with an empty line. Lines end with LF, CR LF or CR.
    fn is_end_of_event(&self) -> bool {
        let [.., third, fourth] = self.bytes;
        self.length == 0
            || (third, fourth) == (b'\n', b'\n')
            || (third, fourth) == (b'\r', b'\r')
            || self.bytes == *b"\r\n\r\n"
    }
}

#[cfg(test)]
mod tests;
