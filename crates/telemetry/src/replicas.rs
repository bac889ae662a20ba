use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::build;
use crate::clock::Stopwatch;
use crate::session::Timestamp;

/// A replica is removed from the list after this time without a message.
const LISTING_TTL: Duration = Duration::from_secs(15);
/// Maximum number of replicas in the list.
const MAX_REPLICAS: usize = 256;
/// Bytes of a name or a version.
const MAX_NAME_BYTES: usize = 255;

/// The description of a replica, which it publishes to the others that share its store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The name of the machine or pod, and the process ID.
    pub name: String,
    /// The version of Curfew.
    pub version: String,
    /// The time of its start by its own clock, RFC 3339.
    pub started: String,
    /// The record format that it reads; 0 for a program that does not publish it.
    #[serde(default)]
    pub records: u8,
    /// The position up to which it has read cut-offs and revocation rules; `None` for a version without rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<u64>,
}

impl Replica {
    /// The record format that this program reads.
    pub const RECORDS: u8 = 3;

    /// The description of this process.
    #[must_use]
    pub fn this(started: Timestamp) -> Self {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        Self {
            name: format!("{host}[{}]", std::process::id()),
            version: build::VERSION.to_owned(),
            started: started.to_string(),
            records: Self::RECORDS,
            revocations: None,
        }
    }
}

/// The replicas that have published a message lately.
#[derive(Debug)]
pub struct Replicas {
    this: Replica,
    heard: Mutex<BTreeMap<String, (Replica, Timestamp)>>,
    hearing: Mutex<Option<ChannelState>>,
}

/// The state of the channel.
#[derive(Clone, Copy, Debug)]
struct ChannelState {
    /// All messages arrive since then.
    since: Stopwatch,
    /// No older program has published a message since then.
    alone_since: Stopwatch,
}

/// Every replica publishes its description within this many seconds.
const MAX_ANNOUNCE_INTERVAL_SECONDS: f64 = 6.0;

impl Replicas {
    /// Creates the list with this process.
    #[must_use]
    pub const fn new(this: Replica) -> Self {
        Self {
            this,
            heard: Mutex::new(BTreeMap::new()),
            hearing: Mutex::new(None),
        }
    }

    /// The description of this process.
    pub const fn this(&self) -> &Replica {
        &self.this
    }

    /// From now on all messages of the channel arrive.
    pub fn listening(&self) {
        self.hearing.lock().get_or_insert_with(|| ChannelState {
            since: Stopwatch::start(),
            alone_since: Stopwatch::start(),
        });
    }

    /// From now on messages of the channel may be lost.
    pub fn missed(&self) {
        *self.hearing.lock() = None;
    }

    /// Seconds without a message of a program that cannot read this program's records. `None` while messages may be
    /// lost.
    #[must_use]
    pub fn seconds_since_incompatible_replica(&self) -> Option<f64> {
        let hearing = *self.hearing.lock();
        hearing.map(|hearing| hearing.alone_since.seconds())
    }

    /// Whether this process has listened long enough to know every running replica that can publish.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        let hearing = *self.hearing.lock();
        hearing.is_some_and(|hearing| hearing.since.seconds() >= MAX_ANNOUNCE_INTERVAL_SECONDS)
    }

    /// Adds or updates a replica after its message.
    pub fn hear(&self, replica: Replica, now: Timestamp) {
        if replica
            .name
            .len()
            .max(replica.version.len())
            .max(replica.started.len())
            > MAX_NAME_BYTES
        {
            return;
        }
        if replica.records < Replica::RECORDS
            && let Some(hearing) = &mut *self.hearing.lock()
        {
            hearing.alone_since = Stopwatch::start();
        }
        let mut heard = self.heard.lock();
        heard.retain(|_, (_, at)| now.since(*at) <= LISTING_TTL);
        if heard.len() < MAX_REPLICAS {
            heard.insert(replica.name.clone(), (replica, now));
        }
    }

    /// The names of replicas that cannot read this program's records.
    #[must_use]
    pub fn older(&self) -> Vec<String> {
        let all = self.all().into_iter();
        let older = all.filter(|replica| replica.records < Replica::RECORDS);
        older.map(|replica| replica.name).collect()
    }

    /// The replicas in the list by name, always with this process.
    #[must_use]
    pub fn all(&self) -> Vec<Replica> {
        let heard = self.heard.lock();
        let mut all: BTreeMap<_, _> = heard
            .iter()
            .map(|(name, (replica, _))| (name, replica))
            .collect();
        all.insert(&self.this.name, &self.this);
        all.into_values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    fn replica(name: &str) -> Replica {
        Replica {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            started: START.to_string(),
            records: Replica::RECORDS,
            revocations: None,
        }
    }

    #[test]
    fn a_silent_replica_is_not_listed() {
        let replicas = Replicas::new(replica("this"));
        let names = || {
            let all = replicas.all().into_iter();
            all.map(|replica| replica.name).collect::<Vec<_>>()
        };
        assert_eq!(names(), ["this"]);
        let at = |seconds| START.plus(Duration::from_secs(seconds));
        replicas.hear(replica("another"), at(0));
        replicas.hear(replica("this"), at(10));
        assert_eq!(names(), ["another", "this"]);
        replicas.hear(replica("this"), at(16));
        assert_eq!(names(), ["this"]);
        replicas.hear(replica(&"x".repeat(256)), at(16));
        for number in 0..1000 {
            replicas.hear(replica(&number.to_string()), at(17));
        }
        assert_eq!(names().len(), MAX_REPLICAS);
    }
}
