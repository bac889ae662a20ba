//! Output of commands, with escapes for control characters. Line feeds are not escaped, so a field that can hold one
//! must go through [`escape::line`] first.

use std::io::{Stderr, Stdout};

use serde::Serialize;

use crate::escape::{self, Escaped};

/// Standard output for text, escaped.
#[expect(clippy::disallowed_methods, reason = "it is escaped here")]
pub(super) fn stdout() -> Escaped<Stdout> {
    Escaped::new(std::io::stdout(), escape::lines)
}

/// Standard error for text, escaped.
#[expect(clippy::disallowed_methods, reason = "it is escaped here")]
pub(super) fn stderr() -> Escaped<Stderr> {
    Escaped::new(std::io::stderr(), escape::lines)
}

/// Unescaped standard output, for text without external input: completion scripts and manual pages.
#[expect(clippy::disallowed_methods, reason = "the text is the program's own")]
pub(super) fn raw_stdout() -> Stdout {
    std::io::stdout()
}

/// Unescaped standard error, for progress lines that overwrite each other.
#[expect(clippy::disallowed_methods, reason = "the text is the program's own")]
pub(super) fn raw_stderr() -> Stderr {
    std::io::stderr()
}

/// A value as indented JSON, escaped.
pub(super) fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(escape::json(&text).into_owned())
}
