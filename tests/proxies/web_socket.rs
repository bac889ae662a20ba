//! WebSockets and event streams over a plain connection, so that a test sees each byte.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kinds::HOST;
use crate::support::backend::ReceivedRequest;

/// How long a proxy or Curfew may take for the next bytes.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Returns the header lines that open a WebSocket. The key is the one of RFC 6455, section 1.3.
pub fn web_socket_lines(upgrade: &str) -> String {
    format!(
        "Connection: Upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
}

/// Sends a GET with these header lines, and reads the head of the answer.
pub async fn open(proxy: SocketAddr, path: &str, lines: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    (stream, head)
}

/// Sends a masked text frame, and waits until the backend has returned it.
pub async fn exchange(stream: &mut TcpStream) {
    const FRAME: &[u8] = b"\x81\x82maskhi";
    stream.write_all(FRAME).await.unwrap();
    let mut echo = [0; FRAME.len()];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, FRAME);
}

/// Reads from the connection until the text ends with `end`, and returns the text.
pub async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let reading = tokio::time::timeout(LONGEST_WAIT, stream.read_u8()).await;
        let text = String::from_utf8_lossy(&bytes);
        let read = reading.unwrap_or_else(|_| panic!("no more data after {text:?}"));
        bytes.push(read.unwrap_or_else(|error| panic!("{error} after {text:?}")));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the rest of the connection.
pub async fn read_rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(LONGEST_WAIT, stream.read_to_end(&mut rest));
    let read = reading.await.expect("the stream should end");
    // A proxy can reset the connection after the last bytes.
    let _ = read;
    rest
}

/// Returns whether Curfew's proxy listener forwarded the request. Caddy also writes a `Via`.
pub fn is_from_curfew(request: &ReceivedRequest) -> bool {
    let mut lines = request.header_values("via").into_iter();
    lines.any(|line| line.ends_with("1.1 curfew"))
}
