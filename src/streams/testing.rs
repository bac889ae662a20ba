//! Open streams for tests.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::{
    OpenStream, OpenStreams, StreamGuard, StreamLimit, StreamLimits, StreamTarget, StreamTerms,
};
use crate::clock::ManualClock;
use crate::policy::{Client, Contract, StreamSettings};
use crate::session::{SessionId, Timestamp};
use crate::telemetry::Metrics;
use crate::testing::{START, session_of};

/// A registry, and everything to open streams of one session.
pub(crate) struct OpenedStream {
    pub(crate) registry: Arc<OpenStreams>,
    pub(crate) clock: ManualClock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) session: SessionId,
    pub(crate) terms: StreamTerms,
    pub(crate) limits: StreamLimits,
}

/// Creates an empty registry for one session with these settings.
pub(crate) fn open_stream(settings: StreamSettings, limits: StreamLimits) -> OpenedStream {
    let clock = ManualClock::new(START);
    let metrics = Arc::new(Metrics::new().unwrap());
    let registry = OpenStreams::new(Arc::new(clock.clone()), None, Arc::clone(&metrics));
    OpenedStream {
        registry: Arc::new(registry),
        clock,
        metrics,
        session: SessionId::from_bytes([1; 16]),
        terms: StreamTerms {
            deadline: Timestamp::MAX,
            settings,
            touch_interval: Duration::from_secs(15),
        },
        limits,
    }
}

/// Returns the target of a stream.
pub(crate) fn target() -> StreamTarget {
    StreamTarget {
        contract: Contract::Layer,
        policy: None,
        method: Method::GET,
        secure: true,
        host: "app.example.com".to_owned(),
        path: b"/events".to_vec(),
        client: Client::default(),
        subject: "alice".to_owned(),
    }
}

impl OpenedStream {
    /// Opens a stream of the session.
    pub(crate) fn open(&self) -> Result<StreamGuard, StreamLimit> {
        let session = (self.session, session_of("alice", START));
        self.registry
            .open(session, target(), self.terms.clone(), self.limits)
    }

    /// Returns the only open stream.
    pub(crate) fn stream(&self) -> Arc<OpenStream> {
        let streams = self.registry.of_session(self.session);
        assert_eq!(streams.len(), 1);
        Arc::clone(&streams[0])
    }
}
