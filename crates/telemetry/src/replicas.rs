use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::build;
use crate::clock::Stopwatch;
use crate::session::Timestamp;

/// How long a replica is listed that says nothing any more.
const SILENCE: Duration = Duration::from_secs(15);
/// How many are listed.
const MAX_REPLICAS: usize = 256;
/// Bytes of a name or a version, at the most.
const LENGTH: usize = 255;

/// A process of Curfew, as it introduces itself to the others that share its store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The machine or pod, and the number of the process there.
    pub name: String,
    /// Which Curfew it is.
    pub version: String,
    /// When it started, RFC 3339, by its own clock.
    pub started: String,
    /// The version of records that it reads; 0 for a program that does not say it.
    #[serde(default)]
    pub records: u8,
    /// How far it has read the cut-offs and revocation rules; `None` for a version that does not know rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<u64>,
}

impl Replica {
    /// The version of records that this program reads.
    pub const RECORDS: u8 = 3;

    /// This process.
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

/// The processes that are heard of.
#[derive(Debug)]
pub struct Replicas {
    this: Replica,
    heard: Mutex<BTreeMap<String, (Replica, Timestamp)>>,
    hearing: Mutex<Option<Hearing>>,
}

/// What is heard on the channel.
#[derive(Clone, Copy, Debug)]
struct Hearing {
    /// Since when everything on it is heard.
    since: Stopwatch,
    /// Since when no older program was.
    alone_since: Stopwatch,
}

/// Every replica tells of itself within this many seconds.
const INTRODUCED_SECONDS: f64 = 6.0;

impl Replicas {
    /// As this process sees them.
    #[must_use]
    pub const fn new(this: Replica) -> Self {
        Self {
            this,
            heard: Mutex::new(BTreeMap::new()),
            hearing: Mutex::new(None),
        }
    }

    /// This process.
    pub const fn this(&self) -> &Replica {
        &self.this
    }

    /// Everything on the channel is heard from now on.
    pub fn listening(&self) {
        self.hearing.lock().get_or_insert_with(|| Hearing {
            since: Stopwatch::start(),
            alone_since: Stopwatch::start(),
        });
    }

    /// Something on the channel may be missed.
    pub fn missed(&self) {
        *self.hearing.lock() = None;
    }

    /// For how many seconds no program was heard of that does not read the records that this one writes; `None` while the
    /// channel is not heard.
    #[must_use]
    pub fn alone_for(&self) -> Option<f64> {
        let hearing = *self.hearing.lock();
        hearing.map(|hearing| hearing.alone_since.seconds())
    }

    /// Whether this process has listened for long enough to know every replica that runs and can be heard.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        let hearing = *self.hearing.lock();
        hearing.is_some_and(|hearing| hearing.since.seconds() >= INTRODUCED_SECONDS)
    }

    /// One has introduced itself.
    pub fn hear(&self, replica: Replica, now: Timestamp) {
        if replica
            .name
            .len()
            .max(replica.version.len())
            .max(replica.started.len())
            > LENGTH
        {
            return;
        }
        if replica.records < Replica::RECORDS
            && let Some(hearing) = &mut *self.hearing.lock()
        {
            hearing.alone_since = Stopwatch::start();
        }
        let mut heard = self.heard.lock();
        heard.retain(|_, (_, at)| now.since(*at) <= SILENCE);
        if heard.len() < MAX_REPLICAS {
            heard.insert(replica.name.clone(), (replica, now));
        }
    }

    /// The names of those that do not read the records that this program writes.
    #[must_use]
    pub fn older(&self) -> Vec<String> {
        let all = self.all().into_iter();
        let older = all.filter(|replica| replica.records < Replica::RECORDS);
        older.map(|replica| replica.name).collect()
    }

    /// Those that were heard of lately, by name; this process among them in any case.
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
    fn who_is_silent_is_not_listed() {
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
