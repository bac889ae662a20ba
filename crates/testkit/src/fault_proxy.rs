//! A TCP proxy in front of a real server. It injects faults: delays, closed connections, silence, extra bytes and a
//! wrong clock.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Delays every byte by this time, in each direction.
    Slow(Duration),
    /// Closes all open connections, and closes each new connection at once.
    Cut,
    /// Keeps connections open, and forwards no bytes.
    HalfOpen,
    /// Adds this number of seconds to the server's answers to the Redis command `TIME`.
    ClockOffset(i64),
    /// Inserts bytes that the server did not send.
    Noise,
}

pub struct FaultProxy {
    pub address: SocketAddr,
    /// The address of the real server.
    server: Arc<Mutex<SocketAddr>>,
    fault: Arc<watch::Sender<Fault>>,
    accept_task: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy to `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let (address, faults) = (listener.local_addr().unwrap(), Arc::clone(&fault));
        let server = Arc::new(Mutex::new(server));
        let target = Arc::clone(&server);
        let accept_task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, faults) = (*target.lock().unwrap(), faults.subscribe());
                tokio::spawn(forward(client, server, faults));
            }
        });
        Self {
            address,
            server,
            fault,
            accept_task,
        }
    }

    /// Forwards new connections to another server, and closes the existing connections.
    pub async fn redirect_to(&self, server: SocketAddr) {
        *self.server.lock().unwrap() = server;
        self.set_fault(Fault::Cut);
        // Wait until the connection tasks have read the new state.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.set_fault(Fault::None);
    }

    pub fn set_fault(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accept_task.abort();
    }
}

/// Forwards bytes between a client and the server until one side closes the connection, or a fault closes it.
async fn forward(client: TcpStream, server: SocketAddr, faults: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut_signal = faults.clone();
    tokio::select! {
        _ = cut_signal.wait_for(|fault| *fault == Fault::Cut) => {}
        () = relay_direction(from_client, to_server, faults.clone(), false) => {}
        () = relay_direction(from_server, to_client, faults, true) => {}
    }
}

async fn relay_direction(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    faults: watch::Receiver<Fault>,
    is_response: bool,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::join!(
        read_chunks(from, sender, faults, is_response),
        write_chunks(receiver, to)
    );
}

/// Some bytes, and the time at which the other side receives them.
type Chunk = (Instant, Vec<u8>);

/// Reads bytes from one side, and applies the current fault to these bytes.
async fn read_chunks(
    mut from: OwnedReadHalf,
    to: mpsc::UnboundedSender<Chunk>,
    faults: watch::Receiver<Fault>,
    is_response: bool,
) {
    let mut buffer = vec![0; 65_536];
    // TCP never delivers bytes that follow lost bytes. So after this proxy has dropped bytes of a connection, it
    // forwards nothing more on this connection.
    let mut has_lost_bytes = false;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let fault = *faults.borrow();
        has_lost_bytes |= fault == Fault::HalfOpen;
        if has_lost_bytes {
            continue;
        }
        let mut bytes = buffer[..count].to_vec();
        let mut due = Instant::now();
        match fault {
            Fault::Slow(delay) => due += delay,
            Fault::Noise if is_response => {
                let mut noise = vec![0; 7];
                getrandom::fill(&mut noise).unwrap();
                noise.append(&mut bytes);
                bytes = noise;
            }
            Fault::ClockOffset(offset_seconds) if is_response => {
                shift_clock(&mut bytes, offset_seconds)
            }
            Fault::ClockOffset(_) | Fault::None | Fault::Cut | Fault::HalfOpen | Fault::Noise => {}
        }
        if to.send((due, bytes)).is_err() {
            return;
        }
    }
    if has_lost_bytes || *faults.borrow() == Fault::HalfOpen {
        // After lost bytes, the proxy does not forward the close of the connection either.
        std::future::pending::<()>().await;
    }
}

/// Adds `offset_seconds` to the seconds in the answer to `TIME`. The answer is an array of two numbers: the seconds
/// since the epoch, and the microseconds.
fn shift_clock(bytes: &mut [u8], offset_seconds: i64) {
    const ARRAY_HEADER: &[u8] = b"*2\r\n$10\r\n";
    const SECONDS_DIGITS: usize = 10;
    let mut start = 0;
    while let Some(found) = bytes[start..]
        .windows(ARRAY_HEADER.len())
        .position(|window| window == ARRAY_HEADER)
    {
        start += found + ARRAY_HEADER.len();
        let Some(digits) = bytes.get_mut(start..start + SECONDS_DIGITS) else {
            return;
        };
        let seconds = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        if let Some(seconds) = seconds {
            digits.copy_from_slice((seconds + offset_seconds).to_string().as_bytes());
        }
    }
}

async fn write_chunks(mut chunks: mpsc::UnboundedReceiver<Chunk>, mut to: OwnedWriteHalf) {
    while let Some((due, bytes)) = chunks.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
