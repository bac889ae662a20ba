//! Reads the cut-offs that others set, on a connection of its own, so that no check waits behind it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::RedisError;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::cut_off_log::{Head, LOG_SCORE_BASE, Member, Progress, RULE_SCORE_BASE};
use super::not_before::{EPOCH_MEMBER, GENERAL, all_rules};
use super::{RedisStore, connection_manager};
use crate::StoreError;
use crate::clock::{Clock, Stopwatch};
use crate::live::Live;
use crate::policy::Policies;
use crate::session::Timestamp;
use crate::telemetry::{Advice, Metrics};

/// How often changes are read that nobody announces.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The most time for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The most time for one operation to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an error.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// How long one reading may take before it is reported.
const READ_TIMEOUT_SECONDS: f64 = 5.0;
/// How often old cut-offs are forgotten, in seconds.
const FORGET_INTERVAL_SECONDS: f64 = 60.0;
/// How many cut-offs Redis forgets in one command.
const FORGET_BATCH_SIZE: usize = 500;
/// The share of all cut-offs from which on the operator is advised.
const NEARLY_FULL_PERCENT: usize = 80;
/// The source label of the advice.
const SOURCE: &str = "revocations";

/// How this replica reads.
#[derive(Default)]
pub(super) struct Reader {
    /// The connection, and the incarnation of the store that it was made in.
    connection: Option<(Connection, u64)>,
    progress: Progress,
}

impl RedisStore {
    /// Keeps the copy of the cut-offs, until stopped.
    pub async fn follow_cut_offs(
        &self,
        policies: &Live<Policies>,
        advice: &Advice,
        metrics: &Metrics,
        stop: CancellationToken,
    ) {
        let follow = async {
            let mut forgotten: Option<Stopwatch> = None;
            loop {
                let read = self.read_cut_offs().await;
                let due = forgotten.is_none_or(|last| last.seconds() > FORGET_INTERVAL_SECONDS);
                if read == Ok(true) && due {
                    let now = self.clock().now();
                    let until = now.minus(policies.current().longest());
                    match self.remove_old_and_seal(until).await {
                        Ok(()) => forgotten = Some(Stopwatch::start()),
                        Err(error) => tracing::debug!(%error, "could not tidy up the cut-offs"),
                    }
                }
                self.report_cut_offs(read.as_ref().err(), advice, metrics);
                let pause = match read {
                    Ok(true) => POLL_INTERVAL,
                    Ok(false) => Duration::ZERO,
                    Err(_) => RETRY_DELAY,
                };
                tokio::select! {
                    () = self.not_before.changed.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        };
        stop.run_until_cancelled(follow).await;
    }

    /// Reads what has changed; the whole set at the start, and where changes were missed. Says whether the copy has all
    /// that Redis has; if not, it reads for long already, and the next call goes on.
    ///
    /// # Errors
    /// [`StoreError`] when Redis did not answer. The copy keeps what it has.
    pub async fn read_cut_offs(&self) -> Result<bool, StoreError> {
        let mut reader = self.not_before.reader.lock().await;
        let read = self.read_with(&mut reader).await;
        if read.is_err() {
            reader.connection = None;
        }
        read
    }

    /// How often this replica has read the whole set.
    pub async fn whole_reads_of_cut_offs(&self) -> u64 {
        self.not_before.reader.lock().await.progress.whole_reads
    }

    /// The last change that this replica has read, with all rules that it reads.
    #[must_use]
    pub fn confirmed_change(&self) -> u64 {
        self.not_before.read_to.load(Ordering::Acquire)
    }

    /// Bytes of memory that the copy takes.
    #[must_use]
    pub fn cut_off_bytes(&self) -> usize {
        self.not_before.table.bytes()
    }

    async fn read_with(&self, reader: &mut Reader) -> Result<bool, StoreError> {
        let reading = Stopwatch::start();
        while reading.seconds() < READ_TIMEOUT_SECONDS {
            let incarnation = *self.manager.incarnation().borrow();
            let mut connection = match reader.connection.take() {
                Some((connection, made)) if made == incarnation => connection,
                _ => {
                    // Redis may have lost changes, and counted others with their numbers.
                    reader.progress.reset();
                    self.open_separate_connection().await?
                }
            };
            reader.connection = Some((connection.clone(), incarnation));
            let since = self.not_before.steady_now();
            let all = with_timeout(self.read_once(&mut connection, &mut reader.progress));
            let all = all.await?;
            if all && let Some(change) = reader.progress.complete_to() {
                self.not_before.complete_at(since);
                // Others must not count on this replica for a rule that it does not know.
                if self.not_before.undecryptable.load(Ordering::Relaxed) == 0 {
                    self.not_before.read_to.store(change, Ordering::Release);
                }
                if std::mem::take(&mut reader.progress.rules_changed) {
                    self.not_before.confirm.notify_one();
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn open_separate_connection(&self) -> Result<Connection, StoreError> {
        let settings = self.manager.settings();
        let connecting = connection_manager::open_dedicated(settings, ANSWER_TIMEOUT);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(StoreError::Unavailable(error.to_string())),
            Err(_) => Err(StoreError::Unavailable("no connection in time".to_owned())),
        }
    }

    /// One question; says whether all of the log was read.
    async fn read_once(
        &self,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> redis::RedisResult<bool> {
        let (key, table) = (self.keys.not_before(), &self.not_before.table);
        let page = progress.page();
        let mut ask = redis::pipe();
        // First the number and the epoch: what is logged meanwhile has a greater one.
        ask.cmd("ZSCORE").arg(&key).arg("");
        ask.cmd("ZSCORE").arg(&key).arg(EPOCH_MEMBER);
        ask.cmd("ZSCORE").arg(&key).arg(GENERAL);
        let log = ask.cmd("ZRANGEBYSCORE").arg(&key);
        log.arg(progress.log_from()).arg("+inf").arg("WITHSCORES");
        log.arg("LIMIT")
            .arg(0)
            .arg(super::cut_off_log::PAGE_ENTRIES);
        ask.add_command(all_rules(&key));
        let whole = ask.cmd("ZRANGEBYSCORE").arg(&key);
        match page {
            Some(page) => whole.arg(page.from).arg(format!("({RULE_SCORE_BASE}")),
            // Nothing: there is no such score.
            None => whole
                .arg(LOG_SCORE_BASE - 1)
                .arg(format!("({RULE_SCORE_BASE}")),
        };
        whole.arg("WITHSCORES").arg("LIMIT").arg(0);
        whole.arg(page.map_or(1, |page| page.size));
        type Answer = (
            Option<u64>,
            Option<u64>,
            Option<u64>,
            Vec<Member>,
            Vec<Member>,
            Vec<Member>,
        );
        let (last, epoch, general, log, rules, members): Answer =
            ask.query_async(connection).await?;
        let general = general.map(Timestamp::from_millis);
        if let Some(at) = general.filter(|at| Some(*at) > table.general()) {
            table.raise_general(at);
            table.forget(at);
        }
        self.learn_rules(&rules);
        let head = Head {
            last: last.unwrap_or(0),
            epoch,
        };
        let all = progress.changes(head, &log, table);
        if let Some(page) = page {
            progress.take_page(page, &members, table);
        }
        Ok(all)
    }

    /// Forgets the cut-offs of at most `until`, and encrypts rules that are not.
    async fn remove_old_and_seal(&self, until: Timestamp) -> Result<(), StoreError> {
        self.forget_cut_offs(until).await?;
        self.seal_rules().await
    }

    /// Forgets the cut-offs of at most `until`, in Redis and in the copy.
    async fn forget_cut_offs(&self, until: Timestamp) -> Result<(), StoreError> {
        let forgotten = self.not_before.table.forget(until);
        if forgotten > 0 {
            tracing::debug!(forgotten, "old cut-offs forgotten");
        }
        self.not_before.rules.forget(until);
        let key = self.keys.not_before();
        loop {
            let mut forget = self.scripts.forget_cut_offs.key(&key);
            forget.arg(until.as_millis()).arg(FORGET_BATCH_SIZE);
            let count: usize = self.repeat(&forget).await?;
            if count < FORGET_BATCH_SIZE {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    fn report_cut_offs(&self, error: Option<&StoreError>, advice: &Advice, metrics: &Metrics) {
        let table = &self.not_before.table;
        let (entries, max) = (table.len(), self.not_before.max);
        metrics
            .cut_offs
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        metrics
            .cut_offs_fresh
            .set(i64::from(self.not_before.is_fresh()));
        let mut lines = Vec::new();
        if let Some(error) = error {
            lines.push(format!(
                "could not read the revocations of other replicas, so each check asks Redis: {error}"
            ));
        }
        let undecryptable = self.not_before.undecryptable.load(Ordering::Relaxed);
        if undecryptable > 0 {
            lines.push(format!(
                "{undecryptable} revocation rules in Redis could not be decrypted, and are not in force: put the key \
                 back into token.keys that they were written with, or revoke again"
            ));
        }
        if entries > max / 100 * NEARLY_FULL_PERCENT {
            lines.push(format!(
                "{entries} subjects are cut off, of at most {max}: beyond that, sessions older than the oldest \
                 cut-offs end"
            ));
        }
        if let Some(general) = table.general() {
            lines.push(format!(
                "there were too many cut-offs: all sessions that started before {general} have ended"
            ));
        }
        advice.set(SOURCE, lines);
    }
}

async fn with_timeout<T>(
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Unavailable(format!(
            "no answer within {ANSWER_TIMEOUT:?}"
        ))),
    }
}
