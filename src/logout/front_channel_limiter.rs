use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::session::Timestamp;
use crate::telemetry::Throttle;

const MINUTE: Duration = Duration::from_secs(60);
/// The maximum number of front-channel logouts per minute from all addresses.
const MAX_PER_MINUTE: usize = 600;
/// The maximum number of front-channel logouts per minute from one IPv4 address or IPv6 /64 network.
const MAX_PER_ADDRESS: usize = 60;

/// Limits the front-channel logouts of this process, because anybody can send such a logout, and each logout adds a
/// cut-off to the store. (Sessions that started before their cut-off have ended.)
pub(super) struct FrontChannelLimiter {
    window: Mutex<Window>,
    /// Limits the log lines about rejected logouts.
    pub(super) log_throttle: Throttle<()>,
}

impl Default for FrontChannelLimiter {
    fn default() -> Self {
        Self {
            window: Mutex::default(),
            log_throttle: Throttle::new(MINUTE),
        }
    }
}

#[derive(Default)]
struct Window {
    started: Timestamp,
    count: usize,
    /// The number of logouts from each address. The map never has more entries than `count`.
    by_address: HashMap<IpAddr, usize>,
}

/// The limit that a rejected front-channel logout has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReachedLimit {
    /// The limit of one address.
    Address,
    /// The limit of all addresses together.
    All,
}

impl FrontChannelLimiter {
    /// Counts a logout from `address`, if the address is known. If a limit is reached, returns the limit and does not
    /// count the logout.
    pub(super) fn try_count(
        &self,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), ReachedLimit> {
        let mut window = self.window.lock();
        if now >= window.started.plus(MINUTE) {
            *window = Window {
                started: now,
                ..Window::default()
            };
        }
        if window.count >= MAX_PER_MINUTE {
            return Err(ReachedLimit::All);
        }
        if let Some(address) = address {
            let by_address = window.by_address.entry(network(address)).or_default();
            if *by_address >= MAX_PER_ADDRESS {
                return Err(ReachedLimit::Address);
            }
            *by_address += 1;
        }
        window.count += 1;
        Ok(())
    }
}

/// Returns the /64 network of an IPv6 address, because one client can use all addresses of a network. Returns an IPv4
/// address unchanged.
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
    fn one_address_cannot_use_up_the_total_limit() {
        let limit = FrontChannelLimiter::default();
        for host in 0..MAX_PER_ADDRESS {
            let same_network = address(&format!("2001:db8::{host:x}"));
            assert_eq!(limit.try_count(same_network, START), Ok(()));
        }
        let same_network = address("2001:db8::ffff:1");
        assert_eq!(
            limit.try_count(same_network, START),
            Err(ReachedLimit::Address)
        );
        assert_eq!(limit.try_count(address("2001:db8:0:1::1"), START), Ok(()));
        let mut accepted = MAX_PER_ADDRESS + 1;
        for host in 0.. {
            let other = address(&format!("203.0.{}.{}", host / 250, host % 250));
            if limit.try_count(other, START) == Err(ReachedLimit::All) {
                break;
            }
            accepted += 1;
        }
        assert_eq!(accepted, MAX_PER_MINUTE);
        let late = START.plus(MINUTE);
        assert_eq!(limit.try_count(same_network, late), Ok(()));
        assert!(limit.window.lock().by_address.len() <= MAX_PER_MINUTE);
    }
}
