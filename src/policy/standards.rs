//! Standards.
use std::time::Duration;
pub(super) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}
pub(super) const fn hours(hours: u64) -> Duration {
    minutes(60 * hours)
}
