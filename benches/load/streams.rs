//! WebSockets: an application, and the clients that measure their memory, their throughput and their end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::latencies::Latencies;
use crate::tokens::Tokens;

/// The size of a message of the throughput measurement.
const MESSAGE_BYTES: usize = 64 * 1024;
/// The time for a stream to end. A stream that is still open then stops the program.
const END_TIMEOUT: Duration = Duration::from_secs(60);
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Serves WebSockets that return all bytes, and answers any other request with 200 and no body.
pub async fn application(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        // A client sends nothing after the head until it has read the answer.
        let mut length = 0;
        while !buffer[..length].ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut buffer[length..]).await.ok()?;
            if read == 0 {
                return None;
            }
            length += read;
        }
        let head = String::from_utf8_lossy(&buffer[..length]).to_ascii_lowercase();
        if head.contains("\r\nupgrade: websocket") {
            let key = head_value(&head, "sec-websocket-key")?;
            // The head is in lower case, but the clients do not compare the answer to their key.
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            stream.write_all(answer.as_bytes()).await.ok()?;
            return echo(&mut stream).await;
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .ok()?;
    }
}

/// Returns all bytes. An idle connection has no buffer.
async fn echo(stream: &mut TcpStream) -> Option<()> {
    loop {
        stream.readable().await.ok()?;
        let mut buffer = vec![0; 4 * MESSAGE_BYTES];
        loop {
            match stream.try_read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => stream.write_all(&buffer[..length]).await.ok()?,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
    }
}

fn head_value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("{name}: ");
    head.lines().find_map(|line| line.strip_prefix(&*start))
}

/// Reads the head of a message, one byte at a time, because the bytes after it belong to the WebSocket.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Opens a WebSocket.
async fn open(address: SocketAddr, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nhost: app.example.com\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\ncookie: __Host-session={token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap_or_default();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// Opens idle WebSockets, prints `open`, and keeps them open until the process is stopped.
pub async fn hold(address: SocketAddr, tokens: &Tokens, count: usize) {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let mut socket = open(address, tokens.next()).await;
        // One message in each direction, as after a handshake of the application.
        socket.write_all(b"\x81\x82maskhi").await.unwrap();
        socket.read_exact(&mut [0; 8]).await.unwrap();
        sockets.push(socket);
    }
    println!("open");
    std::future::pending::<()>().await;
}

/// Sends messages of 64 KiB, and reads them back.
///
/// At most `window` messages are on the way at a time.
pub async fn relay(address: SocketAddr, tokens: &Tokens, messages: usize, window: usize) {
    let socket = open(address, tokens.next()).await;
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend((MESSAGE_BYTES as u64).to_be_bytes());
    frame.extend(*b"mask");
    frame.resize(frame.len() + MESSAGE_BYTES, 7);
    let length = frame.len();
    let total = length * messages;
    let (mut from, mut to) = socket.into_split();
    let start = Instant::now();
    let free = Arc::new(Semaphore::new(window));
    let permits = Arc::clone(&free);
    let sending = tokio::spawn(async move {
        for _ in 0..messages {
            permits.acquire().await.unwrap().forget();
            to.write_all(&frame).await.unwrap();
        }
        to
    });
    let mut buffer = vec![0; 4 * MESSAGE_BYTES];
    let mut read = 0;
    while read < total {
        let count = from.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the connection was closed");
        free.add_permits((read + count) / length - read / length);
        read += count;
    }
    drop(sending.await.unwrap());
    println!(
        "{}",
        json!({ "bytes": 2 * total, "seconds": start.elapsed().as_secs_f64() })
    );
}

/// Opens a WebSocket for each of `count` sessions, in turn at the addresses. Then revokes one session after the other,
/// and measures the time from the answer to the revocation until the client reads the Close frame.
pub async fn cut(
    admin: &str,
    admin_token: &str,
    count: usize,
    addresses: &[SocketAddr],
) -> Latencies {
    let client = reqwest::Client::new();
    let url = format!("http://{admin}/api/v1/sessions");
    let mut streams = Vec::new();
    let mut readers = JoinSet::new();
    for number in 0..count {
        let body = json!({ "subject": format!("user-{number}") });
        let request = client.post(&url).bearer_auth(admin_token).json(&body);
        let created: Value = request.send().await.unwrap().json().await.unwrap();
        let token = created["token"].as_str().unwrap().to_owned();
        let id = created["session"]["id"].as_str().unwrap().to_owned();
        let mut socket = open(addresses[number % addresses.len()], &token).await;
        let (sender, closed) = oneshot::channel();
        readers.spawn(async move {
            let mut frame = [0; 11];
            socket.read_exact(&mut frame).await.unwrap();
            let _ = sender.send(Instant::now());
            assert_eq!(&frame, b"\x88\x09\x03\xf0revoked");
        });
        streams.push((id, closed));
    }
    // The supervisor decides on a new stream once after it opens.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    let mut latencies = Latencies::default();
    let mut waiting = Vec::new();
    for (id, closed) in streams {
        let request = client
            .delete(format!("{url}/{id}"))
            .bearer_auth(admin_token);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        waiting.push((Instant::now(), closed));
    }
    for (acknowledged, closed) in waiting {
        let closed = tokio::time::timeout(END_TIMEOUT, closed).await;
        let closed = closed.expect("a stream is still open").unwrap();
        // The client can read the Close frame before it reads the answer to the revocation.
        latencies.add(closed.saturating_duration_since(acknowledged));
    }
    while let Some(read) = readers.join_next().await {
        read.unwrap();
    }
    Latencies::merge(vec![latencies], start.elapsed().as_secs_f64())
}
