//! Mistakes in a configuration. Parsers record mistakes and continue, so that one run reports all mistakes.

use std::time::Duration;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A validation error: the key, and a message with a hint.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) key: String,
    pub(super) message: String,
}

/// The error of a parser that has added a [`Mistake`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The result of a parser. Call all parsers before the first `?`, so that one run reports the mistakes of all
/// parsers.
pub(super) type Valid<T> = Result<T, Invalid>;

/// Borrows the value in the result of a parser.
pub(super) fn borrow_valid<T>(value: &Valid<T>) -> Valid<&T> {
    value.as_ref().map_err(|invalid| *invalid)
}

/// The validation errors found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Adds a mistake.
    pub(super) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Mistake {
            key: key.into(),
            message: message.into(),
        });
    }

    /// Adds a mistake and returns [`Invalid`].
    pub(super) fn reject<T>(
        &mut self,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Valid<T> {
        self.add(key, message);
        Err(Invalid)
    }

    /// Returns the parsed value. If `parsed` is an error, adds it as a mistake at `key`.
    pub(super) fn record_error<T, E: ToString>(
        &mut self,
        key: &str,
        parsed: Result<T, E>,
    ) -> Valid<T> {
        parsed.or_else(|error| self.reject(key, error.to_string()))
    }

    /// Rejects the value of `key` if the program was built without the Cargo feature `kubernetes`.
    pub(super) fn need_kubernetes_feature(&mut self, key: &str) -> Valid<()> {
        if cfg!(feature = "kubernetes") {
            return Ok(());
        }
        let message =
            "is not available: this program was built without the Cargo feature `kubernetes`";
        self.reject(key, message)
    }

    /// Parses a duration between `min` and `max`.
    pub(super) fn parse_duration(
        &mut self,
        key: &str,
        text: &str,
        min: Duration,
        max: Duration,
    ) -> Valid<Duration> {
        let Ok(duration) = humantime::parse_duration(text) else {
            return self.reject(
                key,
                r#"not a duration; write one like "15m", "12h" or "1h 30m""#,
            );
        };
        if duration < min || duration > max {
            let (min, max) = (
                humantime::format_duration(min),
                humantime::format_duration(max),
            );
            return self.reject(key, format!("must be between {min} and {max}"));
        }
        Ok(duration)
    }

    /// Reads a file; on an error, adds a mistake at `key`.
    pub(super) fn read_file(&mut self, key: &str, path: &str) -> Valid<Vec<u8>> {
        self.record_error(
            key,
            std::fs::read(path).map_err(|error| format!("can't be read: {error}")),
        )
    }

    /// Reads a file whose key is optional.
    pub(super) fn read_optional_file(
        &mut self,
        key: &str,
        path: Option<&str>,
    ) -> Valid<Option<Vec<u8>>> {
        path.map(|path| self.read_file(key, path)).transpose()
    }

    /// Reads a UTF-8 file; on an error, adds a mistake at `key`.
    pub(super) fn read_text_file(&mut self, key: &str, path: &str) -> Valid<String> {
        let bytes = self.read_file(key, path)?;
        self.record_error(
            key,
            String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text"),
        )
    }

    /// Returns the value if no parser has added a mistake.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub(super) fn finish<T>(self, parsed: Valid<T>) -> Result<T, Vec<Mistake>> {
        match parsed {
            Ok(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}

/// Returns the lines of a file, without comments (`#`) and empty lines.
pub(super) fn lines_without_comments(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
}
