use serde::{Deserialize, Serialize};

/// The ID of one boot of a machine. Every reboot gives a new ID.
pub type BootId = [u8; 8];

/// The record in the store with which replicas agree on decision time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineRecord {
    /// Decision time minus the store's time, in microseconds; 0 while the store's clock is right.
    pub offset: i64,
    /// Decision time when the record was written, in milliseconds since the epoch.
    pub at: i64,
    /// A random number that identifies the replica that wrote the record.
    pub writer: u64,
    /// The boot ID of the writer's machine, and its boot time when the record was written, in milliseconds.
    pub boot: Option<(BootId, i64)>,
    /// The number of times that an operator has set decision time to the store's time.
    pub steps: u32,
    /// Whether the writer's decision time disagrees with the sum of the store's time and `offset`. Such a record shows
    /// only that a replica runs, and that `at` was its decision time.
    pub is_disputed: bool,
    /// The difference between decision time and the store's time that an operator has accepted: the value of `offset`
    /// at that moment, but in milliseconds.
    pub accepted: Option<i64>,
}
