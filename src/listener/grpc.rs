mod tls;

use std::io;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use super::Socket;
use crate::live::Live;

use tls::Connection;
pub use tls::{Encryption, GrpcTlsError, GrpcTlsSettings, encryption};

/// The most bytes of headers of a call itself; the client's are in its message.
const MAX_HEADERS: u32 = 16 * 1024;
/// The most calls at once on one connection. A proxy has few connections and many calls.
const MAX_STREAMS: u32 = 1024;
/// The most bytes of a message: 64 KiB of headers, and room for the rest. A request's body (Envoy's `with_request_body`) is
/// of no use in it.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// The most time for a call, which includes that its message arrives.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a new connection may take to begin.
const SILENCE: Duration = Duration::from_secs(10);

/// Services, and how they are served.
pub struct GrpcServer {
    server: Server,
    routes: Routes,
    encryption: Live<Encryption>,
}

impl GrpcServer {
    /// Serves `routes`; new connections are encrypted as is said at that time.
    #[must_use]
    pub fn new(routes: Routes, encryption: Live<Encryption>) -> Self {
        let server = Server::builder()
            .http2_max_header_list_size(MAX_HEADERS)
            .max_concurrent_streams(MAX_STREAMS)
            .timeout(HANDSHAKE_TIMEOUT)
            .http2_keepalive_interval(Some(KEEP_ALIVE));
        Self {
            server,
            routes,
            encryption,
        }
    }
}

/// Serves; says whether all calls in flight have finished in time.
pub(super) async fn serve(
    socket: Socket,
    mut server: GrpcServer,
    stop: CancellationToken,
    patience: Duration,
) -> bool {
    let name = socket.name;
    let (speaking, spoken) = mpsc::channel(1);
    let accepting = tokio::spawn(accept(socket, server.encryption, speaking, stop.clone()));
    let incoming = stream::unfold(spoken, |mut spoken| async {
        let stream = spoken.recv().await?;
        Some((Ok::<_, io::Error>(stream), spoken))
    });
    let serving = server
        .server
        .add_routes(server.routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    let finished = tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                tracing::error!(listener = name, %error, "serving has ended");
            }
            true
        }
        () = too_late => false,
    };
    accepting.abort();
    finished
}

/// Hands on the connections with whose peers it is agreed how to encrypt, and who have begun to speak HTTP/2. Others are closed
/// after a while, and when the listener stops: the server itself would wait for them.
async fn accept(
    socket: Socket,
    encryption: Live<Encryption>,
    speaking: mpsc::Sender<Connection>,
    stop: CancellationToken,
) {
    while let Some((stream, peer, permit)) = socket.accept(&stop).await {
        let (speaking, stop) = (speaking.clone(), stop.clone());
        let encryption = encryption.current();
        let beginning = async move { Connection::begin(stream, permit, &encryption).await };
        tokio::spawn(async move {
            let beginning = tokio::time::timeout(SILENCE, beginning);
            match stop.run_until_cancelled(beginning).await {
                // Fails when nothing is served any more.
                Some(Ok(Ok(connection))) => drop(speaking.send(connection).await),
                Some(Ok(Err(error))) => {
                    tracing::debug!(%peer, %error, "a connection did not begin")
                }
                Some(Err(_)) | None => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;
    use crate::listener::{ConcurrencyLimit, LimitKind, Listener, Service};
    use crate::telemetry::Metrics;

    /// It takes a place, and the server behind would wait for it for ever.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_is_not_kept() {
        let (_, health) = tonic_health::server::health_reporter();
        let server = GrpcServer::new(Routes::new(health), Live::new(None));
        let shown = Metrics::new().unwrap().connections("grpc");
        let room = ConcurrencyLimit::new("grpc", LimitKind::Connections, 10, shown);
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind("grpc", address, Service::Grpc(Box::new(server)), room);
        let listener = listener.await.unwrap();
        let address = listener.address();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(stop.clone(), Duration::from_secs(1)));
        for words in [&b""[..], b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
            let begun = Instant::now();
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(words).await.unwrap();
            let _ = client.read_to_end(&mut Vec::new()).await;
            let kept = begun.elapsed();
            assert!(kept >= SILENCE && kept < 2 * SILENCE, "{words:?}: {kept:?}");
        }
        stop.cancel();
        serving.await.unwrap();
    }
}
