use std::io;
use std::time::Duration;

use futures_util::stream;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::Socket;
use crate::config::GrpcTls;

/// The most bytes of headers of a call itself; the client's are in its message.
const MAX_HEADERS: u32 = 16 * 1024;
/// The most calls at once on one connection. A proxy has few connections and many calls.
const MAX_STREAMS: u32 = 1024;
/// How often an idle connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a new connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// Services, and how they are served.
pub struct GrpcServer {
    server: Server,
    routes: Routes,
}

/// The certificate, its key or the authority of client certificates can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificate, its key or the authority of client certificates can't be used: {0}")]
pub struct GrpcTlsError(String);

impl GrpcServer {
    /// Serves `routes`, in the clear without `tls`.
    ///
    /// # Errors
    /// [`GrpcTlsError`] when what `tls` holds can't be used.
    pub fn new(routes: Routes, tls: Option<&GrpcTls>) -> Result<Self, GrpcTlsError> {
        let mut server = Server::builder()
            .http2_max_header_list_size(MAX_HEADERS)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(KEEP_ALIVE));
        if let Some(tls) = tls {
            let identity = Identity::from_pem(&tls.certificate, tls.key.expose());
            let mut config = ServerTlsConfig::new().identity(identity);
            if let Some(authority) = &tls.client_ca {
                config = config.client_ca_root(Certificate::from_pem(authority));
            }
            server = server
                .tls_config(config)
                .map_err(|error| GrpcTlsError(innermost(&error)))?;
        }
        Ok(Self { server, routes })
    }
}

/// The cause below tonic's own "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
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
    let accepting = tokio::spawn(accept(socket, speaking, stop.clone()));
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

/// Hands on the connections whose peers have begun to speak. Others are closed after a while, and
/// when the listener stops: the server itself would wait for them.
async fn accept(socket: Socket, speaking: mpsc::Sender<TcpStream>, stop: CancellationToken) {
    while let Some((stream, _)) = socket.accept(&stop).await {
        let (speaking, stop) = (speaking.clone(), stop.clone());
        tokio::spawn(async move {
            let mut first = [0];
            let spoken = tokio::time::timeout(SILENCE, stream.peek(&mut first));
            if let Some(Ok(Ok(1))) = stop.run_until_cancelled(spoken).await {
                // Fails when nothing is served any more.
                let _ = speaking.send(stream).await;
            }
        });
    }
}
