//! Counts wrong credentials for each client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::session::Timestamp;

/// The number of wrong credentials that an address can present before it must wait.
const BURST: u32 = 10;
/// The time after which a waiting address can present one more credential.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(6);
/// The maximum number of addresses with a separate count. All other addresses share one count.
const MAX_ADDRESSES: usize = 10_000;

/// Limits wrong credentials for each IPv4 address and each IPv6 /64 network. Beyond the limit, Curfew does not ask
/// Kubernetes about credentials from the address, and writes no audit events.
#[derive(Debug, Default)]
pub struct WrongCredentialLimiter(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<Key, Timestamp>,
    /// The time when the shared count of all other addresses is zero again.
    shared_reset_time: Option<Timestamp>,
}

/// An IPv4 address or an IPv6 /64 network; `None` for a client with an unknown address.
type Key = Option<IpAddr>;

/// Returns the table key of an address.
fn key(address: Option<IpAddr>) -> Key {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    })
}

impl Table {
    /// Returns the time when the count of an address is zero again.
    fn reset_time(&self, key: &Key, now: Timestamp) -> Timestamp {
        let known = self.addresses.get(key).copied();
        let full = self.addresses.len() >= MAX_ADDRESSES;
        let known = known.or(self.shared_reset_time.filter(|_| full));
        known.unwrap_or(now).max(now)
    }
}

/// Returns how long an address must wait. `reset_at` is the time when the count of the address is zero again.
fn wait_time(reset_at: Timestamp, now: Timestamp) -> Option<Duration> {
    let pending = reset_at.since(now);
    let wait = pending.checked_sub(RECOVERY_INTERVAL * (BURST - 1))?;
    (!wait.is_zero()).then_some(wait)
}

impl WrongCredentialLimiter {
    /// Returns how long an address must wait before it can present another credential; `None` if it does not have to
    /// wait.
    #[must_use]
    pub fn retry_delay(&self, address: Option<IpAddr>, now: Timestamp) -> Option<Duration> {
        let table = self.0.lock();
        wait_time(table.reset_time(&key(address), now), now)
    }

    /// Counts a wrong credential. Returns whether the address must wait from now on.
    pub fn count(&self, address: Option<IpAddr>, now: Timestamp) -> bool {
        let key = key(address);
        let mut table = self.0.lock();
        if table.addresses.len() >= MAX_ADDRESSES && !table.addresses.contains_key(&key) {
            table.addresses.retain(|_, reset_at| *reset_at > now);
        }
        let reset_at = table.reset_time(&key, now).plus(RECOVERY_INTERVAL);
        if table.addresses.len() < MAX_ADDRESSES || table.addresses.contains_key(&key) {
            table.addresses.insert(key, reset_at);
        } else {
            table.shared_reset_time = Some(reset_at);
        }
        drop(table);
        wait_time(reset_at, now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_can_send_ten_wrong_credentials_then_one_every_six_seconds() {
        let limiter = WrongCredentialLimiter::default();
        let address = ip("203.0.113.7");
        for count in 1..=10 {
            assert_eq!(limiter.retry_delay(address, START), None, "{count}");
            assert_eq!(limiter.count(address, START), count == 10, "{count}");
        }
        assert_eq!(limiter.retry_delay(address, START), Some(RECOVERY_INTERVAL));
        assert_eq!(limiter.retry_delay(ip("203.0.113.8"), START), None);
        assert_eq!(limiter.retry_delay(None, START), None);
        assert_eq!(
            limiter.retry_delay(ip("::ffff:203.0.113.7"), START),
            Some(RECOVERY_INTERVAL)
        );
        let later = START.plus(RECOVERY_INTERVAL);
        assert_eq!(limiter.retry_delay(address, later), None);
        assert!(limiter.count(address, later));
        // Even if the clock goes back, an address waits less than a minute.
        let before = START.minus(Duration::from_secs(1));
        assert!(
            limiter
                .retry_delay(address, before)
                .is_some_and(|wait| wait < Duration::from_secs(60))
        );
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let limiter = WrongCredentialLimiter::default();
        for host in 0..10 {
            limiter.count(ip(&format!("2001:db8::{host}")), START);
        }
        assert!(limiter.retry_delay(ip("2001:db8::ffff:1"), START).is_some());
        assert_eq!(limiter.retry_delay(ip("2001:db8:0:1::1"), START), None);
    }

    #[test]
    fn the_table_is_bounded_and_an_address_in_it_keeps_its_own_count() {
        let limiter = WrongCredentialLimiter::default();
        let known_address = ip("203.0.113.7");
        limiter.count(known_address, START);
        for number in 0..3 * MAX_ADDRESSES as u32 {
            limiter.count(Some(IpAddr::V4(number.into())), START);
        }
        assert_eq!(limiter.0.lock().addresses.len(), MAX_ADDRESSES);
        assert_eq!(
            limiter.retry_delay(known_address, START),
            None,
            "other addresses must not make this address wait"
        );
        assert!(limiter.retry_delay(ip("198.51.100.1"), START).is_some());
        let later = START.plus(Duration::from_secs(60));
        limiter.count(ip("198.51.100.1"), later);
        assert!(
            limiter.0.lock().addresses.len() < 10,
            "counts that are zero again should be removed"
        );
    }
}
