//! What commands print. A line feed is the only character that is not shown as it is read; a field that could hold one
//! goes through [`escape::line`] as well.

use std::io::{Stderr, Stdout};

use serde::Serialize;

use crate::escape::{self, Escaped};

/// Standard output, for text.
#[expect(clippy::disallowed_methods, reason = "it is escaped here")]
pub(super) fn stdout() -> Escaped<Stdout> {
    Escaped::new(std::io::stdout(), escape::lines)
}

/// Standard error, for text.
#[expect(clippy::disallowed_methods, reason = "it is escaped here")]
pub(super) fn stderr() -> Escaped<Stderr> {
    Escaped::new(std::io::stderr(), escape::lines)
}

/// Standard output as it is, for what has no text from outside: scripts and pages of the manual.
#[expect(clippy::disallowed_methods, reason = "the text is the program's own")]
pub(super) fn raw_stdout() -> Stdout {
    std::io::stdout()
}

/// Standard error as it is, for progress that is written over.
#[expect(clippy::disallowed_methods, reason = "the text is the program's own")]
pub(super) fn raw_stderr() -> Stderr {
    std::io::stderr()
}

/// A value as JSON for people.
pub(super) fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(escape::json(&text).into_owned())
}
