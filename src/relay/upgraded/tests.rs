use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::policy::{StreamActivity, StreamSettings};
use crate::streams::StreamLimits;
use crate::streams::testing::{OpenedStream, open_stream};

/// A relay between two in-memory connections.
struct TestRelay {
    client: DuplexStream,
    upstream: DuplexStream,
    opened: OpenedStream,
    task: JoinHandle<io::Result<()>>,
}

impl TestRelay {
    fn start(kind: UpgradeKind, buffer: usize) -> Self {
        let opened = open_stream(
            StreamSettings {
                activity: StreamActivity::ClientData,
                ..StreamSettings::default()
            },
            StreamLimits::default(),
        );
        let (client, client_side) = duplex(buffer);
        let (upstream, upstream_side) = duplex(buffer);
        let guard = Arc::new(opened.open().unwrap());
        let task = tokio::spawn(relay_upgraded(
            client_side,
            upstream_side,
            kind,
            Some(guard),
        ));
        Self {
            client,
            upstream,
            opened,
            task,
        }
    }
}

async fn read_all(connection: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn bytes_pass_in_both_directions_until_both_sides_close() {
    for kind in [UpgradeKind::WebSocket, UpgradeKind::Other] {
        let mut relay = TestRelay::start(kind, 1000);
        let up = vec![0x82; 100_000];
        let sent = up.clone();
        let (mut client_in, mut client_out) = tokio::io::split(relay.client);
        let sending = tokio::spawn(async move {
            client_out.write_all(&sent).await.unwrap();
            client_out.shutdown().await.unwrap();
        });
        assert_eq!(read_all(&mut relay.upstream).await, up);
        relay.upstream.write_all(b"answer").await.unwrap();
        relay.upstream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client_in.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        sending.await.unwrap();
        relay.task.await.unwrap().unwrap();
        assert_eq!(relay.opened.registry.count(), 0);
    }
}

#[tokio::test]
async fn a_cut_websocket_gets_close_frames_at_a_frame_boundary() {
    let mut relay = TestRelay::start(UpgradeKind::WebSocket, 1000);
    // Both sides are in the middle of a frame.
    relay.client.write_all(b"\x82\x84mask12").await.unwrap();
    relay.upstream.write_all(b"\x81\x05he").await.unwrap();
    let mut begun = [0; 4];
    relay.client.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"\x81\x05he");
    let mut begun = [0; 8];
    relay.upstream.read_exact(&mut begun).await.unwrap();
    relay
        .opened
        .registry
        .end_session(relay.opened.session, DenyReason::Revoked);
    tokio::task::yield_now().await;
    relay.client.write_all(b"34\x89\x80mask").await.unwrap();
    relay.upstream.write_all(b"llo\x81\x01x").await.unwrap();
    relay.upstream.shutdown().await.unwrap();
    let (client, upstream) = (&mut relay.client, &mut relay.upstream);
    let to_client = read_all(client).await;
    assert_eq!(to_client, b"llo\x88\x09\x03\xf0revoked");
    client.shutdown().await.unwrap();
    let to_upstream = read_all(upstream).await;
    assert_eq!(&to_upstream[..4], b"34\x88\x89");
    relay.task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_delays_the_cut_by_one_second_at_most() {
    for kind in [UpgradeKind::WebSocket, UpgradeKind::Other] {
        let mut relay = TestRelay::start(kind, 16);
        // The upstream fills all buffers, and the client reads nothing.
        let mut frame = vec![0x82, 127];
        frame.extend(100_000_u64.to_be_bytes());
        frame.resize(100_010, 0);
        let _ =
            tokio::time::timeout(Duration::from_secs(5), relay.upstream.write_all(&frame)).await;
        let start = Instant::now();
        relay
            .opened
            .registry
            .end_session(relay.opened.session, DenyReason::IdleTimeout);
        relay.task.await.unwrap().unwrap();
        assert!(start.elapsed() <= CUT_TIMEOUT, "{:?}", start.elapsed());
        assert_eq!(relay.opened.registry.count(), 0);
    }
}

#[tokio::test]
async fn only_data_of_the_client_counts_as_activity() {
    for (kind, bytes, counts) in [
        (UpgradeKind::WebSocket, &b"\x89\x80mask"[..], false),
        (UpgradeKind::WebSocket, b"\x8a\x81mask1", false),
        (UpgradeKind::WebSocket, b"\x88\x82mask12", false),
        (UpgradeKind::WebSocket, b"\x81\x81mask1", true),
        (UpgradeKind::WebSocket, b"\x82\x80mask", true),
        (UpgradeKind::WebSocket, b"\x00\x81mask1", true),
        (UpgradeKind::Other, b"x", true),
    ] {
        let mut relay = TestRelay::start(kind, 1000);
        relay.upstream.write_all(b"\x81\x01x").await.unwrap();
        relay.client.read_exact(&mut [0; 3]).await.unwrap();
        let stream = relay.opened.stream();
        assert_eq!(
            stream.active_at(),
            Default::default(),
            "data of the application must not count"
        );
        relay.client.write_all(bytes).await.unwrap();
        let mut passed = vec![0; bytes.len()];
        relay.upstream.read_exact(&mut passed).await.unwrap();
        assert_eq!(passed, bytes);
        let is_active = stream.active_at() > Default::default();
        assert_eq!(is_active, counts, "{kind:?} {bytes:?}");
    }
}

/// Fails each write, as a connection does that the other side has reset.
struct FailsWrites(DuplexStream);

impl AsyncRead for FailsWrites {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for FailsWrites {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The application sends its last message, and closes the connection while the client still sends.
#[tokio::test]
async fn the_last_bytes_of_an_application_that_resets_reach_the_client() {
    let (mut client, client_side) = duplex(1000);
    let (mut upstream, upstream_side) = duplex(1000);
    client.write_all(b"\x81\x81maskx").await.unwrap();
    upstream.write_all(b"\x81\x04last").await.unwrap();
    drop(upstream);
    let relay = relay_upgraded(
        client_side,
        FailsWrites(upstream_side),
        UpgradeKind::WebSocket,
        None,
    );
    let result = tokio::time::timeout(Duration::from_secs(20), relay)
        .await
        .unwrap();
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(read_all(&mut client).await, b"\x81\x04last");
}
