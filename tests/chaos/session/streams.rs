//! The ways in which the load uses sessions with a WebSocket.

use tokio::time::Instant;

use super::Session;
use crate::client::{Exchange, random_replica};
use crate::model::{CUT_LIMIT, LATE_CUT_TOLERANCE, Mistake, STREAM_GRACE, Severity};
use crate::stream::{Stream, StreamEnd};

/// How a session with a stream is used.
#[derive(Clone, Copy)]
enum Use {
    Checks,
    Data,
}

impl Session {
    /// Opens a WebSocket on a random replica, and judges the answer like a check.
    async fn open_stream(&mut self) -> (Exchange, Option<Stream>) {
        let client = &self.load.client;
        let (check, stream) = client.open_stream(random_replica(), &self.cookie).await;
        if let Some(mistake) = self.model.judge_check(&check) {
            self.record_mistake(mistake, &check);
        }
        (check, stream)
    }

    /// Opens a WebSocket, and retries until it is open. Returns None at the end of the run.
    async fn open_stream_until_accepted(&mut self) -> Option<(Exchange, Stream)> {
        loop {
            if let (check, Some(stream)) = self.open_stream().await {
                return Some((check, stream));
            }
            if self.model.has_ended() || !self.pause(100, 100).await {
                return None;
            }
        }
    }

    /// Keeps a WebSocket open, and checks the session on random replicas. The stream must stay open.
    pub async fn hold_stream(self) {
        self.keep_stream_open(Use::Checks).await;
    }

    /// Keeps a WebSocket open, and sends data in it, but no checks. The stream must stay open.
    pub async fn type_in_stream(self) {
        self.keep_stream_open(Use::Data).await;
    }

    async fn keep_stream_open(mut self, kind: Use) {
        while let Some((opened, stream)) = self.open_stream_until_accepted().await {
            let (end, mut writer) = stream.split();
            tokio::pin!(end);
            loop {
                tokio::select! {
                    end = &mut end => {
                        self.judge_cut(&opened, end);
                        break;
                    }
                    continues = self.pause(300, 300) => {
                        if !continues {
                            return;
                        }
                    }
                }
                match kind {
                    Use::Checks => drop(self.check(random_replica()).await),
                    Use::Data => {
                        writer.send().await;
                        self.model.note_data();
                    }
                }
            }
        }
    }

    /// Opens a WebSocket, and sends no check. The stream must end at the idle limit, also during a fault.
    pub async fn open_stream_then_leave_idle(mut self) {
        if let Some((opened, stream)) = self.open_stream_until_accepted().await {
            let limit = self.model.idle_deadline() + LATE_CUT_TOLERANCE;
            self.wait_for_cut(&opened, stream, |_| limit, Severity::Certain)
                .await;
        }
    }

    /// Opens a WebSocket, and revokes the session on a random replica. The stream must end.
    pub async fn open_stream_then_revoke(mut self) {
        let Some((opened, stream)) = self.open_stream_until_accepted().await else {
            return;
        };
        self.pause(100, 500).await;
        let revocation = loop {
            let revocation = self.revoke(random_replica()).await;
            if self.model.end_severity().is_some() {
                break revocation;
            }
            // A session that a fail-over has lost cannot be revoked.
            if revocation.status == Some(404) || !self.pause(300, 300).await {
                return;
            }
        };
        let acknowledged = revocation.arrived;
        let severity = self.model.end_severity().unwrap_or(Severity::Certain);
        let was_calm = self.load.record.is_calm();
        let limit = |is_calm: bool| {
            if was_calm && is_calm {
                acknowledged + CUT_LIMIT
            } else {
                acknowledged + STREAM_GRACE + LATE_CUT_TOLERANCE
            }
        };
        self.wait_for_cut(&opened, stream, limit, severity).await;
    }

    /// Waits for the end of a stream. Records a mistake if the stream is open after `limit`, a time that can depend on
    /// whether the servers work without a fault.
    async fn wait_for_cut(
        &self,
        opened: &Exchange,
        stream: Stream,
        limit: impl Fn(bool) -> Instant,
        severity: Severity,
    ) {
        let record = &self.load.record;
        let (end, _writer) = stream.split();
        tokio::pin!(end);
        for is_calm in [true, false] {
            if tokio::time::timeout_at(limit(is_calm), &mut end)
                .await
                .is_ok()
            {
                return;
            }
            if is_calm && record.is_calm() {
                break;
            }
        }
        let exchange = opened.until(Instant::now(), "still open");
        self.record_mistake((Mistake::LateCut, severity), &exchange);
    }

    /// Judges the end of a stream whose session is in use.
    fn judge_cut(&self, opened: &Exchange, end: StreamEnd) {
        if end.reason.is_none() && self.load.record.has_lost_connections() {
            return;
        }
        let reason = end.reason.as_deref().unwrap_or("connection lost");
        let exchange = opened.until(end.at, reason);
        if let Some(mistake) = self.model.judge_cut(&exchange) {
            self.record_mistake(mistake, &exchange);
        }
    }
}
