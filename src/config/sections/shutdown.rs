use std::time::Duration;

use super::RawConfig;
use crate::config::mistakes::{HOUR, Mistakes, Valid};

pub(in crate::config) fn parse_delay(raw: &RawConfig, mistakes: &mut Mistakes) -> Valid<Duration> {
    let text = &raw.shutdown_delay;
    mistakes.parse_duration("shutdown_delay", text, Duration::ZERO, HOUR)
}

pub(in crate::config) fn parse_timeout(
    raw: &RawConfig,
    mistakes: &mut Mistakes,
) -> Valid<Duration> {
    let text = &raw.shutdown_timeout;
    mistakes.parse_duration("shutdown_timeout", text, Duration::ZERO, HOUR)
}

/// Returns the keys that have changed since `before`. A running process keeps the values from its start.
pub(super) fn changed_for_restart(now: &RawConfig, before: &RawConfig) -> Vec<&'static str> {
    let delay = now.shutdown_delay != before.shutdown_delay;
    let timeout = now.shutdown_timeout != before.shutdown_timeout;
    let delay = delay.then_some("shutdown_delay");
    let timeout = timeout.then_some("shutdown_timeout");
    delay.into_iter().chain(timeout).collect()
}
