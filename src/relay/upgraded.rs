use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use hyper::ext::Protocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::copy::Direction;
use super::frames::{FrameScanner, close_frame};
use crate::session::DenyReason;
use crate::streams::{StreamGuard, StreamKind};

/// How long a peer may take to accept the end of a stream that was cut. After this time, the connection is closed.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// The protocol that a request wants to use instead of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeKind {
    /// A WebSocket (RFC 6455).
    WebSocket,
    /// Another protocol.
    Other,
}

impl UpgradeKind {
    const fn new(is_websocket: bool) -> Self {
        if is_websocket {
            Self::WebSocket
        } else {
            Self::Other
        }
    }
}

impl From<UpgradeKind> for StreamKind {
    fn from(kind: UpgradeKind) -> Self {
        match kind {
            UpgradeKind::WebSocket => Self::WebSocket,
            UpgradeKind::Other => Self::Upgrade,
        }
    }
}

/// An upgrade that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The kind of the protocol.
    pub kind: UpgradeKind,
    /// The protocol, as the header `Upgrade` names it.
    pub protocol: HeaderValue,
}

/// Returns the upgrade that a request asks for; `None` without an upgrade. Over HTTP/1.1, the request asks with the
/// header `Upgrade`, over HTTP/2 with the extended CONNECT method (RFC 8441).
///
/// An upgrade to another version of HTTP or to TLS counts as none, because the requests on such a connection would
/// bypass the checks. Curfew may ignore an upgrade (RFC 9110, section 7.8).
#[must_use]
pub fn requested_upgrade<B>(request: &Request<B>) -> Option<Upgrade> {
    if let Some(protocol) = request.extensions().get::<Protocol>() {
        let protocol = HeaderValue::from_str(protocol.as_str()).ok()?;
        return Upgrade::new(protocol);
    }
    if request.version() != Version::HTTP_11
        || !has_token(request.headers(), &CONNECTION, "upgrade")
    {
        return None;
    }
    let mut first = None;
    for token in tokens(request.headers(), &UPGRADE) {
        let lower = token.to_ascii_lowercase();
        if lower.starts_with("h2c") || lower.starts_with("http") || lower.starts_with("tls") {
            return None;
        }
        first = first.or(Some(token));
    }
    let has_websocket = has_token(request.headers(), &UPGRADE, "websocket");
    let protocol = if has_websocket { "websocket" } else { first? };
    Upgrade::new(HeaderValue::from_str(protocol).ok()?)
}

/// The items of a comma-separated header.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Whether a header has an item. Items are compared without case, because a comparison with case would not recognise
/// `Upgrade: WebSocket`.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|it| it.eq_ignore_ascii_case(token))
}

impl Upgrade {
    fn new(protocol: HeaderValue) -> Option<Self> {
        let name = protocol.to_str().ok()?;
        let kind = UpgradeKind::new(name.eq_ignore_ascii_case("websocket"));
        Some(Self { kind, protocol })
    }

    /// Whether an answer switches to the requested protocol.
    #[must_use]
    pub fn is_accepted_by(&self, headers: &HeaderMap) -> bool {
        let name = self.protocol.to_str().unwrap_or_default();
        has_token(headers, &UPGRADE, name)
    }
}

/// The two connections of an upgraded stream.
struct Relay<C, U> {
    client: C,
    upstream: U,
    to_upstream: Direction,
    to_client: Direction,
    from_client_frames: FrameScanner,
    to_client_frames: FrameScanner,
    kind: UpgradeKind,
}

/// Relays an upgraded connection between the client and the application, until both have ended or the stream is cut. The
/// connection of a public request has no session, and therefore no `guard`.
///
/// # Errors
/// The error of a connection. There is no error if the stream was cut.
pub async fn relay_upgraded<C, U>(
    client: C,
    upstream: U,
    kind: UpgradeKind,
    guard: Option<Arc<StreamGuard>>,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(guard) = &guard {
        guard.set_kind(kind.into());
    }
    let guard = guard.as_deref();
    let mut relay = Relay {
        client,
        upstream,
        to_upstream: Direction::default(),
        to_client: Direction::default(),
        from_client_frames: FrameScanner::default(),
        to_client_frames: FrameScanner::default(),
        kind,
    };
    let reason = tokio::select! {
        biased;
        reason = wait_for_cut(guard) => reason,
        ended = relay.copy(guard) => return ended,
    };
    // The peers may have stopped reading. The end of the stream must not wait for them.
    let _ = tokio::time::timeout(CUT_TIMEOUT, relay.end(reason)).await;
    Ok(())
}

impl<C, U> Relay<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Copies both directions until both have ended.
    async fn copy(&mut self, guard: Option<&StreamGuard>) -> io::Result<()> {
        let is_websocket = self.kind == UpgradeKind::WebSocket;
        let Self {
            client,
            upstream,
            to_upstream,
            to_client,
            from_client_frames,
            to_client_frames,
            ..
        } = self;
        poll_fn(|context| {
            let (client_side, upstream_side) = (Pin::new(&mut *client), Pin::new(&mut *upstream));
            let up = to_upstream.poll_copy(context, client_side, upstream_side, |bytes| {
                let counts = !is_websocket || from_client_frames.scan(bytes);
                if let Some(guard) = guard {
                    guard.count_from_client(bytes.len());
                    if counts {
                        guard.record_client_data();
                    }
                }
            })?;
            let (client_side, upstream_side) = (Pin::new(&mut *client), Pin::new(&mut *upstream));
            let down = to_client.poll_copy(context, upstream_side, client_side, |bytes| {
                if let Some(guard) = guard {
                    guard.count_to_client(bytes.len());
                }
                if is_websocket {
                    to_client_frames.scan(bytes);
                }
            })?;
            match (up, down) {
                (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Ends both connections after a cut. Both sides of a WebSocket get a Close frame at the end of the current frame.
    async fn end(self, reason: DenyReason) {
        let Self {
            client,
            upstream,
            mut to_upstream,
            mut to_client,
            from_client_frames,
            to_client_frames,
            kind,
        } = self;
        let (mut from_client, mut client) = tokio::io::split(client);
        let (mut from_upstream, mut upstream) = tokio::io::split(upstream);
        if kind == UpgradeKind::WebSocket {
            let mut mask = [0; 4];
            // A mask of zeros is valid; it only fails to hide the text from proxies.
            let _ = getrandom::fill(&mut mask);
            let pending = to_client.take_pending();
            let close = close_frame(reason.as_str(), None);
            let down = send_close(
                &mut from_upstream,
                &mut client,
                pending,
                to_client_frames,
                &close,
            );
            let pending = to_upstream.take_pending();
            let close = close_frame(reason.as_str(), Some(mask));
            let up = send_close(
                &mut from_client,
                &mut upstream,
                pending,
                from_client_frames,
                &close,
            );
            let _ = tokio::join!(down, up);
        }
        let _ = tokio::join!(client.shutdown(), upstream.shutdown());
        // A connection that is closed with unread bytes resets, and the client could lose the Close frame.
        let _ = tokio::join!(discard(&mut from_client), discard(&mut from_upstream));
    }
}

/// Waits until the stream is cut; for ever if it has no session.
async fn wait_for_cut(guard: Option<&StreamGuard>) -> DenyReason {
    match guard {
        Some(guard) => guard.cut().await,
        None => std::future::pending().await,
    }
}

/// Writes the pending bytes and the rest of the current frame, and then a Close frame.
async fn send_close(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    pending: Vec<u8>,
    mut frames: FrameScanner,
    close: &[u8],
) -> io::Result<()> {
    to.write_all(&pending).await?;
    let mut buffer = [0; 4096];
    while !frames.is_at_boundary() {
        let length = frames.bytes_to_boundary().min(buffer.len());
        let length = from.read(&mut buffer[..length]).await?;
        if length == 0 {
            return Ok(());
        }
        frames.scan(&buffer[..length]);
        to.write_all(&buffer[..length]).await?;
    }
    if !frames.has_closed() {
        to.write_all(close).await?;
    }
    to.flush().await
}

/// Reads until the end of the connection.
async fn discard(from: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while from.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

#[cfg(test)]
mod tests;
