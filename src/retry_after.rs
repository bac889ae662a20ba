//! When a client may try again.

use std::time::Duration;

use http::HeaderValue;

/// The shortest and the longest wait, in seconds.
const WAIT_SECONDS: (u8, u8) = (1, 5);

/// Returns the value of `Retry-After` for a temporary failure: a random number of seconds (RFC 9110, section 10.2.3). With
/// the same number for all clients, the clients that one failure has disconnected would all return at the same time.
#[must_use]
pub fn retry_after() -> HeaderValue {
    let (min, max) = WAIT_SECONDS;
    HeaderValue::from(u16::from(min + random_byte() % (max - min + 1)))
}

/// Returns a random time until an event stream connects again, in the same range, in steps of about 16 milliseconds.
#[must_use]
pub fn reconnection_time() -> Duration {
    let (min, max) = WAIT_SECONDS;
    let range = Duration::from_secs(u64::from(max - min));
    Duration::from_secs(u64::from(min)) + range * u32::from(random_byte()) / u32::from(u8::MAX)
}

/// Whether a header has a value of [`retry_after`].
#[cfg(test)]
pub(crate) fn is_retry_after(value: &HeaderValue) -> bool {
    let seconds = value.to_str().ok().and_then(|it| it.parse().ok());
    let (min, max) = WAIT_SECONDS;
    seconds.is_some_and(|seconds: u8| (min..=max).contains(&seconds))
}

fn random_byte() -> u8 {
    let mut byte = [0; 1];
    // Without random numbers, all clients wait for the shortest time.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn clients_return_at_different_times() {
        let seconds: BTreeSet<u64> = (0..300)
            .map(|_| retry_after().to_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(seconds, (1..=5).collect());
        let times: BTreeSet<Duration> = (0..300).map(|_| reconnection_time()).collect();
        assert!(times.len() > 50, "{times:?}");
        assert!(times.iter().all(|it| (1..=5).contains(&it.as_secs())));
    }
}
