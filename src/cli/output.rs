//! Output of commands. Control characters are escaped, except line feeds. Pass a field that can contain a line feed
//! through [`escape::line`] first.

use std::io::{Stderr, Stdout};

use serde::Serialize;

use crate::escape::{self, EscapingWriter};

/// Standard output for text, escaped.
#[expect(
    clippy::disallowed_methods,
    reason = "the returned writer escapes its output"
)]
pub(super) fn stdout() -> EscapingWriter<Stdout> {
    EscapingWriter::new(std::io::stdout(), escape::lines)
}

/// Standard error for text, escaped.
#[expect(
    clippy::disallowed_methods,
    reason = "the returned writer escapes its output"
)]
pub(super) fn stderr() -> EscapingWriter<Stderr> {
    EscapingWriter::new(std::io::stderr(), escape::lines)
}

/// Unescaped standard output, for text without external input, such as completion scripts, manual pages, and proxy files,
/// whose addresses contain only letters, digits and `.-[]:`.
#[expect(clippy::disallowed_methods, reason = "the text has no external input")]
pub(super) fn raw_stdout() -> Stdout {
    std::io::stdout()
}

/// Unescaped standard error, for progress lines that overwrite each other.
#[expect(clippy::disallowed_methods, reason = "the text has no external input")]
pub(super) fn raw_stderr() -> Stderr {
    std::io::stderr()
}

/// Formats a value as indented JSON, with escapes.
pub(super) fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(escape::json(&text).into_owned())
}
