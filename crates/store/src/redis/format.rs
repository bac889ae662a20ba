//! Which record formats Curfew writes and reads during an upgrade, while programs of two versions run.

use std::sync::atomic::{AtomicBool, Ordering};

/// The format of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Not encrypted; the previous version of Curfew can read it.
    Plain,
    /// Encrypted.
    Sealed,
}

/// The stage of the upgrade, as this process has seen it. The stage never moves back. After a process has seen the end
/// of the upgrade, it rejects every record that is not encrypted.
#[derive(Debug)]
pub(super) struct Upgrade {
    writes_sealed: AtomicBool,
    accepts_plain: AtomicBool,
}

impl Upgrade {
    /// Creates the state of a process that has not asked Redis yet. `sealed_only` means that the operator declared
    /// the upgrade finished.
    pub(super) const fn new(sealed_only: bool) -> Self {
        Self {
            writes_sealed: AtomicBool::new(sealed_only),
            accepts_plain: AtomicBool::new(!sealed_only),
        }
    }

    /// The format in which this process writes records.
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

    /// From now on, this process writes only encrypted records, because all replicas can read them.
    pub(super) fn begin(&self) {
        self.writes_sealed.store(true, Ordering::Relaxed);
    }

    /// From now on, this process also rejects plain records, because all records are encrypted.
    pub(super) fn finish(&self) {
        self.begin();
        self.accepts_plain.store(false, Ordering::Relaxed);
    }
}
