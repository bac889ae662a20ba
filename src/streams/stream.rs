use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::OpenStreams;
use crate::policy::{Client, Contract, Heartbeats, StreamActivity, StreamSettings};
use crate::session::{DenyReason, SessionId, Timestamp};
use crate::telemetry::audit;

/// How long a client may take to read the end of a stream that was cut.
const CLOSE_DELAY: Duration = Duration::from_secs(1);

/// How a stream sends its data. The kind decides how a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A WebSocket (RFC 6455).
    WebSocket,
    /// An event stream (server-sent events).
    EventStream,
    /// A gRPC call.
    Grpc,
    /// A connection that was upgraded to another protocol.
    Upgrade,
    /// Any other request with its answer, such as a download.
    Transfer,
}

impl StreamKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::WebSocket,
        Self::EventStream,
        Self::Grpc,
        Self::Upgrade,
        Self::Transfer,
    ];

    /// The word for this kind in metrics and audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "event_stream",
            Self::Grpc => "grpc",
            Self::Upgrade => "upgrade",
            Self::Transfer => "transfer",
        }
    }
}

/// The request that opened a stream, with all data that a later decision needs.
#[derive(Clone, Debug)]
pub struct StreamTarget {
    /// The contract of the check.
    pub contract: Contract,
    /// The policy that the proxy requested, if any.
    pub policy: Option<String>,
    /// The method.
    pub method: Method,
    /// Whether the client's request arrived over TLS.
    pub secure: bool,
    /// The host as the client wrote it.
    pub host: String,
    /// The path as the client wrote it, without the query, which can contain secrets.
    pub path: Vec<u8>,
    /// The client.
    pub client: Client,
    /// The subject of the session, for the audit log.
    pub subject: String,
}

/// The terms of a stream at the last decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamTerms {
    /// When the request would be denied if no activity follows.
    pub deadline: Timestamp,
    /// The settings of the policies and of the rule.
    pub settings: StreamSettings,
    /// The time between two touches (recordings of activity) of the session.
    pub touch_interval: Duration,
}

/// An open stream.
#[derive(Debug)]
pub struct OpenStream {
    /// A number that no other stream of this process has.
    pub number: u64,
    /// The session.
    pub session: SessionId,
    /// The request that opened the stream.
    pub target: StreamTarget,
    /// When the stream was registered.
    pub opened: Timestamp,
    /// The kind, as soon as the head of the answer is known.
    kind: OnceLock<StreamKind>,
    terms: Mutex<StreamTerms>,
    cut_reason: OnceLock<DenyReason>,
    cut: CancellationToken,
    /// When the stream was first seen as cut and not ended.
    late_since: OnceLock<Timestamp>,
    /// Closes the connection of the client; unset if other streams share the connection.
    close: OnceLock<CancellationToken>,
    /// The time of the latest data that counts as activity, in milliseconds; 0 if there was none.
    active_at: AtomicU64,
    /// The time of the activity that was reported last, in milliseconds.
    reported_at: AtomicU64,
    from_client: AtomicU64,
    to_client: AtomicU64,
}

impl OpenStream {
    pub(super) fn new(
        number: u64,
        session: SessionId,
        target: StreamTarget,
        terms: StreamTerms,
        now: Timestamp,
    ) -> Self {
        Self {
            number,
            session,
            target,
            opened: now,
            kind: OnceLock::new(),
            terms: Mutex::new(terms),
            cut_reason: OnceLock::new(),
            cut: CancellationToken::new(),
            late_since: OnceLock::new(),
            close: OnceLock::new(),
            active_at: AtomicU64::new(0),
            reported_at: AtomicU64::new(now.as_millis()),
            from_client: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        }
    }

    /// Returns the kind; `None` until the head of the answer is known.
    #[must_use]
    pub fn kind(&self) -> Option<StreamKind> {
        self.kind.get().copied()
    }

    /// Returns the terms at the last decision.
    #[must_use]
    pub fn terms(&self) -> StreamTerms {
        self.terms.lock().clone()
    }

    /// Replaces the terms after another decision.
    pub fn set_terms(&self, terms: StreamTerms) {
        *self.terms.lock() = terms;
    }

    /// Tells the task that relays the stream to end it. Only the first reason counts.
    pub fn cut(&self, reason: DenyReason) {
        if self.cut_reason.set(reason).is_ok() {
            self.cut.cancel();
        }
    }

    /// Closes the client's connection if the stream was cut some time ago and has not ended, because the client does not
    /// read.
    pub(super) fn close_if_late(&self, now: Timestamp) {
        let since = *self.late_since.get_or_init(|| now);
        if now.since(since) >= CLOSE_DELAY
            && let Some(close) = self.close.get()
        {
            close.cancel();
        }
    }

    /// Returns the reason of the cut; `None` if the stream was not cut.
    #[must_use]
    pub fn cut_reason(&self) -> Option<DenyReason> {
        self.cut_reason.get().copied()
    }

    /// Returns the time of the latest data from the client that counts as activity.
    #[must_use]
    pub fn active_at(&self) -> Timestamp {
        Timestamp::from_millis(self.active_at.load(Ordering::Relaxed))
    }

    /// Returns the number of bytes from the client, and to the client.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let load = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        (load(&self.from_client), load(&self.to_client))
    }
}

/// The registration of an open stream. Dropping the guard removes the stream from the registry.
pub struct StreamGuard {
    stream: Arc<OpenStream>,
    registry: Arc<OpenStreams>,
}

impl StreamGuard {
    pub(super) const fn new(stream: Arc<OpenStream>, registry: Arc<OpenStreams>) -> Self {
        Self { stream, registry }
    }

    /// Returns the stream.
    #[must_use]
    pub fn stream(&self) -> &OpenStream {
        &self.stream
    }

    /// Sets the kind of the stream, and counts the stream as open. Only the first call has an effect.
    pub fn set_kind(&self, kind: StreamKind) {
        if self.stream.kind.set(kind).is_ok() {
            let metrics = &self.registry.metrics.streams;
            metrics.opened.with_label_values(&[kind.as_str()]).inc();
            metrics.open.with_label_values(&[kind.as_str()]).inc();
        }
    }

    /// Sets the token that closes the connection of the client. Only the first call has an effect.
    pub fn set_close(&self, close: CancellationToken) {
        let _ = self.stream.close.set(close);
    }

    /// Waits until the stream is cut. Returns the reason.
    pub async fn cut(&self) -> DenyReason {
        self.stream.cut.cancelled().await;
        self.stream.cut_reason().unwrap_or(DenyReason::Revoked)
    }

    /// Returns the token that is cancelled when the stream is cut.
    #[must_use]
    pub fn cut_signal(&self) -> CancellationToken {
        self.stream.cut.clone()
    }

    /// Returns the messages of a WebSocket that do not count as activity; `None` if the relay need not recognise them,
    /// because there are none, or because nothing counts.
    #[must_use]
    pub fn heartbeats(&self) -> Option<Heartbeats> {
        let terms = self.stream.terms.lock();
        let settings = &terms.settings;
        let is_needed =
            settings.activity == StreamActivity::ClientData && !settings.heartbeats.is_empty();
        is_needed.then(|| settings.heartbeats.clone())
    }

    /// Counts bytes from the client.
    pub fn count_from_client(&self, bytes: usize) {
        self.stream
            .from_client
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes to the client.
    pub fn count_to_client(&self, bytes: usize) {
        self.stream
            .to_client
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records data from the client. If it counts as activity, the supervisor touches the session, at most once per
    /// touch interval.
    pub fn record_client_data(&self) {
        let touch_interval = {
            let terms = self.stream.terms.lock();
            if terms.settings.activity == StreamActivity::Off {
                return;
            }
            terms.touch_interval
        };
        let now = self.registry.clock.now();
        let stream = &self.stream;
        stream
            .active_at
            .fetch_max(now.as_millis(), Ordering::Relaxed);
        let reported_at = Timestamp::from_millis(stream.reported_at.load(Ordering::Relaxed));
        if now.since(reported_at) >= touch_interval {
            stream.reported_at.store(now.as_millis(), Ordering::Relaxed);
            self.registry.recheck_now(stream.session);
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let stream = &self.stream;
        self.registry.remove(stream);
        let metrics = &self.registry.metrics.streams;
        let (from_client, to_client) = stream.bytes();
        for (direction, bytes) in [("from_client", from_client), ("to_client", to_client)] {
            metrics.bytes.with_label_values(&[direction]).inc_by(bytes);
        }
        let kind = stream.kind();
        if let Some(kind) = kind {
            metrics.open.with_label_values(&[kind.as_str()]).dec();
        }
        let Some(reason) = stream.cut_reason() else {
            return;
        };
        // The answer had not begun, so the kind is not known.
        let kind = kind.unwrap_or(StreamKind::Transfer);
        metrics.cut.with_label_values(&[reason.as_str()]).inc();
        let now = self.registry.clock.now();
        audit::stream_cut(&audit::CutStream {
            session: stream.session,
            subject: &stream.target.subject,
            kind: kind.as_str(),
            host: &stream.target.host,
            path: &stream.target.path,
            address: stream.target.client.address,
            reason,
            open_time: now.since(stream.opened),
            bytes: (from_client, to_client),
        });
    }
}
