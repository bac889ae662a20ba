//! The deadline of a stream for Envoy: the header `grpc-timeout` of an allowed request.
//!
//! Envoy can limit the duration of a route's streams with this header (`max_stream_duration.grpc_timeout_header_max`),
//! also for WebSockets and event streams. So Envoy ends them at the absolute limit of their session.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the deadline.
pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most digits of a timeout (gRPC over HTTP/2, "Timeout").
const MAX_DIGITS: usize = 8;

/// Returns the smaller of the time left and the timeout that the client has set.
pub(super) fn stream_deadline(client: &HeaderMap, time_left: Duration) -> HeaderValue {
    let own = client.get(GRPC_TIMEOUT);
    let is_shorter = |own: &&HeaderValue| {
        let timeout = own.to_str().ok().and_then(parse_timeout);
        timeout.is_some_and(|timeout| timeout < time_left)
    };
    if let Some(own) = own.filter(is_shorter) {
        return own.clone();
    }
    // Rounded down, because a stream must not end late. Below one second, milliseconds are more exact.
    let text = match time_left.as_secs() {
        0 => format!("{}m", time_left.as_millis()),
        seconds => format!("{}S", seconds.min(99_999_999)),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("0S"))
}

/// Parses a timeout: at most eight digits and a unit; `None` if the text is not valid.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty()
        || digits.len() > MAX_DIGITS
        || !digits.bytes().all(|it| it.is_ascii_digit())
    {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_timeout_is_sent() {
        let hour = Duration::from_secs(3600);
        for (own, time_left, expected) in [
            (None, hour, "3600S"),
            (None, Duration::from_millis(3999), "3S"),
            (None, Duration::from_millis(999), "999m"),
            (None, Duration::ZERO, "0m"),
            (None, Duration::from_secs(1_000_000_000), "99999999S"),
            (Some("30S"), hour, "30S"),
            (Some("1H"), hour, "3600S"),
            (Some("2H"), hour, "3600S"),
            (Some("59M"), hour, "59M"),
            (Some("100m"), hour, "100m"),
            (Some("100u"), hour, "100u"),
            (Some("100n"), hour, "100n"),
            // Not valid, so the application would ignore them.
            (Some("1"), hour, "3600S"),
            (Some("S"), hour, "3600S"),
            (Some(""), hour, "3600S"),
            (Some("-1S"), hour, "3600S"),
            (Some("123456789S"), hour, "3600S"),
            (Some("1x"), hour, "3600S"),
            (Some("1é"), hour, "3600S"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(own) = own {
                headers.insert(
                    GRPC_TIMEOUT,
                    HeaderValue::from_bytes(own.as_bytes()).unwrap(),
                );
            }
            assert_eq!(stream_deadline(&headers, time_left), expected, "{own:?}");
        }
    }
}
