//! Mistakes in the configuration of a sign-in service.

/// The reason why the limits of a configuration file are unreadable. The message contains no values of the file, except
/// durations, because the file contains secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ConfigError {
    /// The line number, from 1.
    pub line: usize,
    /// The mistake.
    pub message: String,
}

impl ConfigError {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { line, message }
    }
}
