//! The generation marker: shows that Redis has lost data.
//!
//! One of the replicas refreshes it every two seconds. Where it is missing, or is older than this process has seen it, ends that
//! were written meanwhile are lost: after `FLUSHALL`, after a restart without persistence, and after somebody has restored an
//! older copy. A process that starts has seen nothing yet; it takes a marker that nobody has refreshed for a loss, unless the
//! last replica was stopped, or `curfew migrate` ran, less than an hour ago.
//!
//! A promoted replica has the marker as its primary had it, but for the lag of replication.
//!
//! A cluster also has a mark in every 64th slot ([`shards`]). Marks move with their slots, so a new shard or a resharded one is
//! no loss.

mod shards;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ErrorKind, RedisError, RedisResult};
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::sealed_value::{Found, SealedValue};
use super::wire::Wire;
use crate::History;
use crate::clock::{Clock, Stopwatch, StoreClock};
use crate::credential::KeyRing;
use crate::live::Live;
use crate::session::Timestamp;

use shards::{Looked, Shards};

/// How often the marker is refreshed.
const REFRESH: Duration = Duration::from_secs(2);
/// By how much a marker may be older than this process has seen it: the lag of replication. The journal of ends
/// (`store.end_journal`) answers for that time.
const LAG: Duration = Duration::from_secs(5);
/// How long a process that starts takes a marker for fresh.
const FRESH: Duration = Duration::from_secs(10);
/// How long it then waits for a running replica that Redis was away from, in seconds.
const DOUBT_SECONDS: f64 = 3.0;
/// The same, after the last replica was stopped or `curfew migrate` ran.
const STOPPED: Duration = Duration::from_secs(3600);
/// How often a change is tried again that another replica made at the same time.
const ATTEMPTS: usize = 10;

/// The marker. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    /// Authenticates the marks of shards.
    secret: [u8; 32],
    refreshed: u64,
    /// A process that starts until then takes the store for whole.
    fresh_until: u64,
    /// Whether all marks of shards have been written.
    has_marks: bool,
    history: History,
}

/// What it means that there is no marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The store is empty, or was emptied.
    Loss,
    /// The records are those of an older program, which writes none; or an operator says that the store is new.
    NoLoss,
}

/// Looks after the marker.
pub(super) struct Generation {
    clock: Arc<StoreClock>,
    marker: SealedValue,
    shards: Option<Shards>,
    /// When the marker was last refreshed, as this process has seen it, in milliseconds.
    seen: Mutex<Option<u64>>,
    /// Since when this process takes the marker for stale, and waits whether another replica refreshes it.
    doubted: Mutex<Option<Stopwatch>>,
    /// Whether this process has told the next one that nothing is lost.
    has_left: AtomicBool,
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
            shards: is_cluster.then(|| Shards::new(keys)),
            seen: Mutex::default(),
            doubted: Mutex::default(),
            has_left: AtomicBool::new(false),
            losses: AtomicU64::new(0),
        }
    }

    /// How many losses this process has noticed.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// What the store can have forgotten of the session with this key. `always` is a key that matters for every session.
    pub(super) async fn history(
        &self,
        wire: &mut Wire,
        absence: Absence,
        key: &[u8],
        always: &[u8],
    ) -> RedisResult<History> {
        let marker = self.marker(wire, absence).await?;
        let Some(shards) = self.shards.as_ref().filter(|_| marker.has_marks) else {
            return Ok(marker.history);
        };
        for key in [key, always] {
            if shards.look_at(wire, &marker.secret, key).await? == Looked::Lost {
                return Ok(self.lose_shard(wire).await?.history);
            }
        }
        Ok(marker.history)
    }

    /// Looks whether something is lost, and refreshes the marker when it is time. `absence` counts for a marker that this
    /// process has not seen before.
    pub(super) async fn keep(&self, wire: &mut Wire, absence: Absence) -> RedisResult<()> {
        let marker = self.marker(wire, absence).await?;
        if self.doubted.lock().is_some() || self.has_left.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = self.now().max(marker.refreshed);
        let is_due = marker.is_due(now);
        if let Some(shards) = self.shards.as_ref().filter(|_| marker.has_marks)
            // Before they are refreshed: that would hide marks of an older copy.
            && shards.look_at_all(wire, &marker.secret, now, is_due).await? == Looked::Lost
        {
            return self.lose_shard(wire).await.map(drop);
        }
        if is_due {
            let refresh = |marker: &mut Marker| marker.refresh(now, FRESH);
            let refreshed = self.change_once(wire, refresh).await?;
            if let (Some(marker), Some(shards)) = (refreshed, &self.shards)
                && marker.has_marks
            {
                shards.refresh(wire, &marker.secret, marker.refreshed).await;
            }
        }
        match &self.shards {
            Some(shards) if !marker.has_marks && shards.is_due(now) => {
                self.mark_shards(wire).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Changes the history, where `change` says that there is a change.
    pub(super) async fn change_history(
        &self,
        wire: &mut Wire,
        change: impl Fn(&mut History) -> bool,
    ) -> RedisResult<()> {
        let mut marker = self.marker(wire, Absence::Loss).await?;
        if !change(&mut marker.history) {
            return Ok(());
        }
        let change = |marker: &mut Marker| {
            let _ = change(&mut marker.history);
        };
        self.change(wire, change).await.map(drop)
    }

    /// Says that the store is left whole: a process that starts within the next hour may take it so.
    pub(super) async fn leave(&self, wire: &mut Wire) -> RedisResult<()> {
        self.has_left.store(true, Ordering::Relaxed);
        self.marker(wire, Absence::Loss).await?;
        if self.doubted.lock().is_some() {
            return Ok(());
        }
        let now = self.now();
        let left = |marker: &mut Marker| marker.refresh(now, STOPPED);
        self.change(wire, left).await.map(drop)
    }

    /// The same for `curfew migrate`, where the marker is fresh. Where there is no marker, `absence` says whether one is made.
    /// Says whether there is a fresh one then.
    pub(super) async fn hand_over(&self, wire: &mut Wire, absence: Absence) -> RedisResult<bool> {
        let found: Found<Marker> = self.marker.read(wire).await?;
        let now = self.now();
        let mut marker = match found.value.clone() {
            Some(marker) if now <= marker.fresh_until => marker,
            None if absence == Absence::NoLoss => Marker::new(now)?,
            _ => return Ok(false),
        };
        marker.refresh(now, STOPPED);
        // Where another replica was faster, it runs.
        self.marker.replace(wire, &found, &marker).await?;
        Ok(true)
    }

    /// The marker as it is in force: after a loss, with the time of the loss.
    async fn marker(&self, wire: &mut Wire, absence: Absence) -> RedisResult<Marker> {
        for _ in 0..ATTEMPTS {
            let found: Found<Marker> = self.marker.read(wire).await?;
            let (seen, now) = (*self.seen.lock(), self.now());
            let Some(repair) = Repair::of(found.value.as_ref(), seen, absence, now) else {
                let marker = found.value.ok_or_else(contended)?;
                *self.doubted.lock() = None;
                self.see(&marker);
                return Ok(marker);
            };
            if repair == Repair::Stale && self.doubts() {
                // Nobody knows yet, so nothing counts that was before.
                let mut marker = found.value.ok_or_else(contended)?;
                marker.history.note_loss(Timestamp::from_millis(now));
                return Ok(marker);
            }
            let mut marker = match found.value.clone() {
                Some(marker) => marker,
                None => Marker::new(now)?,
            };
            if repair != Repair::First {
                marker.lose(now.max(seen.unwrap_or(0)));
            }
            if self.marker.replace(wire, &found, &marker).await? {
                *self.doubted.lock() = None;
                self.see(&marker);
                self.tell(repair);
                return Ok(marker);
            }
        }
        Err(contended())
    }

    /// Whether a stale marker may still be refreshed by a replica that could not reach Redis.
    fn doubts(&self) -> bool {
        let mut doubted = self.doubted.lock();
        doubted.get_or_insert_with(Stopwatch::start).seconds() < DOUBT_SECONDS
    }

    /// A part of the cluster has lost data.
    async fn lose_shard(&self, wire: &mut Wire) -> RedisResult<Marker> {
        let now = self.now();
        let lost = self.change(wire, |marker| marker.lose(now)).await?;
        self.tell(Repair::Shard);
        Ok(self.mark_shards(wire).await?.unwrap_or(lost))
    }

    /// Writes the marks of all shards anew.
    async fn mark_shards(&self, wire: &mut Wire) -> RedisResult<Option<Marker>> {
        let (Some(shards), Some(marker)) = (&self.shards, self.read(wire).await?) else {
            return Ok(None);
        };
        let now = self.now().max(marker.refreshed);
        if !shards.write(wire, &marker.secret, now).await {
            // A shard is away; it is tried again.
            return Ok(None);
        }
        let now = now.max(self.now());
        let marked = self.change(wire, |marker| {
            // What a shard lost while they were written was not noticed.
            if marker.history.lost_before().is_some() {
                marker.history.note_loss(Timestamp::from_millis(now));
            }
            marker.has_marks = true;
        });
        marked.await.map(Some)
    }

    async fn read(&self, wire: &mut Wire) -> RedisResult<Option<Marker>> {
        Ok(self.marker.read(wire).await?.value)
    }

    /// Changes the marker, however many replicas do at the same time.
    async fn change(&self, wire: &mut Wire, change: impl Fn(&mut Marker)) -> RedisResult<Marker> {
        for _ in 0..ATTEMPTS {
            if let Some(marker) = self.change_once(wire, &change).await? {
                return Ok(marker);
            }
        }
        Err(contended())
    }

    /// Changes the marker, unless it is gone or another replica does at the same time; the marker as it is then.
    async fn change_once(
        &self,
        wire: &mut Wire,
        change: impl Fn(&mut Marker),
    ) -> RedisResult<Option<Marker>> {
        let found: Found<Marker> = self.marker.read(wire).await?;
        let Some(mut marker) = found.value.clone() else {
            return Ok(None);
        };
        change(&mut marker);
        let written = self.marker.replace(wire, &found, &marker).await?;
        Ok(written.then_some(marker).inspect(|marker| self.see(marker)))
    }

    fn see(&self, marker: &Marker) {
        let mut seen = self.seen.lock();
        *seen = (*seen).max(Some(marker.refreshed));
    }

    fn tell(&self, repair: Repair) {
        let what = repair.as_str();
        match repair {
            Repair::First => tracing::info!(what, "the generation marker is written"),
            Repair::Empty => tracing::info!(
                what,
                "the generation marker is written: JSON Web Tokens and delegated sessions count from later sign-ins on \
                 (`curfew migrate --new-store` before the first start says that nothing is lost)"
            ),
            _ => {
                self.losses.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    what,
                    "Redis has lost data: JSON Web Tokens and delegated sessions count from later sign-ins on"
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
            let what = "no random numbers";
            RedisError::from((ErrorKind::Client, what, error.to_string()))
        })?;
        let mut marker = Self {
            secret,
            refreshed: now,
            fresh_until: now,
            has_marks: false,
            history: History::default(),
        };
        marker.refresh(now, FRESH);
        Ok(marker)
    }

    /// The time of this process can be behind that of another, or be set back by an operator: the marker's goes forward only.
    fn refresh(&mut self, now: u64, fresh_for: Duration) {
        self.refreshed = self.refreshed.max(now);
        self.fresh_until = self.refreshed.saturating_add(millis(fresh_for));
    }

    /// Whether a running replica is to refresh it: from time to time, and at once after a stop.
    fn is_due(&self, now: u64) -> bool {
        let was_stopped = self.fresh_until > now.saturating_add(millis(FRESH + REFRESH));
        was_stopped || now >= self.refreshed.saturating_add(millis(REFRESH))
    }

    /// Notes that data was lost until now.
    fn lose(&mut self, now: u64) {
        let now = now.max(self.refreshed);
        self.history.note_loss(Timestamp::from_millis(now));
        self.has_marks = false;
        self.refresh(now, FRESH);
    }
}

/// Why the marker is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repair {
    First,
    Empty,
    Missing,
    Older,
    Stale,
    Shard,
}

impl Repair {
    /// What is to be done about the marker that was `found` by a process that has `seen` it refreshed at a time.
    fn of(found: Option<&Marker>, seen: Option<u64>, absence: Absence, now: u64) -> Option<Self> {
        match (found, seen) {
            (None, Some(_)) => Some(Self::Missing),
            (None, None) if absence == Absence::NoLoss => Some(Self::First),
            (None, None) => Some(Self::Empty),
            (Some(marker), Some(seen)) => {
                let older = marker.refreshed.saturating_add(millis(LAG)) < seen;
                older.then_some(Self::Older)
            }
            (Some(marker), None) => (now > marker.fresh_until).then_some(Self::Stale),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "the records are those of an older program, or the store is new",
            Self::Empty => "Redis is empty: it is new, or was emptied",
            Self::Missing => "the marker is gone",
            Self::Older => "the marker is older than before: an older copy was restored",
            Self::Stale => {
                "nobody has refreshed the marker, and no replica was stopped in the last hour: an older copy may have \
                 been restored"
            }
            Self::Shard => "the mark of a shard is gone, or older than before",
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn contended() -> RedisError {
    let what = "the generation marker is missing, or changes too fast";
    (ErrorKind::Client, what).into()
}
