//! The generation marker: a value in Redis that shows whether Redis has lost data.
//!
//! One replica refreshes the marker every two seconds. If the marker is missing, or older than the marker that this
//! process has read before, Redis has lost session ends. This happens after `FLUSHALL`, after a restart without
//! persistence, and after somebody restored an older copy.
//!
//! A process that starts has not read the marker before, so it assumes a loss if no replica has refreshed the marker
//! recently. But it assumes no loss if `curfew migrate`, or the planned stop of the last replica, extended the marker
//! less than an hour ago.
//!
//! After a fail-over, the new primary has a copy of the marker. This copy can be older than the marker of the former
//! primary by the replication lag, so Curfew tolerates this difference.
//!
//! A single shard of a cluster can lose its data too. So a cluster also has a mark in every 64th slot ([`shards`]).
//! Marks move with their slots, so Curfew does not report a loss after an operator adds a shard or moves slots.

mod shards;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ErrorKind, RedisError, RedisResult};
use serde::{Deserialize, Serialize};

use super::connection::Connection;
use super::keys::Keys;
use super::sealed_value::{SealedValue, StoredValue};
use crate::History;
use crate::clock::{Clock, Stopwatch, StoreClock};
use crate::credential::KeyRing;
use crate::live::Live;
use crate::session::Timestamp;

use shards::{ShardMarks, ShardState};

/// Interval between refreshes of the marker.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// The longest replication lag that Curfew expects. If the marker is older than the last marker that this process read,
/// Curfew assumes a loss only if the difference exceeds this time. For a smaller difference, the journal
/// (`store.journal_retention`) still contains the session ends that Redis may have lost.
const REPLICATION_LAG: Duration = Duration::from_secs(5);
/// A process that starts trusts the marker if a replica refreshed it less than this time ago.
const RUNNING_FRESHNESS: Duration = Duration::from_secs(10);
/// How long a process that starts waits for a refresh of a stale marker, in seconds. The marker can be stale because
/// the running replicas could not reach Redis for a while.
const STALE_WAIT_SECONDS: f64 = 3.0;
/// A process that starts trusts the marker if a planned stop or `curfew migrate` extended it less than this time ago.
const STOPPED_FRESHNESS: Duration = Duration::from_secs(3600);
/// Maximum attempts to change the marker, if other replicas change it at the same time.
const MAX_ATTEMPTS: usize = 10;

/// The marker. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    /// The key that authenticates the marks of shards.
    secret: [u8; 32],
    /// The time of the last refresh.
    refreshed: u64,
    /// A process that starts before this time assumes that no data was lost.
    fresh_until: u64,
    /// Whether Curfew has written the marks of all shards.
    has_marks: bool,
    history: History,
}

/// What a missing marker means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingMarker {
    /// The store is new, or somebody emptied it. Session ends may be lost.
    Loss,
    /// Nothing is lost. A version of Curfew without the marker wrote the records, or an operator declared the store
    /// new.
    NoLoss,
}

/// Maintains the marker.
pub(super) struct Generation {
    clock: Arc<StoreClock>,
    marker: SealedValue,
    shards: Option<ShardMarks>,
    /// The time of the latest refresh that this process has seen, in milliseconds.
    latest_refresh_seen: Mutex<Option<u64>>,
    /// Measures for how long the marker has been stale; `None` if it is fresh. While the marker is stale, this process
    /// waits for another replica to refresh it.
    stale_since: Mutex<Option<Stopwatch>>,
    /// Whether this process has extended the marker for a planned stop.
    is_stopping: AtomicBool,
    losses: AtomicU64,
}

impl Generation {
    pub(super) fn new(
        clock: Arc<StoreClock>,
        key_ring: Live<KeyRing>,
        keys: &Keys,
        is_cluster: bool,
        swap: &str,
    ) -> Self {
        Self {
            clock,
            marker: SealedValue::new(keys.generation(), "generation 1", key_ring, swap),
            shards: is_cluster.then(|| ShardMarks::new(keys)),
            latest_refresh_seen: Mutex::default(),
            stale_since: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            losses: AtomicU64::new(0),
        }
    }

    /// Returns how many losses of data this process has noticed.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Returns the history of losses. In a cluster, first checks two shards: the shard of `key`, which is the key of
    /// a session, and the shard of `shared_key`, which is a key that every session depends on.
    pub(super) async fn history(
        &self,
        connection: &mut Connection,
        missing_marker: MissingMarker,
        key: &[u8],
        shared_key: &[u8],
    ) -> RedisResult<History> {
        let marker = self.check_marker(connection, missing_marker).await?;
        let Some(shards) = self.shards.as_ref().filter(|_| marker.has_marks) else {
            return Ok(marker.history);
        };
        for key in [key, shared_key] {
            if shards.check_key(connection, &marker.secret, key).await? == ShardState::Lost {
                return Ok(self.record_shard_loss(connection).await?.history);
            }
        }
        Ok(marker.history)
    }

    /// Checks for a loss of data, and refreshes the marker when a refresh is due. `missing_marker` is the meaning of a
    /// missing marker for a process that has never read the marker.
    pub(super) async fn check(
        &self,
        connection: &mut Connection,
        missing_marker: MissingMarker,
    ) -> RedisResult<()> {
        let marker = self.check_marker(connection, missing_marker).await?;
        if self.stale_since.lock().is_some() || self.is_stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = self.now().max(marker.refreshed);
        let is_due = marker.is_refresh_due(now);
        if let Some(shards) = self.shards.as_ref().filter(|_| marker.has_marks)
            // Curfew reads the marks before it refreshes them, because a refresh would hide that they are from an older
            // copy.
            && shards.check_all(connection, &marker.secret, now, is_due).await? == ShardState::Lost
        {
            return self.record_shard_loss(connection).await.map(drop);
        }
        if is_due {
            let refresh = |marker: &mut Marker| marker.refresh(now, RUNNING_FRESHNESS);
            let refreshed = self.change_once(connection, refresh).await?;
            if let (Some(marker), Some(shards)) = (refreshed, &self.shards)
                && marker.has_marks
            {
                shards
                    .refresh(connection, &marker.secret, marker.refreshed)
                    .await;
            }
        }
        match &self.shards {
            Some(shards) if !marker.has_marks && shards.start_interval_if_due(now) => {
                self.write_shard_marks(connection).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Applies `change` to the history, and writes the changed history if `change` returns `true`.
    pub(super) async fn change_history(
        &self,
        connection: &mut Connection,
        change: impl Fn(&mut History) -> bool,
    ) -> RedisResult<()> {
        let mut marker = self.check_marker(connection, MissingMarker::Loss).await?;
        if !change(&mut marker.history) {
            return Ok(());
        }
        let change = |marker: &mut Marker| {
            let _ = change(&mut marker.history);
        };
        self.change(connection, change).await.map(drop)
    }

    /// Extends the marker for a planned stop, so that a process that starts within the next hour assumes no loss.
    pub(super) async fn mark_planned_stop(&self, connection: &mut Connection) -> RedisResult<()> {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.check_marker(connection, MissingMarker::Loss).await?;
        if self.stale_since.lock().is_some() {
            return Ok(());
        }
        let now = self.now();
        let extend = |marker: &mut Marker| marker.refresh(now, STOPPED_FRESHNESS);
        self.change(connection, extend).await.map(drop)
    }

    /// Extends a fresh marker for `curfew migrate`, as [`Generation::mark_planned_stop`] does. Does not extend a
    /// stale marker. If there is no marker, `missing_marker` decides whether to create one. Returns whether there is a
    /// fresh marker.
    pub(super) async fn extend_fresh_marker(
        &self,
        connection: &mut Connection,
        missing_marker: MissingMarker,
    ) -> RedisResult<bool> {
        let found: StoredValue<Marker> = self.marker.read(connection).await?;
        let now = self.now();
        let mut marker = match found.value.clone() {
            Some(marker) if now <= marker.fresh_until => marker,
            None if missing_marker == MissingMarker::NoLoss => Marker::new(now)?,
            _ => return Ok(false),
        };
        marker.refresh(now, STOPPED_FRESHNESS);
        // The replacement fails if another replica has changed the marker. This is harmless, because that replica is
        // running and refreshes the marker.
        self.marker.replace(connection, &found, &marker).await?;
        Ok(true)
    }

    /// Returns the current marker. If it shows a new loss, records the time of the loss first.
    async fn check_marker(
        &self,
        connection: &mut Connection,
        missing_marker: MissingMarker,
    ) -> RedisResult<Marker> {
        for _ in 0..MAX_ATTEMPTS {
            let found: StoredValue<Marker> = self.marker.read(connection).await?;
            let (seen, now) = (*self.latest_refresh_seen.lock(), self.now());
            let Some(reason) = WriteReason::of(found.value.as_ref(), seen, missing_marker, now)
            else {
                let marker = found.value.ok_or_else(contended_error)?;
                *self.stale_since.lock() = None;
                self.record_refresh_seen(&marker);
                return Ok(marker);
            };
            if reason == WriteReason::Stale && self.must_wait_for_refresh() {
                // Until another replica refreshes the marker, this process assumes a loss, but does not write the loss
                // into the marker.
                let mut marker = found.value.ok_or_else(contended_error)?;
                marker.history.record_loss(Timestamp::from_millis(now));
                return Ok(marker);
            }
            let mut marker = match found.value.clone() {
                Some(marker) => marker,
                None => Marker::new(now)?,
            };
            if reason != WriteReason::First {
                marker.record_loss(now.max(seen.unwrap_or(0)));
            }
            if self.marker.replace(connection, &found, &marker).await? {
                *self.stale_since.lock() = None;
                self.record_refresh_seen(&marker);
                self.report(reason);
                return Ok(marker);
            }
        }
        Err(contended_error())
    }

    /// Returns whether this process must wait longer for another replica to refresh the stale marker.
    fn must_wait_for_refresh(&self) -> bool {
        let mut stale_since = self.stale_since.lock();
        stale_since.get_or_insert_with(Stopwatch::start).seconds() < STALE_WAIT_SECONDS
    }

    /// Records that a shard of the cluster has lost data.
    async fn record_shard_loss(&self, connection: &mut Connection) -> RedisResult<Marker> {
        let now = self.now();
        let marker = self
            .change(connection, |marker| marker.record_loss(now))
            .await?;
        self.report(WriteReason::Shard);
        Ok(self.write_shard_marks(connection).await?.unwrap_or(marker))
    }

    /// Writes new marks for all shards. Returns the changed marker, or `None` if this store has no shards or a shard is
    /// unreachable.
    async fn write_shard_marks(&self, connection: &mut Connection) -> RedisResult<Option<Marker>> {
        let (Some(shards), Some(marker)) = (&self.shards, self.read_marker(connection).await?)
        else {
            return Ok(None);
        };
        let now = self.now().max(marker.refreshed);
        if !shards.write(connection, &marker.secret, now).await {
            // A shard is unreachable. `Generation::check` retries later.
            return Ok(None);
        }
        let now = now.max(self.now());
        let written = self.change(connection, |marker| {
            // While Curfew writes the marks, it does not notice a loss in a shard. So it moves the time of an earlier
            // loss to the time after the write.
            if marker.history.last_loss().is_some() {
                marker.history.record_loss(Timestamp::from_millis(now));
            }
            marker.has_marks = true;
        });
        written.await.map(Some)
    }

    async fn read_marker(&self, connection: &mut Connection) -> RedisResult<Option<Marker>> {
        Ok(self.marker.read(connection).await?.value)
    }

    /// Changes the marker, and retries if another replica changed it at the same time.
    async fn change(
        &self,
        connection: &mut Connection,
        change: impl Fn(&mut Marker),
    ) -> RedisResult<Marker> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(marker) = self.change_once(connection, &change).await? {
                return Ok(marker);
            }
        }
        Err(contended_error())
    }

    /// Tries to change the marker once. Returns `None` if the marker is missing, or if another replica changed it at
    /// the same time.
    async fn change_once(
        &self,
        connection: &mut Connection,
        change: impl Fn(&mut Marker),
    ) -> RedisResult<Option<Marker>> {
        let found: StoredValue<Marker> = self.marker.read(connection).await?;
        let Some(mut marker) = found.value.clone() else {
            return Ok(None);
        };
        change(&mut marker);
        let written = self.marker.replace(connection, &found, &marker).await?;
        Ok(written
            .then_some(marker)
            .inspect(|marker| self.record_refresh_seen(marker)))
    }

    fn record_refresh_seen(&self, marker: &Marker) {
        let mut seen = self.latest_refresh_seen.lock();
        *seen = (*seen).max(Some(marker.refreshed));
    }

    fn report(&self, reason: WriteReason) {
        let what = reason.as_str();
        match reason {
            WriteReason::First => tracing::info!(what, "generation marker written"),
            WriteReason::Empty => tracing::info!(
                what,
                "generation marker written: JSON Web Tokens and delegated services now start sessions only for \
                 sign-ins after this time (with a new Redis, `curfew migrate --new-store` before the first start avoids this)"
            ),
            _ => {
                self.losses.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    what,
                    "Redis has lost data: JSON Web Tokens and delegated services now start sessions only for sign-ins \
                     after this loss"
                );
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }
}

impl Marker {
    fn new(now: u64) -> RedisResult<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| {
            let what = "could not generate random numbers";
            RedisError::from((ErrorKind::Client, what, error.to_string()))
        })?;
        let mut marker = Self {
            secret,
            refreshed: now,
            fresh_until: now,
            has_marks: false,
            history: History::default(),
        };
        marker.refresh(now, RUNNING_FRESHNESS);
        Ok(marker)
    }

    /// Refreshes the marker at `now`. The time of the marker never moves back, even if the clock of this process is
    /// behind.
    fn refresh(&mut self, now: u64, fresh_for: Duration) {
        self.refreshed = self.refreshed.max(now);
        self.fresh_until = self.refreshed.saturating_add(millis(fresh_for));
    }

    /// Returns whether a running replica must refresh the marker. A refresh is due after each interval, and
    /// immediately if the marker was extended for a planned stop.
    fn is_refresh_due(&self, now: u64) -> bool {
        let was_stopped =
            self.fresh_until > now.saturating_add(millis(RUNNING_FRESHNESS + REFRESH_INTERVAL));
        was_stopped || now >= self.refreshed.saturating_add(millis(REFRESH_INTERVAL))
    }

    /// Records that session ends from before the time `now` may be lost.
    fn record_loss(&mut self, now: u64) {
        let now = now.max(self.refreshed);
        self.history.record_loss(Timestamp::from_millis(now));
        self.has_marks = false;
        self.refresh(now, RUNNING_FRESHNESS);
    }
}

/// Why the marker is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteReason {
    First,
    Empty,
    Missing,
    Older,
    Stale,
    Shard,
}

impl WriteReason {
    /// Returns why the marker must be written, or `None`. `found` is the marker in Redis, and `seen` is the time of
    /// the latest refresh that this process has seen.
    fn of(
        found: Option<&Marker>,
        seen: Option<u64>,
        missing_marker: MissingMarker,
        now: u64,
    ) -> Option<Self> {
        match (found, seen) {
            (None, Some(_)) => Some(Self::Missing),
            (None, None) if missing_marker == MissingMarker::NoLoss => Some(Self::First),
            (None, None) => Some(Self::Empty),
            (Some(marker), Some(seen)) => {
                let is_older = marker.refreshed.saturating_add(millis(REPLICATION_LAG)) < seen;
                is_older.then_some(Self::Older)
            }
            (Some(marker), None) => (now > marker.fresh_until).then_some(Self::Stale),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "the records are of an older version, or the store is new",
            Self::Empty => "Redis is empty: it is new, or somebody emptied it",
            Self::Missing => "the marker is missing",
            Self::Older => {
                "the marker is older than before: an older copy of the data was restored"
            }
            Self::Stale => {
                "the marker is stale, and there was no planned stop in the last hour: an older copy of the data may \
                 have been restored"
            }
            Self::Shard => "the mark of a shard is missing, or older than before",
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn contended_error() -> RedisError {
    let what = "the generation marker is missing, or other replicas change it too often";
    (ErrorKind::Client, what).into()
}
