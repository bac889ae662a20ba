use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::latencies::Latencies;
use crate::tokens::Tokens;

/// A kind of requests.
#[derive(Clone, Copy)]
pub enum RequestKind {
    /// The check of a proxy.
    Check,
    /// A request of a browser, through a proxy.
    Proxied,
}

/// A load generator for HTTP. It sends requests at a constant rate, even if answers are slow. The latency includes
/// the wait for a free connection, because a real client waits, too.
#[derive(Clone, Copy)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    /// The number of requests per second.
    pub rate: f64,
    pub kind: RequestKind,
}

impl Load {
    pub async fn run(self, tokens: Tokens, duration: Duration) -> Latencies {
        let (tokens, sent) = (Arc::new(tokens), Arc::new(AtomicU64::new(0)));
        let start = Instant::now();
        let connections = (0..self.connections).map(|_| {
            let (tokens, sent) = (Arc::clone(&tokens), Arc::clone(&sent));
            tokio::spawn(async move {
                let mut connection = Connection::open(self.address, self.kind).await;
                let mut latencies = Latencies::default();
                loop {
                    let position = sent.fetch_add(1, Ordering::Relaxed) as f64;
                    let due = start + Duration::from_secs_f64(position / self.rate);
                    if due > start + duration {
                        return latencies;
                    }
                    tokio::time::sleep_until(due).await;
                    connection.send_request(tokens.next()).await;
                    latencies.add(due.elapsed());
                }
            })
        });
        let connections: Vec<_> = connections.collect();
        let mut all = Vec::new();
        for connection in connections {
            all.push(connection.await.unwrap());
        }
        Latencies::merge(all, start.elapsed().as_secs_f64())
    }
}

/// Sends `count` requests one after the other. Returns the latencies.
pub async fn send_requests(
    address: SocketAddr,
    kind: RequestKind,
    tokens: &Tokens,
    count: usize,
) -> Latencies {
    let mut connection = Connection::open(address, kind).await;
    let mut latencies = Latencies::default();
    let start = Instant::now();
    for _ in 0..count {
        let sent = Instant::now();
        connection.send_request(tokens.next()).await;
        latencies.add(sent.elapsed());
    }
    Latencies::merge(vec![latencies], start.elapsed().as_secs_f64())
}

struct Connection {
    stream: TcpStream,
    /// The parts of the request before and after the token.
    request_parts: (String, String),
    answer_buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr, kind: RequestKind) -> Self {
        let text = match kind {
            RequestKind::Check => include_str!("request.txt"),
            RequestKind::Proxied => include_str!("request-proxied.txt"),
        };
        let text = text.replace('\n', "\r\n");
        let (before, after) = text.split_once("{token}").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            request_parts: (before.to_owned(), after.to_owned()),
            answer_buffer: vec![0; 8192],
        }
    }

    /// Sends a request, and reads an answer without a body.
    async fn send_request(&mut self, token: &str) {
        let request = [&self.request_parts.0, token, &self.request_parts.1].concat();
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        while !self.answer_buffer[..length].ends_with(b"\r\n\r\n") {
            let read = self
                .stream
                .read(&mut self.answer_buffer[length..])
                .await
                .unwrap();
            assert!(read > 0, "the connection was closed");
            length += read;
        }
        let answer = &self.answer_buffer[..length];
        assert!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
}
