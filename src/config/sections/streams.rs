use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::mistakes::{Mistakes, Valid};
use crate::config::section::Section;
use crate::streams::StreamLimits;

/// Limits on open streams: WebSockets, event streams and other requests that Curfew forwards itself.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawStreams {
    /// The maximum number of open streams of this replica.
    pub max_open: usize,
    /// The maximum number of open streams of one session.
    pub max_open_per_session: usize,
}

impl Default for RawStreams {
    fn default() -> Self {
        let StreamLimits {
            max,
            max_per_session,
        } = StreamLimits::default();
        Self {
            max_open: max,
            max_open_per_session: max_per_session,
        }
    }
}

impl RawStreams {
    pub(in crate::config) fn parse(&self, mistakes: &mut Mistakes) -> Valid<StreamLimits> {
        for (key, value) in [
            ("streams.max_open", self.max_open),
            ("streams.max_open_per_session", self.max_open_per_session),
        ] {
            if value == 0 {
                mistakes.add(key, "must be at least 1");
            }
        }
        Ok(StreamLimits {
            max: self.max_open,
            max_per_session: self.max_open_per_session,
        })
    }
}

impl Section for RawStreams {}
