//! WebSockets through the proxy listener of a replica.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

/// The host of the application behind the proxy listeners.
pub const HOST: &str = "app.example.com";

/// The start of a Close frame with the code 1008 and a short reason (RFC 6455, section 5.5.1).
const CLOSE: [u8; 4] = [0x88, 0, 0x03, 0xf0];

/// A masked text frame, which the application returns.
const FRAME: &[u8] = b"\x81\x82maskhi";

/// An open WebSocket.
pub struct Stream {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

/// The writing side of a WebSocket.
pub struct Writer(OwnedWriteHalf);

/// The end of a stream.
pub struct StreamEnd {
    pub at: Instant,
    /// The reason in the Close frame. None if the connection ended without a Close frame.
    pub reason: Option<String>,
}

impl Stream {
    /// Opens a WebSocket. Returns the status of the answer, the reason of a denial, and the WebSocket.
    pub async fn open(
        proxy: SocketAddr,
        cookie: &str,
    ) -> std::io::Result<(u16, String, Option<Self>)> {
        let mut stream = TcpStream::connect(proxy).await?;
        let request = format!(
            "GET /socket HTTP/1.1\r\nhost: {HOST}\r\ncookie: {cookie}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or(std::io::ErrorKind::InvalidData)?;
        let mut lines = head.lines();
        let reason = lines.find_map(|line| line.strip_prefix("x-session-reason: "));
        let reason = reason.unwrap_or_default().to_owned();
        let (from, to) = stream.into_split();
        Ok((status, reason, (status == 101).then_some(Self { from, to })))
    }

    /// Returns the end of the stream, as a future, and its writing side.
    pub fn split(self) -> (impl Future<Output = StreamEnd>, Writer) {
        (wait_for_end(self.from), Writer(self.to))
    }
}

impl Writer {
    /// Sends a frame with data. Ignores errors, because the reading side notices the end.
    pub async fn send(&mut self) {
        let _ = self.0.write_all(FRAME).await;
    }
}

async fn wait_for_end(mut from: OwnedReadHalf) -> StreamEnd {
    let mut bytes = Vec::new();
    // A killed replica resets the connection.
    let _ = from.read_to_end(&mut bytes).await;
    let mut last = &*bytes;
    while let Some(rest) = last.strip_prefix(FRAME) {
        last = rest;
    }
    let is_close = last.len() >= 4 && last[0] == CLOSE[0] && last[2..4] == CLOSE[2..];
    StreamEnd {
        at: Instant::now(),
        reason: is_close.then(|| String::from_utf8_lossy(&last[4..]).into_owned()),
    }
}
