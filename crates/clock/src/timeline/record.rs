use serde::{Deserialize, Serialize};

/// What tells one boot of one machine from others.
pub type BootId = [u8; 8];

/// What replicas keep in the store to agree on the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineRecord {
    /// Decision time less the store's time, in microseconds; 0 while the store's clock is right.
    pub offset: i64,
    /// Decision time when the record was written, in milliseconds since the epoch.
    pub at: i64,
    /// Which replica wrote it: a random number.
    pub writer: u64,
    /// The boot of the machine that wrote it, and the boot time then, in milliseconds.
    pub boot: Option<(BootId, i64)>,
    /// How often an operator has set decision time to the store's.
    pub steps: u32,
    /// Whether the replica that wrote it reads a time from the store that differs from its own. Then the record says only
    /// that a replica runs, and its time.
    pub is_disputed: bool,
    /// The difference that an operator has accepted: the offset then, in milliseconds.
    pub accepted: Option<i64>,
}
