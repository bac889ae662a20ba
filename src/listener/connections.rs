use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{PeerStream, Socket};

/// Serves one connection until it ends. After `stop`, the handler answers the requests in flight, and ends the
/// connection.
pub type ConnectionHandler = Arc<
    dyn Fn(
            PeerStream,
            SocketAddr,
            CancellationToken,
        ) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>>
        + Send
        + Sync,
>;

/// Serves every connection with `handler` until `stop`. Returns whether all connections then ended within
/// `shutdown_timeout`.
pub(super) async fn serve(
    socket: Socket,
    handler: ConnectionHandler,
    stop: CancellationToken,
    shutdown_timeout: Duration,
) -> bool {
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    while let Some(accepted) = socket.accept(&stop).await {
        let (abort, stop) = (abort.clone(), stop.clone());
        let (peer, handler) = (accepted.peer, Arc::clone(&handler));
        connections.spawn(async move {
            let Some((stream, _permit)) = accepted.handshake(&stop).await else {
                return;
            };
            let connection = handler(stream, peer, stop);
            if let Some(Err(error)) = abort.run_until_cancelled(connection).await {
                tracing::debug!(%peer, %error, "connection error");
            }
        });
    }
    drop(socket);
    connections.close();
    let finished = tokio::time::timeout(shutdown_timeout, connections.wait()).await;
    abort.cancel();
    finished.is_ok()
}
