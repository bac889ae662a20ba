//! Durations as Gateway API writes them (GEP-2257).

use std::time::Duration;

pub(crate) use curfew_core::duration::format_duration;

/// The longest limit: 400 days, the longest life of a cookie.
const MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// The text is not a duration, or the duration is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text has another form.
    #[error("must be one to four numbers with the units h, m, s or ms, such as 15m or 1h30m")]
    Form,
    /// The duration is zero or longer than the maximum.
    #[error("must be more than 0 and at most 9600h")]
    Bounds,
}

/// Parses a duration of GEP-2257: one to four pairs of a number with up to five digits and a unit.
///
/// # Errors
/// [`DurationError`] for another form, for zero, and for more than 400 days.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut pairs = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let unit = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(unit);
        let number: u64 = match digits {
            1..=5 => number.parse().map_err(|_| DurationError::Form)?,
            _ => return Err(DurationError::Form),
        };
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return Err(DurationError::Form),
        };
        rest = after;
        pairs += 1;
    }
    if !(1..=4).contains(&pairs) {
        return Err(DurationError::Form);
    }
    if total.is_zero() || total > MAX {
        return Err(DurationError::Bounds);
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_durations_of_gateway_api() {
        for (text, seconds) in [
            ("15m", 900.0),
            ("1h30m", 5400.0),
            ("90s", 90.0),
            ("500ms", 0.5),
            ("1h2m3s4ms", 3723.004),
            ("9600h", 34_560_000.0),
        ] {
            let parsed = parse_duration(text).unwrap();
            assert!((parsed.as_secs_f64() - seconds).abs() < 1e-9, "{text}");
        }
        for text in [
            "",
            "15",
            "m",
            "15 m",
            "-5m",
            "1.5h",
            "15M",
            "1d",
            "123456s",
            "1h1h1h1h1h",
            " 15m",
            "15m ",
            "1h;",
            "٣m",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::Form), "{text}");
        }
        for text in ["0s", "0h0m", "9601h", "99999h"] {
            assert_eq!(parse_duration(text), Err(DurationError::Bounds), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_is_read_back(millis in 1_u64..34_560_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_causes_a_panic(text in "\\PC{0,12}|[0-9hms]{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
