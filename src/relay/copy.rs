use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The size of the buffer for reads. All relays of a thread share one buffer, so an idle stream needs no buffer.
const BUFFER_BYTES: usize = 32 * 1024;

thread_local! {
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// One direction of a relay.
#[derive(Debug, Default)]
pub(super) struct OneWayCopy {
    /// Bytes that were read and not yet written. At most [`BUFFER_BYTES`], because no bytes are read while some wait.
    pending: Vec<u8>,
    /// How many of the pending bytes are written.
    written: usize,
    needs_flush: bool,
    /// Whether the sender has sent its last byte.
    has_ended: bool,
    is_finished: bool,
}

impl OneWayCopy {
    /// Returns the bytes that were read and not yet written.
    pub(super) fn take_pending(&mut self) -> Vec<u8> {
        let pending = std::mem::take(&mut self.pending);
        pending.get(self.written..).unwrap_or_default().to_vec()
    }

    /// Copies bytes from `from` to `to` until `from` has ended; then closes `to` for writing. Calls `observe` with all
    /// bytes that were read. After it is ready, each call is ready.
    ///
    /// # Errors
    /// An error of one of the two connections.
    pub(super) fn poll_copy(
        &mut self,
        context: &mut Context<'_>,
        mut from: Pin<&mut (impl AsyncRead + ?Sized)>,
        mut to: Pin<&mut (impl AsyncWrite + ?Sized)>,
        mut observe: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        if self.is_finished {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_write_pending(context, to.as_mut()))?;
            if self.has_ended {
                ready!(to.as_mut().poll_shutdown(context))?;
                self.is_finished = true;
                return Poll::Ready(Ok(()));
            }
            let mut buffer = BUFFER
                .take()
                .unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
            let read = self.poll_chunk(
                context,
                from.as_mut(),
                to.as_mut(),
                &mut buffer,
                &mut observe,
            );
            BUFFER.set(Some(buffer));
            match read {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.needs_flush {
                        ready!(to.as_mut().poll_flush(context))?;
                        self.needs_flush = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_write_pending(
        &mut self,
        context: &mut Context<'_>,
        mut to: Pin<&mut (impl AsyncWrite + ?Sized)>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let bytes = &self.pending[self.written..];
            let written = ready!(to.as_mut().poll_write(context, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads one chunk and writes as much of it as possible at once. The rest becomes pending.
    fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
        from: Pin<&mut (impl AsyncRead + ?Sized)>,
        to: Pin<&mut (impl AsyncWrite + ?Sized)>,
        buffer: &mut [u8],
        observe: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(from.poll_read(context, &mut buffer))?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.has_ended = true;
            return Poll::Ready(Ok(()));
        }
        observe(bytes);
        self.needs_flush = true;
        match to.poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => {
                if written < bytes.len() {
                    self.pending = bytes[written..].to_vec();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.pending = bytes.to_vec();
                Poll::Ready(Ok(()))
            }
        }
    }
}
