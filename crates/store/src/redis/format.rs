//! Which version of records is written, and which are read, while programs of two versions run.

use std::sync::atomic::{AtomicBool, Ordering};

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As the program before this one reads it.
    Plain,
    /// Encrypted.
    Sealed,
}

/// What this process knows of the upgrade. It only moves forward: whatever anybody writes into Redis later, a process
/// that has seen the upgrade finished takes no record that is not encrypted.
#[derive(Debug)]
pub(super) struct Upgrade {
    writes_sealed: AtomicBool,
    accepts_plain: AtomicBool,
}

impl Upgrade {
    /// Before Redis was asked. `sealed_only`: the operator says that the upgrade is finished.
    pub(super) const fn new(sealed_only: bool) -> Self {
        Self {
            writes_sealed: AtomicBool::new(sealed_only),
            accepts_plain: AtomicBool::new(!sealed_only),
        }
    }

    pub(super) fn format(&self) -> Format {
        if self.writes_sealed.load(Ordering::Relaxed) {
            Format::Sealed
        } else {
            Format::Plain
        }
    }

    pub(super) fn accepts_plain(&self) -> bool {
        self.accepts_plain.load(Ordering::Relaxed)
    }

    /// All replicas read encrypted records.
    pub(super) fn begin(&self) {
        self.writes_sealed.store(true, Ordering::Relaxed);
    }

    /// All records are encrypted.
    pub(super) fn finish(&self) {
        self.begin();
        self.accepts_plain.store(false, Ordering::Relaxed);
    }
}
