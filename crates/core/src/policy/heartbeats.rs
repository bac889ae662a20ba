//! Heartbeats: the messages that applications send on their own over a WebSocket to keep it open. They say nothing
//! about the person, so they must not count as activity.

mod presets;

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

pub use presets::preset_names;

/// The maximum size of a message that can be a heartbeat, in bytes. A longer message always counts as activity.
pub const MAX_HEARTBEAT_BYTES: usize = 4096;
/// The maximum size of a compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 256 * 1024;

/// A set of patterns. A message is a heartbeat if a pattern matches all its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeats {
    /// Sorted, and without duplicates.
    patterns: Arc<[Arc<Pattern>]>,
}

/// One pattern. Two patterns with the same source are equal.
#[derive(Debug)]
struct Pattern {
    source: String,
    regex: Regex,
}

/// Why a text names no heartbeats.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatsError {
    /// The text is neither the name of a preset nor a pattern.
    #[error(
        "`{0}` is not a preset: use one of {names}, or a regular expression between slashes, such as `/ping/`",
        names = preset_names().collect::<Vec<_>>().join(", ")
    )]
    UnknownPreset(String),
    /// The pattern cannot be compiled.
    #[error("`{pattern}` is not a valid regular expression: {reason}")]
    InvalidPattern {
        /// The pattern, without the slashes.
        pattern: String,
        /// Why it is invalid.
        reason: String,
    },
    /// The pattern matches every message, so no message would count.
    #[error("`{0}` matches every message: use `stream_activity: off` instead")]
    MatchesAll(String),
}

impl Heartbeats {
    /// Parses a list of presets and patterns. A pattern is a regular expression between slashes. It matches bytes, and
    /// it must match the whole message.
    ///
    /// # Errors
    /// The first invalid item.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Self, HeartbeatsError> {
        let mut patterns = Vec::new();
        for item in items {
            let own = item.strip_prefix('/').and_then(|it| it.strip_suffix('/'));
            match own {
                Some(source) => patterns.push(Arc::new(Pattern::of_operator(source)?)),
                None => {
                    let preset = presets::patterns(item)
                        .ok_or_else(|| HeartbeatsError::UnknownPreset(item.to_owned()))?;
                    patterns.extend(preset);
                }
            }
        }
        Ok(Self::of(patterns))
    }

    fn of(mut patterns: Vec<Arc<Pattern>>) -> Self {
        patterns.sort_by(|a, b| a.source.cmp(&b.source));
        patterns.dedup();
        Self {
            patterns: patterns.into(),
        }
    }

    /// Whether no message is a heartbeat.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a message is a heartbeat. `message` is the unmasked payload of the whole message.
    #[must_use]
    pub fn matches(&self, message: &[u8]) -> bool {
        message.len() <= MAX_HEARTBEAT_BYTES
            && self.patterns.iter().any(|it| it.regex.is_match(message))
    }

    /// Returns the heartbeats of both sets: with more heartbeats, less counts as activity.
    #[must_use]
    pub fn union(self, other: &Self) -> Self {
        if other.is_empty() || self == *other {
            return self;
        }
        if self.is_empty() {
            return other.clone();
        }
        Self::of(
            self.patterns
                .iter()
                .chain(&*other.patterns)
                .cloned()
                .collect(),
        )
    }
}

impl Pattern {
    fn new(source: &str) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(&format!(r"\A(?:{source})\z"))
            .unicode(false)
            .dot_matches_new_line(true)
            .size_limit(MAX_COMPILED_BYTES)
            .build()?;
        Ok(Self {
            source: source.to_owned(),
            regex,
        })
    }

    /// Compiles a pattern of an operator.
    fn of_operator(source: &str) -> Result<Self, HeartbeatsError> {
        // A closing parenthesis could end the group that anchors the pattern.
        let compiled = Regex::new(&format!("(?s-u){source}")).and_then(|_| Self::new(source));
        let pattern = compiled.map_err(|error| HeartbeatsError::InvalidPattern {
            pattern: source.to_owned(),
            reason: last_line(&error.to_string()),
        })?;
        // No heartbeat looks like these messages, so a pattern that matches all of them matches everything.
        let samples: [&[u8]; 3] = [b"a", b"0 Zz\r\n", &[0xff; 100]];
        if samples.iter().all(|it| pattern.regex.is_match(it)) {
            return Err(HeartbeatsError::MatchesAll(source.to_owned()));
        }
        Ok(pattern)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

/// The last line of an error of `regex`. The lines before it show the pattern, and the error of Curfew shows it too.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or(text);
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests;
