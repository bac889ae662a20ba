//! Reads the cut-offs that other replicas set. The reader has a separate connection, so that no check waits behind
//! its commands.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::RedisError;
use tokio_util::sync::CancellationToken;

use crate::StoreError;
use crate::clock::{Clock, Stopwatch};
use crate::live::Live;
use crate::policy::Policies;
use crate::redis::connection::Connection;
use crate::redis::cut_offs::log::{Head, LOG_SCORE_BASE, Member, RULE_SCORE_BASE, ReadProgress};
use crate::redis::cut_offs::{EPOCH_MEMBER, GENERAL_MEMBER, read_rules_command};
use crate::redis::{RedisStore, managed_connection};
use crate::session::Timestamp;
use crate::telemetry::{Diagnostics, Metrics};

/// Polling interval, for changes whose announcement did not arrive.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout for one reply.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for one connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay after an error.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// A read returns after this time even if it is incomplete, so that the caller can report the state.
const READ_TIMEOUT_SECONDS: f64 = 5.0;
/// Interval at which old cut-offs are removed, in seconds.
const FORGET_INTERVAL_SECONDS: f64 = 60.0;
/// Maximum number of cut-offs that one command removes.
const FORGET_BATCH_SIZE: usize = 500;
/// The diagnostics warn the operator if the table contains more than this percentage of the maximum number of cut-offs.
const NEARLY_FULL_PERCENT: usize = 80;
/// The name under which the diagnostics show the problems of cut-offs and revocation rules.
const DIAGNOSTICS_SOURCE: &str = "revocations";

/// The state of the reader.
#[derive(Default)]
pub(in crate::redis) struct Reader {
    /// The connection, and the incarnation of the store at the time when the connection was opened. The incarnation is
    /// a number that grows whenever Redis may have lost writes.
    connection: Option<(Connection, u64)>,
    progress: ReadProgress,
}

impl RedisStore {
    /// Keeps the local copy of the cut-offs current, until `stop` is cancelled.
    pub async fn follow_cut_offs(
        &self,
        policies: &Live<Policies>,
        diagnostics: &Diagnostics,
        metrics: &Metrics,
        stop: CancellationToken,
    ) {
        let following = async {
            let mut last_removal: Option<Stopwatch> = None;
            loop {
                let read = self.read_cut_offs().await;
                let is_removal_due =
                    last_removal.is_none_or(|last| last.seconds() > FORGET_INTERVAL_SECONDS);
                if read == Ok(true) && is_removal_due {
                    let now = self.clock().now();
                    let until = now.minus(policies.current().longest_absolute_limit());
                    match self.remove_old_cut_offs_and_seal_rules(until).await {
                        Ok(()) => last_removal = Some(Stopwatch::start()),
                        Err(error) => tracing::debug!(%error, "could not remove old cut-offs"),
                    }
                }
                self.report_cut_offs(read.as_ref().err(), diagnostics, metrics);
                let pause = match read {
                    Ok(true) => POLL_INTERVAL,
                    Ok(false) => Duration::ZERO,
                    Err(_) => RETRY_DELAY,
                };
                tokio::select! {
                    () = self.cut_offs.change_announced.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// Reads the changes, or the whole set at the start and after a gap. Returns whether the copy is complete.
    /// Returns `false` if the time limit is over before the read is complete; the next call continues the read.
    ///
    /// # Errors
    /// [`StoreError`] when Redis did not answer. The copy keeps its content.
    pub async fn read_cut_offs(&self) -> Result<bool, StoreError> {
        let mut reader = self.cut_offs.reader.lock().await;
        let read = self.read_until_complete(&mut reader).await;
        if read.is_err() {
            reader.connection = None;
        }
        read
    }

    /// Returns how often this replica has read the whole set of cut-offs.
    pub async fn full_cut_off_read_count(&self) -> u64 {
        self.cut_offs.reader.lock().await.progress.full_reads
    }

    /// Returns the sequence number of the last change that this replica has confirmed. While this replica cannot
    /// decrypt a revocation rule, the rule is not in force here, so the number does not change.
    #[must_use]
    pub fn confirmed_change(&self) -> u64 {
        self.cut_offs.last_read_change.load(Ordering::Acquire)
    }

    /// Returns how many bytes of memory the local copy uses.
    #[must_use]
    pub fn cut_off_bytes(&self) -> usize {
        self.cut_offs.table.bytes()
    }

    async fn read_until_complete(&self, reader: &mut Reader) -> Result<bool, StoreError> {
        let stopwatch = Stopwatch::start();
        while stopwatch.seconds() < READ_TIMEOUT_SECONDS {
            let incarnation = *self.managed_connection.incarnation().borrow();
            let mut connection = match reader.connection.take() {
                Some((connection, opened_in)) if opened_in == incarnation => connection,
                _ => {
                    // Redis may have lost changes, and may have reused their numbers. So the replica reads the whole
                    // set again.
                    reader.progress.reset();
                    self.open_separate_connection().await?
                }
            };
            reader.connection = Some((connection.clone(), incarnation));
            let since = self.cut_offs.steady_now();
            let read = with_timeout(self.read_once(&mut connection, &mut reader.progress));
            let has_read_all = read.await?;
            if has_read_all && let Some(change) = reader.progress.complete_up_to() {
                self.cut_offs.mark_complete_up_to(since);
                // This replica does not confirm a revocation rule that it cannot decrypt.
                if self.cut_offs.undecryptable_rules.load(Ordering::Relaxed) == 0 {
                    self.cut_offs
                        .last_read_change
                        .store(change, Ordering::Release);
                }
                if std::mem::take(&mut reader.progress.rules_changed) {
                    self.cut_offs.announcement_due.notify_one();
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn open_separate_connection(&self) -> Result<Connection, StoreError> {
        let settings = self.managed_connection.settings();
        let connecting = managed_connection::open_dedicated(settings, ANSWER_TIMEOUT);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(StoreError::Unavailable(error.to_string())),
            Err(_) => Err(StoreError::Unavailable("connection timeout".to_owned())),
        }
    }

    /// Sends one pipeline of read commands. Returns whether this replica has read the log to its end.
    async fn read_once(
        &self,
        connection: &mut Connection,
        progress: &mut ReadProgress,
    ) -> redis::RedisResult<bool> {
        let (key, table) = (self.keys.cut_offs(), &self.cut_offs.table);
        let page = progress.next_page();
        let mut pipeline = redis::pipe();
        // Curfew reads the number of the last change and the epoch before the log. In the opposite order, a change
        // between the two reads would look like a gap in the log.
        pipeline.cmd("ZSCORE").arg(&key).arg("");
        pipeline.cmd("ZSCORE").arg(&key).arg(EPOCH_MEMBER);
        pipeline.cmd("ZSCORE").arg(&key).arg(GENERAL_MEMBER);
        let log = pipeline.cmd("ZRANGEBYSCORE").arg(&key);
        log.arg(progress.next_log_score())
            .arg("+inf")
            .arg("WITHSCORES");
        log.arg("LIMIT")
            .arg(0)
            .arg(crate::redis::cut_offs::log::PAGE_ENTRIES);
        pipeline.add_command(read_rules_command(&key));
        let page_command = pipeline.cmd("ZRANGEBYSCORE").arg(&key);
        match page {
            Some(page) => page_command
                .arg(page.from)
                .arg(format!("({RULE_SCORE_BASE}")),
            // This command reads nothing, because no member has this score.
            None => page_command
                .arg(LOG_SCORE_BASE - 1)
                .arg(format!("({RULE_SCORE_BASE}")),
        };
        page_command.arg("WITHSCORES").arg("LIMIT").arg(0);
        page_command.arg(page.map_or(1, |page| page.size));
        type Reply = (
            Option<u64>,
            Option<u64>,
            Option<u64>,
            Vec<Member>,
            Vec<Member>,
            Vec<Member>,
        );
        let (last, epoch, general, log, rules, members): Reply =
            pipeline.query_async(connection).await?;
        let general = general.map(Timestamp::from_millis);
        if let Some(at) = general.filter(|at| Some(*at) > table.general_cut_off()) {
            table.raise_general_cut_off(at);
            table.forget(at);
        }
        self.apply_rules(&rules);
        let head = Head {
            last: last.unwrap_or(0),
            epoch,
        };
        let has_read_all = progress.apply_changes(head, &log, table);
        if let Some(page) = page {
            progress.apply_page(page, &members, table);
        }
        Ok(has_read_all)
    }

    /// Removes the cut-offs up to the time `until`, and encrypts plain revocation rules.
    async fn remove_old_cut_offs_and_seal_rules(&self, until: Timestamp) -> Result<(), StoreError> {
        self.forget_cut_offs(until).await?;
        self.seal_rules().await
    }

    /// Removes the cut-offs up to the time `until` from Redis and from the local copy. Also removes the revocation
    /// rules up to this time from the local copy.
    async fn forget_cut_offs(&self, until: Timestamp) -> Result<(), StoreError> {
        let removed_count = self.cut_offs.table.forget(until);
        if removed_count > 0 {
            tracing::debug!(forgotten = removed_count, "old cut-offs removed");
        }
        self.cut_offs.rules.forget(until);
        let key = self.keys.cut_offs();
        loop {
            let mut forget = self.scripts.forget_cut_offs.key(&key);
            forget.arg(until.as_millis()).arg(FORGET_BATCH_SIZE);
            let count: usize = self.send_with_retry(&forget).await?;
            if count < FORGET_BATCH_SIZE {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    fn report_cut_offs(
        &self,
        error: Option<&StoreError>,
        diagnostics: &Diagnostics,
        metrics: &Metrics,
    ) {
        let table = &self.cut_offs.table;
        let (entries, max) = (table.len(), self.cut_offs.max);
        metrics
            .store
            .cut_offs
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        metrics
            .store
            .cut_offs_fresh
            .set(i64::from(self.cut_offs.is_fresh()));
        let mut warnings = Vec::new();
        if let Some(error) = error {
            warnings.push(format!(
                "could not read the revocations of other replicas, so each check asks Redis: {error}"
            ));
        }
        let undecryptable = self.cut_offs.undecryptable_rules.load(Ordering::Relaxed);
        if undecryptable > 0 {
            warnings.push(format!(
                "{undecryptable} revocation rules in Redis could not be decrypted and are not in force: put the key \
                 that encrypted them back into token.keys, or revoke again"
            ));
        }
        if entries > max / 100 * NEARLY_FULL_PERCENT {
            warnings.push(format!(
                "{entries} cut-offs of at most {max} are in use: beyond the maximum, all sessions that are \
                 older than the oldest cut-offs end"
            ));
        }
        if let Some(general) = table.general_cut_off() {
            warnings.push(format!(
                "too many cut-offs: all sessions that started before {general} have ended"
            ));
        }
        diagnostics.set_recommendations(DIAGNOSTICS_SOURCE, warnings);
    }
}

async fn with_timeout<T>(
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Unavailable(format!(
            "no reply from Redis within {ANSWER_TIMEOUT:?}"
        ))),
    }
}
