use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::session::Timestamp;
use crate::telemetry::Throttle;

const MINUTE: Duration = Duration::from_secs(60);
/// Front-channel logouts in a minute, from all addresses.
const MAX_IN_ALL: usize = 600;
/// Front-channel logouts in a minute from one IPv4 address, or from one IPv6 network of 64 bits.
const MAX_PER_ADDRESS: usize = 60;

/// Bounds the front-channel logouts of this process. Anybody can send one, and each leaves a cut-off in the store.
pub(super) struct FrontLimit {
    window: Mutex<Window>,
    /// Bounds the log lines about refusals.
    pub(super) refusals: Throttle<()>,
}

impl Default for FrontLimit {
    fn default() -> Self {
        Self {
            window: Mutex::default(),
            refusals: Throttle::new(MINUTE),
        }
    }
}

#[derive(Default)]
struct Window {
    begun: Timestamp,
    taken: usize,
    /// No more than `taken`, so it is bounded, too.
    by_address: HashMap<IpAddr, usize>,
}

/// Why a front-channel logout is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrontChannelLimit {
    /// The address has sent too many.
    Address,
    /// All addresses together have sent too many.
    All,
}

impl FrontLimit {
    /// Counts one from `address`, where that is known.
    pub(super) fn take(
        &self,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), FrontChannelLimit> {
        let mut window = self.window.lock();
        if now >= window.begun.plus(MINUTE) {
            *window = Window {
                begun: now,
                ..Window::default()
            };
        }
        if window.taken >= MAX_IN_ALL {
            return Err(FrontChannelLimit::All);
        }
        if let Some(address) = address {
            let count = window.by_address.entry(network(address)).or_default();
            if *count >= MAX_PER_ADDRESS {
                return Err(FrontChannelLimit::Address);
            }
            *count += 1;
        }
        window.taken += 1;
        Ok(())
    }
}

/// One client has as many IPv6 addresses as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn one_address_cannot_take_the_share_of_all() {
        let limit = FrontLimit::default();
        for host in 0..MAX_PER_ADDRESS {
            let own = address(&format!("2001:db8::{host:x}"));
            assert_eq!(limit.take(own, START), Ok(()));
        }
        let own = address("2001:db8::ffff:1");
        assert_eq!(limit.take(own, START), Err(FrontChannelLimit::Address));
        assert_eq!(limit.take(address("2001:db8:0:1::1"), START), Ok(()));
        let mut taken = MAX_PER_ADDRESS + 1;
        for host in 0.. {
            let other = address(&format!("203.0.{}.{}", host / 250, host % 250));
            if limit.take(other, START) == Err(FrontChannelLimit::All) {
                break;
            }
            taken += 1;
        }
        assert_eq!(taken, MAX_IN_ALL);
        let late = START.plus(MINUTE);
        assert_eq!(limit.take(own, late), Ok(()));
        assert!(limit.window.lock().by_address.len() <= MAX_IN_ALL);
    }
}
