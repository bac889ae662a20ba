//! A way to a real server that can be made bad: slow, cut, dead at the far end, or noisy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What happens on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Everything takes so much longer, each way.
    Slow(Duration),
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections stay open and nothing comes through.
    HalfOpen,
    /// The server's clock is ahead by so many seconds.
    Clock(i64),
    /// Bytes that nobody sent are between those of the server.
    Noise,
}

pub struct FaultProxy {
    pub address: SocketAddr,
    /// Where it leads.
    server: Arc<Mutex<SocketAddr>>,
    fault: Arc<watch::Sender<Fault>>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Leads to `server`.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let (address, faults) = (listener.local_addr().unwrap(), Arc::clone(&fault));
        let server = Arc::new(Mutex::new(server));
        let target = Arc::clone(&server);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, faults) = (*target.lock().unwrap(), faults.subscribe());
                tokio::spawn(pass(client, server, faults));
            }
        });
        Self {
            address,
            server,
            fault,
            accepting,
        }
    }

    /// Leads new connections to another server, and closes those that there are.
    pub async fn lead_to(&self, server: SocketAddr) {
        *self.server.lock().unwrap() = server;
        self.set(Fault::Cut);
        // Until the connections have seen it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.set(Fault::None);
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes a connection on until either side closes it, or it is cut.
async fn pass(client: TcpStream, server: SocketAddr, faults: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = faults.clone();
    tokio::select! {
        _ = cut.wait_for(|fault| *fault == Fault::Cut) => {}
        () = one_way(from_client, to_server, faults.clone(), false) => {}
        () = one_way(from_server, to_client, faults, true) => {}
    }
}

async fn one_way(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    faults: watch::Receiver<Fault>,
    answers: bool,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::join!(take(from, sender, faults, answers), hand_over(receiver, to));
}

/// Bytes, and when they arrive.
type Parcel = (Instant, Vec<u8>);

/// Reads what comes, and decides what becomes of it.
async fn take(
    mut from: OwnedReadHalf,
    to: mpsc::UnboundedSender<Parcel>,
    faults: watch::Receiver<Fault>,
    answers: bool,
) {
    let mut buffer = vec![0; 65_536];
    // TCP never goes on behind bytes that it has lost: from then on nothing comes through.
    let mut lost = false;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let fault = *faults.borrow();
        lost |= fault == Fault::HalfOpen;
        if lost {
            continue;
        }
        let mut bytes = buffer[..count].to_vec();
        let mut due = Instant::now();
        match fault {
            Fault::Slow(by) => due += by,
            Fault::Noise if answers => {
                let mut noise = vec![0; 7];
                getrandom::fill(&mut noise).unwrap();
                noise.append(&mut bytes);
                bytes = noise;
            }
            Fault::Clock(ahead) if answers => set_clock(&mut bytes, ahead),
            Fault::Clock(_) | Fault::None | Fault::Cut | Fault::HalfOpen | Fault::Noise => {}
        }
        if to.send((due, bytes)).is_err() {
            return;
        }
    }
    if lost || *faults.borrow() == Fault::HalfOpen {
        // The end does not come through either.
        std::future::pending::<()>().await;
    }
}

/// Changes what the server answers to `TIME`: an array of the seconds since the epoch and of microseconds.
fn set_clock(bytes: &mut [u8], ahead: i64) {
    const BEFORE: &[u8] = b"*2\r\n$10\r\n";
    const SECONDS: usize = 10;
    let mut start = 0;
    while let Some(found) = bytes[start..]
        .windows(BEFORE.len())
        .position(|window| window == BEFORE)
    {
        start += found + BEFORE.len();
        let Some(digits) = bytes.get_mut(start..start + SECONDS) else {
            return;
        };
        let seconds = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        if let Some(seconds) = seconds {
            digits.copy_from_slice((seconds + ahead).to_string().as_bytes());
        }
    }
}

async fn hand_over(mut parcels: mpsc::UnboundedReceiver<Parcel>, mut to: OwnedWriteHalf) {
    while let Some((due, bytes)) = parcels.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
