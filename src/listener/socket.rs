//! Bound sockets, and the connections that they accept.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::poll_fn;
use prometheus::IntCounter;
use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::tls::{Encryption, PeerStream, accept_tls};
use crate::admission::{ConcurrencyLimit, Permit};
use crate::live::Live;
use crate::telemetry::Throttle;

/// The pause after a connection could not be accepted, for example because the process has no free file descriptor.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// The maximum number of connections that wait until Curfew accepts them.
const ACCEPT_BACKLOG: i32 = 1024;

/// The minimum time between two log lines of the level `warn` about TLS handshakes of a listener that failed for the
/// same reason.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The bound sockets of a listener, one for each address.
pub struct Socket {
    pub(super) name: &'static str,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    /// The index of the listener that is polled first. It changes with each connection, so that a flood on one address
    /// does not block the other addresses.
    next_index: AtomicUsize,
    limit: ConcurrencyLimit,
    encryption: Live<Encryption>,
    handshake_warnings: Arc<Throttle<String>>,
    handshake_failures: IntCounter,
}

/// A new connection, before the TLS handshake.
pub(super) struct AcceptedConnection {
    stream: TcpStream,
    /// The address of the peer. An IPv4 peer has an IPv4 address here, even if it connected to an IPv6 socket.
    pub(super) peer: SocketAddr,
    pub(super) permit: Permit,
    encryption: Arc<Encryption>,
    listener: &'static str,
    handshake_warnings: Arc<Throttle<String>>,
    handshake_failures: IntCounter,
}

impl Socket {
    /// Binds the addresses. On a machine without IPv6, binds `0.0.0.0` in place of `[::]`, and skips other IPv6
    /// addresses if at least one IPv4 address remains.
    ///
    /// # Errors
    /// The address that cannot be bound, and the error of the operating system.
    pub(super) fn bind(
        name: &'static str,
        addresses: &[SocketAddr],
        limit: ConcurrencyLimit,
        encryption: Live<Encryption>,
        handshake_failures: IntCounter,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut listeners = Vec::new();
        let mut bound_addresses = Vec::new();
        let bindable = bindable_addresses(addresses, has_ipv6());
        if bindable != addresses {
            tracing::warn!(
                listener = name,
                "no IPv6 on this machine: listening only on {bindable:?}"
            );
        }
        for address in bindable {
            let bound = bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (bound_address, listener) = bound.map_err(|error| (address, error))?;
            listeners.push(listener);
            bound_addresses.push(bound_address);
        }
        Ok(Self {
            name,
            listeners,
            addresses: bound_addresses,
            next_index: AtomicUsize::new(0),
            limit,
            encryption,
            handshake_warnings: Arc::new(Throttle::new(WARNING_INTERVAL)),
            handshake_failures,
        })
    }

    /// Returns the bound addresses.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Accepts the next connection within the limit; `None` after `stop`.
    pub(super) async fn accept(&self, stop: &CancellationToken) -> Option<AcceptedConnection> {
        loop {
            match stop.run_until_cancelled(self.accept_on_any()).await? {
                Ok((stream, peer)) => {
                    let Some(permit) = self.limit.take() else {
                        continue;
                    };
                    // Disable Nagle's algorithm, which would only delay the answers, because they are single small
                    // packets.
                    let _ = stream.set_nodelay(true);
                    return Some(AcceptedConnection {
                        stream,
                        peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                        permit,
                        encryption: self.encryption.current(),
                        listener: self.name,
                        handshake_warnings: Arc::clone(&self.handshake_warnings),
                        handshake_failures: self.handshake_failures.clone(),
                    });
                }
                // The failure concerns only one connection, or is temporary, so continue to accept connections.
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    async fn accept_on_any(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let first_index = self.next_index.fetch_add(1, Ordering::Relaxed);
        let count = self.listeners.len();
        poll_fn(|context| {
            let indexes = (0..count).map(|offset| first_index.wrapping_add(offset) % count);
            for index in indexes {
                if let Poll::Ready(accepted) = self.listeners[index].poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl AcceptedConnection {
    /// Completes the TLS handshake, if the listener uses TLS. Returns `None` if the handshake failed or timed out, or
    /// after `stop`.
    pub(super) async fn handshake(self, stop: &CancellationToken) -> Option<(PeerStream, Permit)> {
        let Some(tls) = &*self.encryption else {
            return Some((Either::Left(self.stream), self.permit));
        };
        let handshake = accept_tls(self.stream, tls);
        match stop.run_until_cancelled(handshake).await? {
            Ok(stream) => Some((Either::Right(stream), self.permit)),
            Err(error) => {
                self.handshake_failures.inc();
                let (listener, peer) = (self.listener, self.peer);
                // The TCP probe of a load balancer closes the connection without a handshake. This is not a mistake.
                let is_mistake = error.kind() != io::ErrorKind::UnexpectedEof;
                match is_mistake && self.handshake_warnings.admits(error.to_string()) {
                    true => tracing::warn!(listener, %peer, %error, "TLS handshake failed"),
                    false => tracing::debug!(listener, %peer, %error, "TLS handshake failed"),
                }
                None
            }
        }
    }
}

/// Returns the addresses to bind on a machine with or without IPv6.
fn bindable_addresses(addresses: &[SocketAddr], has_ipv6: bool) -> Vec<SocketAddr> {
    if has_ipv6 {
        return addresses.to_vec();
    }
    let replaced = addresses.iter().map(|address| match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port())
        }
        _ => *address,
    });
    let replaced: Vec<_> = replaced.collect();
    let ipv4: Vec<_> = replaced
        .iter()
        .copied()
        .filter(SocketAddr::is_ipv4)
        .collect();
    if ipv4.is_empty() { replaced } else { ipv4 }
}

/// Returns whether the machine has IPv6. A kernel without IPv6 has no loopback address `::1`.
fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

/// Binds a socket. A socket on `[::]` also accepts IPv4 connections, whatever the default of the system is.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // With this option, a restarted process can bind the address while connections of the previous process are still
    // closing.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::admission::LimitKind;
    use crate::telemetry::Metrics;

    fn parse(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn ipv6_addresses_are_replaced_without_ipv6() {
        for (configured, with_ipv6, without_ipv6) in [
            (&["[::]:1"][..], &["[::]:1"][..], &["0.0.0.0:1"][..]),
            (
                &["127.0.0.1:1", "[::1]:1"],
                &["127.0.0.1:1", "[::1]:1"],
                &["127.0.0.1:1"],
            ),
            (&["[::1]:1"], &["[::1]:1"], &["[::1]:1"]),
            (&["192.0.2.1:1"], &["192.0.2.1:1"], &["192.0.2.1:1"]),
        ] {
            let configured = parse(configured);
            assert_eq!(bindable_addresses(&configured, true), parse(with_ipv6));
            assert_eq!(bindable_addresses(&configured, false), parse(without_ipv6));
        }
    }

    fn bind_all(addresses: &[&str]) -> Socket {
        let metrics = Metrics::new().unwrap();
        let limit = ConcurrencyLimit::new(
            "check",
            LimitKind::Connections,
            10,
            metrics.connections("check"),
        );
        let failures = metrics.tls_handshake_failures("check");
        Socket::bind("check", &parse(addresses), limit, Live::new(None), failures)
            .map_err(|(_, error)| error)
            .unwrap()
    }

    #[tokio::test]
    async fn each_address_accepts_connections() {
        let socket = bind_all(&["127.0.0.1:0", "127.0.0.2:0"]);
        let stop = CancellationToken::new();
        for address in socket.addresses() {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"x").await.unwrap();
            let accepted = socket.accept(&stop).await.unwrap();
            assert_eq!(accepted.peer, client.local_addr().unwrap());
        }
        stop.cancel();
        assert!(socket.accept(&stop).await.is_none());
    }

    /// An IPv4 client has the same address on a socket of `0.0.0.0` and on a socket of `[::]`, so the same rules for
    /// addresses apply.
    #[tokio::test]
    async fn an_ipv4_peer_has_an_ipv4_address() {
        let socket = bind_all(&["[::]:0"]);
        assert_eq!(socket.addresses()[0].is_ipv6(), has_ipv6());
        let port = socket.addresses()[0].port();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let accepted = socket.accept(&CancellationToken::new()).await.unwrap();
        assert_eq!(accepted.peer, client.local_addr().unwrap());
        assert!(accepted.peer.is_ipv4());
    }
}
