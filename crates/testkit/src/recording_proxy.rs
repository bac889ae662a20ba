//! A TCP proxy between two real servers. It records every byte. A test can close the proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Bytes = Arc<Mutex<Vec<u8>>>;

pub struct RecordingProxy {
    pub address: SocketAddr,
    asked: Bytes,
    answered: Bytes,
    connections: JoinSet<()>,
}

impl RecordingProxy {
    /// Starts a proxy to `server`.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (asked, answered) = (Bytes::default(), Bytes::default());
        let mut tap = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::clone(&asked),
            answered: Arc::clone(&answered),
            connections: JoinSet::new(),
        };
        tap.connections.spawn(async move {
            let mut passing = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
                passing.spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    client.set_nodelay(true).unwrap();
                    server.set_nodelay(true).unwrap();
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(
                        forward(from_client, to_server, asked),
                        forward(from_server, to_client, answered),
                    );
                });
            }
        });
        tap
    }

    /// Returns the bytes that went to the server, and the bytes that came from it, since the last call.
    pub fn take(&self) -> (Vec<u8>, Vec<u8>) {
        let take = |bytes: &Bytes| std::mem::take(&mut *bytes.lock().unwrap());
        (take(&self.asked), take(&self.answered))
    }

    /// Closes all connections, and accepts no more.
    pub async fn close(&mut self) {
        self.connections.shutdown().await;
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: Bytes) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
