//! WebSockets of the tests.

use std::time::Duration;

use http::request::Builder;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cells::{Cell, body};
use crate::fronts::Front;

/// An open WebSocket.
pub type WebSocket = TokioIo<hyper::upgrade::Upgraded>;

/// Opens a WebSocket to the application that returns all bytes.
pub async fn open(cell: &Cell<'_>, upgrade: &str) -> WebSocket {
    open_with(cell, "/ws", upgrade, |request| request).await
}

/// Opens a WebSocket at a path, with changes to the request.
pub async fn open_with(
    cell: &Cell<'_>,
    path: &str,
    upgrade: &str,
    change: impl FnOnce(Builder) -> Builder,
) -> WebSocket {
    let request = match cell.front {
        Front::Http1 => cell
            .request("GET", path)
            .header("connection", "Upgrade")
            .header("upgrade", upgrade)
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        Front::Http2 => cell
            .request("CONNECT", path)
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket")),
    };
    let response = cell
        .front
        .send(cell.cells.proxy, change(request).body(body("")).unwrap())
        .await;
    let expected = match cell.front {
        Front::Http1 => 101,
        Front::Http2 => 200,
    };
    assert_eq!(response.status(), expected, "{}", cell.name());
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

/// Sends a masked text frame, and waits until it comes back.
pub async fn exchange(socket: &mut WebSocket) {
    socket.write_all(b"\x81\x82maskhi").await.unwrap();
    let mut echo = [0; 8];
    socket.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"\x81\x82maskhi");
}

/// Reads until the end of the connection.
pub async fn read_end(socket: &mut WebSocket) -> Vec<u8> {
    let mut end = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut end));
    assert!(
        reading.await.is_ok_and(|read| read.is_ok()),
        "the stream must be cut"
    );
    end
}
