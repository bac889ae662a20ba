use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};

use super::{BootId, Clock};
use crate::session::Timestamp;

/// The boot-time clock (`CLOCK_BOOTTIME` on Linux): milliseconds since the machine booted. Changes to the system time
/// do not move it. Unlike [`std::time::Instant`], it also advances while the machine is suspended.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

/// The monotonic clock, for systems without `CLOCK_BOOTTIME`. On macOS, it also advances during suspend.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK_ID: ClockId = ClockId::Monotonic;
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK_ID: ClockId = ClockId::Boottime;

impl Clock for BootClock {
    fn now(&self) -> Timestamp {
        let time = clock_gettime(CLOCK_ID);
        let millis = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
        Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl BootClock {
    /// The ID of this boot of this machine; `None` if the system does not provide an ID. A time namespace
    /// (`time_namespaces(7)`) has its own boot-time clock, so each time namespace counts as a separate machine.
    #[must_use]
    pub fn boot_id() -> Option<BootId> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/time").ok();
        let mut hash = Sha256::new();
        hash.update(b"curfew boot 1\0");
        hash.update(boot.trim());
        hash.update(
            namespace.map_or_else(Vec::new, |path| path.into_os_string().into_encoded_bytes()),
        );
        hash.finalize().first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_advances_and_the_boot_id_is_stable() {
        let before = BootClock.now();
        assert!(before > Timestamp::default());
        assert!(BootClock.now() >= before);
        assert_eq!(BootClock::boot_id(), BootClock::boot_id());
    }
}
