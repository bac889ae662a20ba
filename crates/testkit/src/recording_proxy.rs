//! A TCP proxy between two real servers. It records every byte. A test can close the proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type SharedBytes = Arc<Mutex<Vec<u8>>>;

pub struct RecordingProxy {
    pub address: SocketAddr,
    request_bytes: SharedBytes,
    response_bytes: SharedBytes,
    connections: JoinSet<()>,
}

impl RecordingProxy {
    /// Starts a proxy to `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (request_bytes, response_bytes) = (SharedBytes::default(), SharedBytes::default());
        let mut proxy = Self {
            address: listener.local_addr().unwrap(),
            request_bytes: Arc::clone(&request_bytes),
            response_bytes: Arc::clone(&response_bytes),
            connections: JoinSet::new(),
        };
        proxy.connections.spawn(async move {
            let mut forward_tasks = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (request_bytes, response_bytes) =
                    (Arc::clone(&request_bytes), Arc::clone(&response_bytes));
                forward_tasks.spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    client.set_nodelay(true).unwrap();
                    server.set_nodelay(true).unwrap();
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(
                        forward(from_client, to_server, request_bytes),
                        forward(from_server, to_client, response_bytes),
                    );
                });
            }
        });
        proxy
    }

    /// Returns the bytes that went to the server, and the bytes that came from it, since the last call.
    pub fn take(&self) -> (Vec<u8>, Vec<u8>) {
        let take = |bytes: &SharedBytes| std::mem::take(&mut *bytes.lock().unwrap());
        (take(&self.request_bytes), take(&self.response_bytes))
    }

    /// Closes all connections, and accepts no more.
    pub async fn close(&mut self) {
        self.connections.shutdown().await;
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, recorded: SharedBytes) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        recorded.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
