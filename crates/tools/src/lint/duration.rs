use std::time::Duration;

/// Parses a duration in the syntax of NGINX, Go, Envoy or Ingress annotations: `60`, `60s`, `5m`, `168h0m0s`, `1.5s`. A
/// number without a unit means seconds.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim().trim_matches(['"', '\'']);
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(end);
        let stop = after.find(|it: char| it.is_ascii_digit() || it == '.');
        let (unit, after) = after.split_at(stop.unwrap_or(after.len()));
        let seconds = match unit.trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "M" => 2_592_000.0,
            "y" => 31_536_000.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_formats_of_every_proxy() {
        for (text, seconds) in [
            ("60", Some(60.0)),
            ("60s", Some(60.0)),
            ("1h30m", Some(5400.0)),
            ("168h0m0s", Some(604_800.0)),
            ("\"1.5s\"", Some(1.5)),
            ("500ms", Some(0.5)),
            ("1d", Some(86_400.0)),
            ("", None),
            ("soon", None),
            ("5 parsecs", None),
        ] {
            let parsed = parse(text).map(|it| it.as_secs_f64());
            assert_eq!(parsed, seconds, "{text}");
        }
    }
}
