use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose first bytes were already read from its socket. A reader of this stream gets these bytes again.
pub struct PrefixedStream<S, T> {
    first_bytes: Bytes,
    stream: S,
    /// What lives as long as the connection, such as its permit.
    attached: T,
}

impl<S, T> PrefixedStream<S, T> {
    /// Puts the first bytes and the rest of the stream together again.
    pub(super) const fn new(first_bytes: Bytes, stream: S, attached: T) -> Self {
        Self {
            first_bytes,
            stream,
            attached,
        }
    }

    /// Returns what lives as long as the connection.
    pub(super) const fn attached(&self) -> &T {
        &self.attached
    }
}

impl<S: AsyncRead + Unpin, T: Unpin> AsyncRead for PrefixedStream<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first_bytes.is_empty() {
            let length = self.first_bytes.len().min(buffer.remaining());
            buffer.put_slice(&self.first_bytes.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, T: Unpin> AsyncWrite for PrefixedStream<S, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_reader_gets_the_first_bytes_again_even_with_a_small_buffer() {
        let (mut peer, stream) = tokio::io::duplex(64);
        peer.write_all(b"rest").await.unwrap();
        drop(peer);
        let mut stream = PrefixedStream::new(Bytes::from_static(b"first, "), stream, ());
        let mut text = Vec::new();
        let mut buffer = [0; 3];
        loop {
            let length = stream.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            text.extend_from_slice(&buffer[..length]);
        }
        assert_eq!(text, b"first, rest");
    }
}
