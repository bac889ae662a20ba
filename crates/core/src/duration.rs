//! Durations in the form of Gateway API (GEP-2257), such as `1h30m`.

use std::time::Duration;

/// Writes a duration in this form, without parts that are zero. Drops what is shorter than a millisecond.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_zero_are_left_out() {
        for (millis, text) in [
            (5_400_000, "1h30m"),
            (90_000, "1m30s"),
            (3_600_250, "1h250ms"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }
}
