use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::build;
use crate::clock::Stopwatch;
use crate::session::Timestamp;

/// If no message of a replica arrives for this time, the replica is removed from the list.
const LISTING_TTL: Duration = Duration::from_secs(15);
/// Maximum number of replicas in the list.
const MAX_REPLICAS: usize = 256;
/// Maximum bytes of a name or a version.
const MAX_NAME_BYTES: usize = 255;

/// The description of a replica. Each replica publishes its description to the other replicas of the same store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The name of the machine or pod, and the process ID.
    pub name: String,
    /// The version of Curfew.
    pub version: String,
    /// The start time of the replica according to its own clock (RFC 3339).
    pub started: String,
    /// The newest record format that the replica reads; 0 if the replica does not publish it.
    #[serde(default)]
    pub records: u8,
    /// The sequence number of the latest change of cut-offs and emergency revocations that the replica has read. (A
    /// cut-off is a time for one subject: all its sessions that started before this time have ended.) `None` for a
    /// version of Curfew without emergency revocations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<u64>,
}

impl Replica {
    /// The newest record format that this program reads.
    pub const RECORDS: u8 = 3;

    /// Returns the description of this process.
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

/// This replica, and the other replicas whose messages have arrived in the last seconds.
#[derive(Debug)]
pub struct Replicas {
    this: Replica,
    last_messages: Mutex<BTreeMap<String, (Replica, Timestamp)>>,
    channel: Mutex<Option<ChannelState>>,
}

/// Two stopwatches. They show whether this process knows every running replica, and whether all of them can read its
/// records.
#[derive(Clone, Copy, Debug)]
struct ChannelState {
    /// Started when this process began to receive all messages of other replicas.
    complete_since: Stopwatch,
    /// Started again by each message of a replica with an older record format.
    compatible_since: Stopwatch,
}

/// The longest time between two messages of a replica, in seconds.
const MAX_ANNOUNCE_INTERVAL_SECONDS: f64 = 6.0;

impl Replicas {
    /// Creates a list that contains only this process.
    #[must_use]
    pub const fn new(this: Replica) -> Self {
        Self {
            this,
            last_messages: Mutex::new(BTreeMap::new()),
            channel: Mutex::new(None),
        }
    }

    /// Returns the description of this process.
    pub const fn this(&self) -> &Replica {
        &self.this
    }

    /// Records that this process receives all messages of other replicas from now on.
    pub fn mark_channel_complete(&self) {
        self.channel.lock().get_or_insert_with(|| ChannelState {
            complete_since: Stopwatch::start(),
            compatible_since: Stopwatch::start(),
        });
    }

    /// Records that messages of other replicas may be lost from now on.
    pub fn mark_channel_incomplete(&self) {
        *self.channel.lock() = None;
    }

    /// Returns the seconds since the last message of a replica that cannot read this program's records. If there was no
    /// such message, the time counts from the moment when this process began to receive all messages. Returns `None`
    /// while messages may be lost.
    #[must_use]
    pub fn seconds_since_incompatible_replica(&self) -> Option<f64> {
        let channel = *self.channel.lock();
        channel.map(|channel| channel.compatible_since.seconds())
    }

    /// Returns whether this process has received all messages for long enough to know every running replica that can
    /// publish.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        let channel = *self.channel.lock();
        channel.is_some_and(|channel| {
            channel.complete_since.seconds() >= MAX_ANNOUNCE_INTERVAL_SECONDS
        })
    }

    /// Adds or updates the replica that published a message.
    pub fn record_message(&self, replica: Replica, now: Timestamp) {
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
            && let Some(channel) = &mut *self.channel.lock()
        {
            channel.compatible_since = Stopwatch::start();
        }
        let mut last_messages = self.last_messages.lock();
        last_messages.retain(|_, (_, at)| now.since(*at) <= LISTING_TTL);
        if last_messages.len() < MAX_REPLICAS {
            last_messages.insert(replica.name.clone(), (replica, now));
        }
    }

    /// Returns the names of replicas that cannot read this program's records.
    #[must_use]
    pub fn incompatible_names(&self) -> Vec<String> {
        let all = self.all().into_iter();
        let older = all.filter(|replica| replica.records < Replica::RECORDS);
        older.map(|replica| replica.name).collect()
    }

    /// Returns the replicas in the list and this process, sorted by name.
    #[must_use]
    pub fn all(&self) -> Vec<Replica> {
        let last_messages = self.last_messages.lock();
        let mut all: BTreeMap<_, _> = last_messages
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
        replicas.record_message(replica("another"), at(0));
        replicas.record_message(replica("this"), at(10));
        assert_eq!(names(), ["another", "this"]);
        replicas.record_message(replica("this"), at(16));
        assert_eq!(names(), ["this"]);
        replicas.record_message(replica(&"x".repeat(256)), at(16));
        for number in 0..1000 {
            replicas.record_message(replica(&number.to_string()), at(17));
        }
        assert_eq!(names().len(), MAX_REPLICAS);
    }
}
