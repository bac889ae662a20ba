//! Durations: those of Authelia and oauth2-proxy, and the form of Gateway API in the output.

use std::time::Duration;

pub(super) use curfew_core::duration::format_duration as format;

/// The longest limit that a SessionPolicy accepts: 9600 hours.
pub(super) const MAX_LIMIT: Duration = Duration::from_secs(9600 * 3600);

const SECOND: u128 = 1_000_000_000;
const DAY: u128 = 86_400 * SECOND;

/// Parses a duration of Authelia: a number of seconds, or numbers with units, such as `5m`, `1M` or `5 minutes and 30
/// seconds`. A month has 30 days, and a year has 365 days, as in Authelia.
pub(super) fn parse_authelia(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut rest = text.replace("and", "").replace(' ', "");
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u128 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|it: char| it.is_ascii_digit());
        let (unit, after) = after.split_at(unit.unwrap_or(after.len()));
        total = total.checked_add(number.checked_mul(authelia_unit(unit)?)?)?;
        rest = after.to_owned();
    }
    let nanoseconds = u64::try_from(total).ok()?;
    (!text.is_empty()).then_some(Duration::from_nanos(nanoseconds))
}

/// Returns the nanoseconds of a unit.
fn authelia_unit(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1000,
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "second" | "seconds" => SECOND,
        "m" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hour" | "hours" => 3600 * SECOND,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "M" | "month" | "months" => 30 * DAY,
        "y" | "year" | "years" => 365 * DAY,
        _ => return None,
    })
}

/// Parses a duration of Go, such as `168h0m0s`, `1.5h` or `0`.
pub(super) fn parse_go(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let is_number = |it: char| it.is_ascii_digit() || it == '.';
        let end = rest.find(|it| !is_number(it))?;
        let (number, after) = rest.split_at(end);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// Parses a limit of the command line, such as `15m` or `1h30m`.
///
/// # Errors
/// A text for the user if the limit is not a duration, or if a SessionPolicy does not accept it.
pub fn parse_limit(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(1) || duration > MAX_LIMIT {
        return Err("must be more than 0 and at most 9600h".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use curfew_kubernetes::parse_duration;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_durations_of_authelia() {
        for (text, seconds) in [
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("1M", Some(30 * 86_400)),
            ("1y", Some(365 * 86_400)),
            ("2w", Some(14 * 86_400)),
            ("5 minutes", Some(300)),
            ("1 hour and 30 minutes", Some(5400)),
            ("1h30m", Some(5400)),
            ("3600", Some(3600)),
            ("0", Some(0)),
            ("-1", None),
            ("", None),
            ("m", None),
            ("5 parsecs", None),
            ("{{ env \"X\" }}", None),
            ("99999999999999999999999999999999999999999y", None),
            ("9999999999y", None),
        ] {
            let parsed = parse_authelia(text).map(|it| it.as_secs());
            assert_eq!(parsed, seconds, "{text}");
        }
    }

    #[test]
    fn parses_durations_of_go() {
        for (text, seconds) in [
            ("168h0m0s", Some(604_800.0)),
            ("1.5h", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("0", Some(0.0)),
            ("0s", Some(0.0)),
            ("7d", None),
            ("3600", None),
            ("", None),
            ("-1h", None),
            ("1..5h", None),
            ("9e99h", None),
        ] {
            let parsed = parse_go(text).map(|it| it.as_secs_f64());
            assert_eq!(parsed, seconds, "{text}");
        }
    }

    #[test]
    fn rejects_limits_that_a_session_policy_rejects() {
        assert_eq!(parse_limit("1h30m"), Ok(Duration::from_secs(5400)));
        for text in ["0s", "0", "9601h", "5 parsecs", ""] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_output_is_a_duration_of_gateway_api(millis in 1_u64..=34_560_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_causes_a_panic(text in "\\PC{0,12}|[0-9hmsyM. ]{0,30}") {
            let _ = (parse_authelia(&text), parse_go(&text));
        }
    }
}
