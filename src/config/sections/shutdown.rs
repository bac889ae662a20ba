use std::time::Duration;

use super::RawConfig;
use crate::config::mistakes::{HOUR, Mistakes, Valid};

pub(in crate::config) fn delay(raw: &RawConfig, mistakes: &mut Mistakes) -> Valid<Duration> {
    let text = &raw.shutdown_delay;
    mistakes.duration("shutdown_delay", text, Duration::ZERO, HOUR)
}

pub(in crate::config) fn timeout(raw: &RawConfig, mistakes: &mut Mistakes) -> Valid<Duration> {
    let text = &raw.shutdown_timeout;
    mistakes.duration("shutdown_timeout", text, Duration::ZERO, HOUR)
}
