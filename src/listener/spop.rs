use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use spop::frame::Message;
use spop::frames::{Ack, AgentDisconnect, AgentHello, FrameCapabilities, HaproxyHello};
use spop::{Action, FramePayload, FrameType, SpopCodec, SpopFrame, StatusCode};
use tokio::time::MissedTickBehavior;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::PeerStream;

/// The maximum size of a frame: 64 KiB of headers, and the other fields.
const MAX_FRAME_BYTES: u32 = 128 * 1024;
/// Timeout for HAProxy's hello frame.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for writing a frame to HAProxy.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which the agent looks for an incomplete frame on a connection. A frame must arrive within two
/// intervals.
const FRAME_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum number of concurrent checks on one connection. At this number, the agent reads no frame until a check
/// is answered.
const MAX_PENDING_CHECKS: usize = 256;

/// Answers the messages of an HAProxy.
pub trait SpopService: Clone + Send + Sync + 'static {
    /// Answers a message of `peer` with the variables to set. An unknown message gets no variables.
    fn answer(&self, message: &Message, peer: IpAddr) -> impl Future<Output = Vec<Action>> + Send;
}

/// A SPOP 2.0 agent (HAProxy's `doc/SPOE.txt`, section 3).
#[derive(Clone)]
pub struct SpopServer<S> {
    service: S,
    draining: Arc<AtomicBool>,
}

type SpopStream = Framed<PeerStream, SpopCodec>;

impl<S: SpopService> SpopServer<S> {
    /// Creates the server for `service`.
    ///
    /// While `draining` is set, the agent refuses HAProxy's health checks, and disconnects as soon as it has answered
    /// all pending checks. HAProxy rarely sends a new check at that moment. The client of such a check gets a 503.
    #[must_use]
    pub const fn new(service: S, draining: Arc<AtomicBool>) -> Self {
        Self { service, draining }
    }

    /// Serves one connection until it ends or `stop` is cancelled. After `stop`, the agent answers the frames that
    /// have arrived, and disconnects.
    ///
    /// # Errors
    /// [`io::Error`] if the connection breaks or the peer violates the protocol.
    pub async fn serve(
        self,
        stream: PeerStream,
        peer: SocketAddr,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let mut socket = Framed::new(stream, SpopCodec::new(MAX_FRAME_BYTES));
        let draining = || self.draining.load(Ordering::Relaxed);
        let handshaking = tokio::time::timeout(HELLO_TIMEOUT, handshake(&mut socket, draining()));
        let Some(handshaking) = stop.run_until_cancelled(handshaking).await else {
            return Ok(());
        };
        match handshaking.map_err(io::Error::from)?? {
            Handshake::Done => {}
            Handshake::HealthCheck => {
                tracing::debug!(%peer, "HAProxy health check answered");
                return Ok(());
            }
            Handshake::Failed => return Ok(()),
        }
        let mut pending = FuturesUnordered::new();
        let mut is_disconnecting = false;
        let mut ticks = tokio::time::interval(FRAME_CHECK_INTERVAL);
        // With `Delay`, the frames that arrived during a pause of the process are read before the next tick, so they
        // do not count as late.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_incomplete_frame = false;
        let (status, outcome) = loop {
            tokio::select! {
                biased;
                Some(ack) = pending.next() => {
                    acknowledge(&mut socket, ack).await?;
                    if pending.is_empty() && draining() {
                        is_disconnecting = true;
                    }
                }
                frame = socket.next(), if pending.len() < MAX_PENDING_CHECKS => match frame {
                    None => return Ok(()),
                    Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        break (StatusCode::Invalid, Err(error));
                    }
                    Some(Err(error)) => return Err(error),
                    Some(Ok(frame)) => match frame.frame_type() {
                        FrameType::Notify => {
                            has_incomplete_frame = false;
                            pending.push(self.answer(frame, peer));
                        }
                        FrameType::HaproxyDisconnect => {
                            return disconnect(&mut socket, StatusCode::None).await;
                        }
                        _ => break (StatusCode::Invalid, Ok(())),
                    },
                },
                // The branches above have answered all frames that have arrived, so the agent can disconnect.
                () = std::future::ready(()), if is_disconnecting && pending.is_empty() => {
                    break (StatusCode::None, Ok(()));
                }
                _ = ticks.tick(), if pending.len() < MAX_PENDING_CHECKS => {
                    if has_incomplete_frame {
                        break (StatusCode::Timeout, Err(io::ErrorKind::TimedOut.into()));
                    }
                    has_incomplete_frame = !socket.read_buffer().is_empty();
                }
                () = stop.cancelled(), if !is_disconnecting => is_disconnecting = true,
            }
        };
        // Answer the pending checks even after an error, because they belong to other clients.
        while let Some(ack) = pending.next().await {
            acknowledge(&mut socket, ack).await?;
        }
        disconnect(&mut socket, status).await?;
        outcome
    }

    /// Answers one NOTIFY frame, which may contain several messages.
    async fn answer(&self, frame: Box<dyn SpopFrame>, peer: SocketAddr) -> Ack {
        let metadata = frame.metadata().into_owned();
        let mut ack = Ack::new(metadata.stream_id, metadata.frame_id);
        if let FramePayload::ListOfMessages(messages) = frame.payload() {
            for message in messages.iter() {
                let actions = self.service.answer(message, peer.ip()).await;
                ack.actions.extend(actions);
            }
        }
        ack
    }
}

/// Sends an acknowledgement. If it is larger than the maximum frame of HAProxy, sends an empty acknowledgement
/// instead. HAProxy then denies the request of this check, but the other checks on the connection continue.
async fn acknowledge(socket: &mut SpopStream, ack: Ack) -> io::Result<()> {
    let empty_ack = Ack::new(ack.stream_id, ack.frame_id);
    match send(socket, Box::new(ack)).await {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            tracing::warn!(%error, "answer too large for HAProxy: raise tune.bufsize");
            send(socket, Box::new(empty_ack)).await
        }
        sent => sent,
    }
}

/// Sends a frame with a timeout, because a peer that reads slowly holds the permits of all queued answers.
async fn send(socket: &mut SpopStream, frame: Box<dyn SpopFrame>) -> io::Result<()> {
    tokio::time::timeout(WRITE_TIMEOUT, socket.send(frame)).await?
}

/// The result of the handshake.
enum Handshake {
    /// The handshake succeeded, and checks follow.
    Done,
    /// The connection was only a health check.
    HealthCheck,
    /// The versions or frame sizes do not match. The connection is closed.
    Failed,
}

async fn handshake(socket: &mut SpopStream, draining: bool) -> io::Result<Handshake> {
    let Some(frame) = socket.next().await else {
        return Ok(Handshake::Failed);
    };
    let frame = match frame {
        Ok(frame) => frame,
        Err(error) => {
            disconnect(socket, StatusCode::Invalid).await?;
            return Err(error);
        }
    };
    let hello = match frame.frame_type() {
        FrameType::HaproxyHello => HaproxyHello::try_from(frame.payload()).ok(),
        _ => None,
    };
    let Some(hello) = hello else {
        disconnect(socket, StatusCode::Invalid).await?;
        return Ok(Handshake::Failed);
    };
    let Some(version) = hello.negotiate_version() else {
        disconnect(socket, StatusCode::BadVersion).await?;
        return Ok(Handshake::Failed);
    };
    let max_frame_size = match hello.negotiate_max_frame_size(MAX_FRAME_BYTES) {
        Ok(size) => size,
        Err(status) => {
            disconnect(socket, status).await?;
            return Ok(Handshake::Failed);
        }
    };
    socket.codec_mut().set_max_frame_size(max_frame_size);
    if draining && hello.healthcheck == Some(true) {
        disconnect(socket, StatusCode::None).await?;
        return Ok(Handshake::Failed);
    }
    let agent_hello = AgentHello {
        version,
        max_frame_size,
        capabilities: vec![FrameCapabilities::Pipelining],
    };
    send(socket, Box::new(agent_hello)).await?;
    Ok(if hello.healthcheck == Some(true) {
        Handshake::HealthCheck
    } else {
        Handshake::Done
    })
}

/// Sends the disconnect frame with its status, and closes the connection.
async fn disconnect(socket: &mut SpopStream, status: StatusCode) -> io::Result<()> {
    let frame = AgentDisconnect {
        status_code: status.to_u32(),
        message: status.message().to_owned(),
    };
    send(socket, Box::new(frame)).await?;
    tokio::time::timeout(WRITE_TIMEOUT, socket.close()).await?
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::either::Either;

    use super::*;
    use crate::admission::{ConcurrencyLimit, LimitKind};
    use crate::telemetry::Metrics;

    const HELLO: &[u8] = include_bytes!("../../fuzz/seeds/spop/hello");
    const NOTIFY: &[u8] = include_bytes!("../../fuzz/seeds/spop/notify");

    /// A service that answers each message with a kilobyte, if there is a permit.
    #[derive(Clone)]
    struct KilobyteService(ConcurrencyLimit);

    impl SpopService for KilobyteService {
        async fn answer(&self, _: &Message, _: IpAddr) -> Vec<Action> {
            let permit = self.0.take();
            let value = spop::TypedData::String("x".repeat(1024));
            let action = Action::SetVar {
                scope: spop::VarScope::Transaction,
                name: "answer".to_owned(),
                value,
            };
            permit.map(|_| action).into_iter().collect()
        }
    }

    fn create_server() -> (SpopServer<KilobyteService>, ConcurrencyLimit) {
        let permit_metrics = Metrics::new().unwrap().requests("spoe");
        let limit = ConcurrencyLimit::new("spoe", LimitKind::Requests, 1, permit_metrics);
        (
            SpopServer::new(KilobyteService(limit.clone()), Arc::default()),
            limit,
        )
    }

    /// Returns both ends of a connection and the client's address.
    async fn connect() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, peer) = listener.accept().await.unwrap();
        (client.unwrap(), stream, peer)
    }

    /// A client that does not read holds permits only until the write timeout.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_disconnected() {
        let (server, limit) = create_server();
        let (mut client, stream, peer) = connect().await;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(Either::Left(stream), peer, stop));
        client.write_all(HELLO).await.unwrap();
        let notify = NOTIFY.repeat(1000);
        // Write until the server disconnects.
        while client.write_all(&notify).await.is_ok() && !serving.is_finished() {}
        let served = serving.await.unwrap();
        assert!(served.is_err(), "the connection must end with an error");
        assert!(limit.take().is_some());
    }

    /// HAProxy keeps idle connections open, so these do not time out. But it always sends complete frames.
    #[tokio::test(start_paused = true)]
    async fn an_incomplete_frame_times_out() {
        let (server, _) = create_server();
        let (mut client, stream, peer) = connect().await;
        client.write_all(HELLO).await.unwrap();
        let stop = CancellationToken::new();
        let mut serving = Box::pin(server.serve(Either::Left(stream), peer, stop));
        let quiet = tokio::time::timeout(100 * FRAME_CHECK_INTERVAL, serving.as_mut());
        assert!(quiet.await.is_err(), "an idle connection must stay open");
        client.write_all(&NOTIFY[..20]).await.unwrap();
        let served = tokio::time::timeout(3 * FRAME_CHECK_INTERVAL, serving)
            .await
            .unwrap();
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_disconnected() {
        let (server, _) = create_server();
        let (_silent, stream, peer) = connect().await;
        let served = server
            .serve(Either::Left(stream), peer, CancellationToken::new())
            .await;
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
