use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::copy::OneWayCopy;
use super::frames::{FrameScanner, close_frame};
use super::messages::ClientMessages;
use super::upgrade::UpgradeKind;
use crate::session::DenyReason;
use crate::streams::StreamGuard;

/// How long a peer may take to accept the end of a stream that was cut. After this time, the connection is closed.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// The two connections of an upgraded stream.
struct Relay<C, U> {
    client: C,
    upstream: U,
    to_upstream: OneWayCopy,
    to_client: OneWayCopy,
    from_client: ClientMessages,
    to_client_frames: FrameScanner,
    kind: UpgradeKind,
}

/// Waits until the client and the application have switched protocols, and then relays their connections until both have
/// ended or the stream is cut. `client_io` returns the connection of the client. A public request has no session, and
/// therefore no `guard`.
pub async fn relay_after_switch<C>(
    client: OnUpgrade,
    client_io: impl FnOnce(Upgraded) -> C,
    upstream: OnUpgrade,
    kind: UpgradeKind,
    guard: Option<Arc<StreamGuard>>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let both = async { tokio::try_join!(client, upstream) };
    let both = tokio::select! {
        both = both => both,
        _ = wait_for_cut(guard.as_deref()) => return,
    };
    let (client, upstream) = match both {
        Ok((client, upstream)) => (client_io(client), TokioIo::new(upstream)),
        Err(error) => {
            tracing::debug!(%error, "could not switch protocols");
            return;
        }
    };
    if let Err(error) = relay_upgraded(client, upstream, kind, guard).await {
        tracing::debug!(%error, "upgraded connection failed");
    }
}

/// Relays an upgraded connection between the client and the application, until both have ended or the stream is cut. The
/// connection of a public request has no session, and therefore no `guard`.
///
/// # Errors
/// The error of a connection. There is no error if the stream was cut.
async fn relay_upgraded<C, U>(
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
        to_upstream: OneWayCopy::default(),
        to_client: OneWayCopy::default(),
        from_client: ClientMessages::default(),
        to_client_frames: FrameScanner::default(),
        kind,
    };
    let reason = tokio::select! {
        biased;
        reason = wait_for_cut(guard) => reason,
        ended = relay.copy(guard) => return ended,
    };
    // The buffers for the end are on the heap: otherwise, each open stream would reserve memory for them.
    let end = Box::pin(relay.end(reason));
    // The peers may have stopped reading. The end of the stream must not wait for them.
    let _ = tokio::time::timeout(CUT_TIMEOUT, end).await;
    Ok(())
}

impl<C, U> Relay<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Copies both directions until both have ended.
    async fn copy(&mut self, guard: Option<&StreamGuard>) -> io::Result<()> {
        let mut up_error = None;
        let copied = poll_fn(|context| -> Poll<io::Result<()>> {
            let up = self.poll_up(context, guard);
            if let Poll::Ready(Err(error)) = up {
                up_error = Some(error);
                return Poll::Ready(Ok(()));
            }
            match (up, self.poll_down(context, guard)?) {
                (Poll::Ready(_), Poll::Ready(())) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        });
        copied.await?;
        let Some(error) = up_error else {
            return Ok(());
        };
        // An application can send its last message and close the connection while the client still sends.
        let rest = poll_fn(|context| self.poll_down(context, guard));
        let _ = tokio::time::timeout(CUT_TIMEOUT, rest).await;
        Err(error)
    }

    /// Copies from the client to the application.
    fn poll_up(
        &mut self,
        context: &mut Context<'_>,
        guard: Option<&StreamGuard>,
    ) -> Poll<io::Result<()>> {
        let (client, upstream) = (Pin::new(&mut self.client), Pin::new(&mut self.upstream));
        let (from_client, kind) = (&mut self.from_client, self.kind);
        self.to_upstream
            .poll_copy(context, client, upstream, |bytes| {
                let heartbeats = guard.and_then(StreamGuard::heartbeats);
                let is_heartbeat = heartbeats.map(|it| move |message: &[u8]| it.matches(message));
                let is_websocket = kind == UpgradeKind::WebSocket;
                let counts = !is_websocket || from_client.scan(bytes, is_heartbeat);
                if let Some(guard) = guard {
                    guard.count_from_client(bytes.len());
                    if counts {
                        guard.record_client_data();
                    }
                }
            })
    }

    /// Copies from the application to the client.
    fn poll_down(
        &mut self,
        context: &mut Context<'_>,
        guard: Option<&StreamGuard>,
    ) -> Poll<io::Result<()>> {
        let (client, upstream) = (Pin::new(&mut self.client), Pin::new(&mut self.upstream));
        let (frames, kind) = (&mut self.to_client_frames, self.kind);
        self.to_client
            .poll_copy(context, upstream, client, |bytes| {
                if let Some(guard) = guard {
                    guard.count_to_client(bytes.len());
                }
                if kind == UpgradeKind::WebSocket {
                    frames.scan(bytes, |_| ());
                }
            })
    }

    /// Ends both connections after a cut. Both sides of a WebSocket get a Close frame at the end of the current frame.
    async fn end(self, reason: DenyReason) {
        let Self {
            client,
            upstream,
            mut to_upstream,
            mut to_client,
            from_client: ClientMessages { frames, .. },
            to_client_frames,
            kind,
        } = self;
        let (mut client_reader, mut client) = tokio::io::split(client);
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
            let up = send_close(&mut client_reader, &mut upstream, pending, frames, &close);
            let _ = tokio::join!(down, up);
        }
        let _ = tokio::join!(client.shutdown(), upstream.shutdown());
        // A connection that is closed with unread bytes resets, and the client could lose the Close frame.
        let _ = tokio::join!(discard(&mut client_reader), discard(&mut from_upstream));
    }
}

/// Waits until the stream is cut, and returns the reason; for ever if it has no session.
pub async fn wait_for_cut(guard: Option<&StreamGuard>) -> DenyReason {
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
        frames.scan(&buffer[..length], |_| ());
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
