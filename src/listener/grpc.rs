mod connection;

use std::io;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use super::Socket;
use super::tls::HANDSHAKE_TIMEOUT;

use connection::{Connection, read_preface};

/// The maximum size of the headers of a call. The headers of the client's request are in the message, and do not
/// count here.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// The maximum number of concurrent calls on one connection. A proxy opens few connections with many calls.
const MAX_STREAMS: u32 = 1024;
/// The maximum size of a message: 64 KiB of headers, and the other fields. The client's body (Envoy's
/// `with_request_body`) has no space here, because Curfew does not need it.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// Timeout for a call, including the arrival of its message.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of HTTP/2 keep-alive pings.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// A gRPC server with its services.
pub struct GrpcServer {
    server: Server,
    routes: Routes,
}

impl GrpcServer {
    /// Creates a server for the services in `routes`.
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        let server = Server::builder()
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .timeout(CALL_TIMEOUT)
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL));
        Self { server, routes }
    }
}

/// Serves until `stop` is cancelled. Returns whether all calls in flight finished in time.
pub(super) async fn serve(
    socket: Socket,
    mut server: GrpcServer,
    stop: CancellationToken,
    shutdown_timeout: Duration,
) -> bool {
    let name = socket.name;
    let (ready_sender, connections) = mpsc::channel(1);
    let accept_task = tokio::spawn(accept_connections(socket, ready_sender, stop.clone()));
    let incoming = stream::unfold(connections, |mut connections| async {
        let stream = connections.recv().await?;
        Some((Ok::<_, io::Error>(stream), connections))
    });
    let serving = server
        .server
        .add_routes(server.routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let timeout_elapsed = async {
        stop.cancelled().await;
        tokio::time::sleep(shutdown_timeout).await;
    };
    let finished = tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                tracing::error!(listener = name, %error, "gRPC server failed");
            }
            true
        }
        () = timeout_elapsed => false,
    };
    accept_task.abort();
    finished
}

/// Accepts connections, and passes them to the server after the TLS handshake and the HTTP/2 preface (the client's
/// first bytes). Closes connections without a preface after a timeout and when the listener stops, because the server
/// itself would wait for these connections without a limit.
async fn accept_connections(
    socket: Socket,
    ready_sender: mpsc::Sender<Connection>,
    stop: CancellationToken,
) {
    while let Some(accepted) = socket.accept(&stop).await {
        let (ready_sender, stop) = (ready_sender.clone(), stop.clone());
        let peer = accepted.peer;
        tokio::spawn(async move {
            let Some((stream, permit)) = accepted.handshake(&stop).await else {
                return;
            };
            let preface = read_preface(stream, peer, permit);
            let preface = tokio::time::timeout(HANDSHAKE_TIMEOUT, preface);
            match stop.run_until_cancelled(preface).await {
                // Sending fails only if the server has stopped.
                Some(Ok(Ok(connection))) => drop(ready_sender.send(connection).await),
                Some(Ok(Err(error))) => tracing::debug!(%peer, %error, "HTTP/2 handshake failed"),
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
    use crate::admission::{ConcurrencyLimit, LimitKind};
    use crate::listener::{Listener, Service};
    use crate::live::Live;
    use crate::telemetry::Metrics;

    /// A connection without a preface holds a permit, and the server would wait for it without a limit.
    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_preface_is_closed() {
        let (_, health) = tonic_health::server::health_reporter();
        let server = GrpcServer::new(Routes::new(health));
        let permit_metrics = Metrics::new().unwrap().connections("grpc");
        let limit = ConcurrencyLimit::new("grpc", LimitKind::Connections, 10, permit_metrics);
        let address = "127.0.0.1:0".parse().unwrap();
        let service = Service::Grpc(Box::new(server));
        let failures = Metrics::new().unwrap().tls_handshake_failures("check");
        let bound = Listener::bind(
            "grpc",
            &[address],
            service,
            limit,
            (Live::new(None), failures),
        );
        let listener = bound.map_err(|(_, error)| error).unwrap();
        let address = listener.addresses()[0];
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(stop.clone(), Duration::from_secs(1)));
        for input in [&b""[..], b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
            let start = Instant::now();
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(input).await.unwrap();
            let _ = client.read_to_end(&mut Vec::new()).await;
            let open_time = start.elapsed();
            assert!(
                open_time >= HANDSHAKE_TIMEOUT && open_time < 2 * HANDSHAKE_TIMEOUT,
                "{input:?}: {open_time:?}"
            );
        }
        stop.cancel();
        serving.await.unwrap();
    }
}
