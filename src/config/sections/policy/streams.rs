use std::time::Duration;

use super::RawPolicy;
use crate::config::mistakes::{Mistakes, Valid};
use crate::config::text::OneOrMany;
use crate::policy::{Heartbeats, StreamActivity, StreamSettings};

/// The shortest and the longest `stream_grace`. A shorter grace would disconnect everybody whenever Redis elects
/// another primary.
const GRACE_RANGE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5 * 60));

/// Parses the settings for open streams. Writes the defaults into `raw`.
pub(super) fn parse_streams(
    key: &str,
    raw: &mut RawPolicy,
    mistakes: &mut Mistakes,
) -> Valid<StreamSettings> {
    let default = StreamSettings::default();
    let word = raw
        .stream_activity
        .get_or_insert_with(|| default.activity.as_str().to_owned());
    let activity = parse_stream_activity(&format!("{key}.stream_activity"), word, mistakes);
    let grace = raw
        .stream_grace
        .get_or_insert_with(|| super::format_limit(default.grace));
    let (min, max) = GRACE_RANGE;
    let grace = mistakes.parse_duration(&format!("{key}.stream_grace"), grace, min, max);
    let heartbeats_key = format!("{key}.stream_heartbeats");
    let heartbeats = parse_heartbeats(&heartbeats_key, &raw.stream_heartbeats, mistakes);
    if activity == Ok(StreamActivity::Off) {
        reject_heartbeats(heartbeats_key, &raw.stream_heartbeats, mistakes);
    }
    Ok(StreamSettings {
        activity: activity?,
        heartbeats: heartbeats?,
        grace: grace?,
        end_event: *raw.stream_end_event.get_or_insert(default.end_event),
    })
}

/// Parses `stream_activity` of a policy or a rule.
pub(in crate::config::sections) fn parse_stream_activity(
    key: &str,
    word: &str,
    mistakes: &mut Mistakes,
) -> Valid<StreamActivity> {
    let activity = StreamActivity::from_name(word);
    mistakes.record_error(key, activity.ok_or("must be `off` or `client_data`"))
}

/// Parses `stream_heartbeats` of a policy or a rule.
pub(in crate::config::sections) fn parse_heartbeats(
    key: &str,
    items: &OneOrMany,
    mistakes: &mut Mistakes,
) -> Valid<Heartbeats> {
    let heartbeats = Heartbeats::parse(items.0.iter().map(String::as_str));
    mistakes.record_error(key, heartbeats.map_err(|error| error.to_string()))
}

/// Reports that a list of heartbeats has no effect without `stream_activity`.
pub(in crate::config::sections) fn reject_heartbeats(
    key: String,
    items: &OneOrMany,
    mistakes: &mut Mistakes,
) {
    if !items.is_empty() {
        let problem = "has no effect where stream_activity is off: nothing inside a stream counts";
        mistakes.add(key, problem);
    }
}
