use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::either::Either;

use super::PeerStream;
use super::prefixed_stream::PrefixedStream;
use crate::admission::Permit;

/// The maximum pause of the client during a lingering close (see [`HttpStream`]).
const LINGER_IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum duration of a lingering close.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum number of bytes that are read and discarded during a lingering close.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// Tracks whether the answers of a connection were written. The next request waits until all answers are written.
/// Without this wait, the answers for a client that sends requests and does not read would stay in memory.
#[derive(Debug, Default)]
pub(super) struct WriteProgress {
    /// Whether an answer may still be unwritten.
    has_unwritten_answer: AtomicBool,
    waker: AtomicWaker,
}

impl WriteProgress {
    /// Marks that an answer is not written yet.
    pub(super) fn mark_unwritten(&self) {
        self.has_unwritten_answer.store(true, Ordering::Relaxed);
    }

    /// Waits until all previous answers are written.
    pub(super) async fn wait_until_written(&self) {
        if !self.has_unwritten_answer.load(Ordering::Relaxed) {
            return;
        }
        poll_fn(|context| {
            self.waker.register(context.waker());
            match self.has_unwritten_answer.load(Ordering::Acquire) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    fn mark_written(&self) {
        if self.has_unwritten_answer.swap(false, Ordering::Release) {
            self.waker.wake();
        }
    }
}

/// The socket of an HTTP connection. It reports when all answers are written.
///
/// The socket does a lingering close, so that the last answer reaches the client: after the last answer, it stops
/// writing, but continues to read for a while. Otherwise, if the socket were closed with unread bytes, the connection
/// would be reset and the answer could be lost (RFC 9112, section 9.6).
pub(super) struct HttpStream<S> {
    stream: S,
    write_progress: Arc<WriteProgress>,
    closing: Option<LingeringClose>,
    /// The permit of the connection.
    permit: Option<Permit>,
}

/// The state of a lingering close.
struct LingeringClose {
    deadline: Instant,
    idle_timer: Pin<Box<Sleep>>,
    bytes_read: usize,
}

impl<S> HttpStream<S> {
    pub(super) fn new(stream: S, write_progress: Arc<WriteProgress>) -> Self {
        Self {
            stream,
            write_progress,
            closing: None,
            permit: None,
        }
    }

    /// Holds the permit until the stream is dropped.
    pub(super) fn with_permit(self, permit: Option<Permit>) -> Self {
        Self { permit, ..self }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HttpStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HttpStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Hyper flushes after it has written all its data, so a flush means that all answers are written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.write_progress.mark_written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream, closing, ..
        } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
        }
        let closing = closing.get_or_insert_with(|| {
            let idle_timer = tokio::time::sleep(LINGER_IDLE_TIMEOUT);
            LingeringClose {
                deadline: idle_timer.deadline() - LINGER_IDLE_TIMEOUT + LINGER_TIMEOUT,
                idle_timer: Box::pin(idle_timer),
                bytes_read: 0,
            }
        });
        let mut bytes = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.bytes_read += buffer.filled().len();
                    if closing.bytes_read > MAX_LINGER_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                    let idle_deadline = tokio::time::sleep(LINGER_IDLE_TIMEOUT).deadline();
                    closing
                        .idle_timer
                        .as_mut()
                        .reset(idle_deadline.min(closing.deadline));
                }
                // The client has closed its side, or the connection failed.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return closing.idle_timer.as_mut().poll(context).map(Ok),
            }
        }
    }
}

/// A connection that has switched to another protocol. Its first bytes can arrive with the request.
pub type UpgradedIo = PrefixedStream<Either<PeerStream, TokioIo<Upgraded>>, Option<Permit>>;

/// Returns the connection of an upgraded request of a listener. It has no lingering close, because the new protocol
/// decides how long each side sends.
#[must_use]
pub fn upgraded_io(upgraded: Upgraded) -> UpgradedIo {
    match upgraded.downcast::<TokioIo<HttpStream<PeerStream>>>() {
        Ok(parts) => {
            let HttpStream { stream, permit, .. } = parts.io.into_inner();
            UpgradedIo::new(parts.read_buf, Either::Left(stream), permit)
        }
        // A stream of an HTTP/2 connection, which holds the permit itself.
        Err(upgraded) => {
            let stream = Either::Right(TokioIo::new(upgraded));
            UpgradedIo::new(Bytes::new(), stream, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_next_request_waits_until_the_answer_is_written() {
        let write_progress = Arc::new(WriteProgress::default());
        let (mut client, server) = tokio::io::duplex(4);
        let mut http_stream = HttpStream::new(server, Arc::clone(&write_progress));
        write_progress.wait_until_written().await;
        write_progress.mark_unwritten();
        let waiting = tokio::spawn({
            let write_progress = Arc::clone(&write_progress);
            async move { write_progress.wait_until_written().await }
        });
        let writing = tokio::spawn(async move {
            http_stream.write_all(b"answer").await.unwrap();
            http_stream.flush().await.unwrap();
            http_stream
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        client.read_exact(&mut [0; 6]).await.unwrap();
        waiting.await.unwrap();
        drop(writing.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lingering_close_reads_what_the_client_sends() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut http_stream = HttpStream::new(server, Arc::default());
        let closing = tokio::spawn(async move { http_stream.shutdown().await });
        let start = tokio::time::Instant::now();
        while client.write_all(b"more").await.is_ok() && start.elapsed() < 2 * LINGER_TIMEOUT {
            tokio::time::sleep(LINGER_IDLE_TIMEOUT / 2).await;
        }
        closing.await.unwrap().unwrap();
        assert!(
            start.elapsed() <= LINGER_TIMEOUT + LINGER_IDLE_TIMEOUT,
            "{:?}",
            start.elapsed()
        );
        let (_silent, server) = tokio::io::duplex(64);
        let start = tokio::time::Instant::now();
        HttpStream::new(server, Arc::default())
            .shutdown()
            .await
            .unwrap();
        assert_eq!(start.elapsed(), LINGER_IDLE_TIMEOUT);
    }
}
