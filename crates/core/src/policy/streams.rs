use std::time::Duration;

use super::heartbeats::Heartbeats;

/// How a policy treats open streams: connections that outlive their request, such as WebSockets and event streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Whether data that the client sends inside an open stream counts as activity.
    pub activity: StreamActivity,
    /// The messages of a WebSocket that never count as activity.
    pub heartbeats: Heartbeats,
    /// How long a stream stays open while Curfew cannot learn whether its session has ended.
    pub grace: Duration,
    /// Whether the last event of an event stream tells the client why the stream ends.
    pub end_event: bool,
}

/// Whether data that the client sends inside an open stream counts as activity. The lesser value is the stricter one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamActivity {
    /// Nothing inside a stream counts.
    #[default]
    Off,
    /// Data from the client counts, but never a ping or a pong of a WebSocket.
    ClientData,
}

impl StreamSettings {
    /// The default of [`Self::grace`].
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

    /// The settings for a stream to which both settings apply: the stricter activity, the heartbeats of both, the
    /// shorter grace, and an end event if one of them sends it.
    #[must_use]
    pub fn strictest(self, other: &Self) -> Self {
        Self {
            activity: self.activity.min(other.activity),
            heartbeats: self.heartbeats.union(&other.heartbeats),
            grace: self.grace.min(other.grace),
            end_event: self.end_event || other.end_event,
        }
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            activity: StreamActivity::Off,
            heartbeats: Heartbeats::default(),
            grace: Self::DEFAULT_GRACE,
            end_event: false,
        }
    }
}

impl StreamActivity {
    /// The word for this setting in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::ClientData => "client_data",
        }
    }

    /// The setting for a word of the configuration; `None` for any other word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Off, Self::ClientData]
            .into_iter()
            .find(|setting| setting.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_settings() -> impl Strategy<Value = StreamSettings> {
        let activity = prop_oneof![Just(StreamActivity::Off), Just(StreamActivity::ClientData)];
        let presets = proptest::sample::subsequence(vec!["mqtt", "phoenix", "/a+/"], 0..=3);
        let settings = (activity, presets, 2_u64..300, any::<bool>());
        settings.prop_map(|(activity, presets, seconds, end_event)| StreamSettings {
            activity,
            heartbeats: Heartbeats::parse(presets).unwrap(),
            grace: Duration::from_secs(seconds),
            end_event,
        })
    }

    proptest! {
        /// The order of the policies has no effect, and a further policy never loosens a setting.
        #[test]
        fn what_is_added_tightens(a in any_settings(), b in any_settings(), c in any_settings()) {
            let both = a.clone().strictest(&b);
            prop_assert_eq!(&both, &b.clone().strictest(&a));
            prop_assert_eq!(both.clone().strictest(&c), a.clone().strictest(&b.strictest(&c)));
            prop_assert!(both.activity <= a.activity && both.grace <= a.grace);
            for message in [&b"\xc0\0"[..], b"[null,\"4\",\"phoenix\",\"heartbeat\",{}]", b"aa", b"b"] {
                prop_assert!(!a.heartbeats.matches(message) || both.heartbeats.matches(message));
            }
        }
    }

    #[test]
    fn the_words_of_the_configuration_are_read_back() {
        for setting in [StreamActivity::Off, StreamActivity::ClientData] {
            assert_eq!(StreamActivity::from_name(setting.as_str()), Some(setting));
        }
        assert_eq!(StreamActivity::from_name("on"), None);
    }
}
