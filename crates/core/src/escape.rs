//! Escapes untrusted text for output. No character of the result can move the cursor, reorder the visible text, or be
//! invisible.
//!
//! Every output applies one of these functions when it writes text. `docs/observability.md` lists the function for
//! each output.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character could mislead a reader: control characters (C0, DEL, C1), line and paragraph separators,
/// bidirectional marks and overrides, invisible characters such as a zero-width space, and tag characters of Unicode.
#[must_use]
pub const fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Escapes text for one line: an unsafe character becomes an escape such as `\n` or `\u{202e}`.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    replace(text, is_unsafe, |it, to| to.extend(it.escape_default()))
}

/// Escapes text like [`line()`], but keeps line feeds.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let is_escaped = |it| it != '\n' && is_unsafe(it);
    replace(text, is_escaped, |it, to| to.extend(it.escape_default()))
}

/// Escapes a value for a line of `name=value` pairs. The result has quotes if a reader could take the value for more
/// than one value.
#[must_use]
pub fn value(text: &str) -> Cow<'_, str> {
    let is_plain = |it: char| !is_unsafe(it) && !it.is_whitespace() && !matches!(it, '"' | '=');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(quoted(text))
}

/// A quoted and escaped string on one line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let is_escaped = |it| matches!(it, '"' | '\\') || is_unsafe(it);
    let inner = replace(text, is_escaped, |it, to| to.extend(it.escape_default()));
    format!("\"{inner}\"")
}

/// Escapes JSON: unsafe characters become escapes such as `\u202e`, and a parser reads the same value from the JSON.
/// Line feeds stay, because no JSON string contains one.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let is_escaped = |it| !matches!(it, '\n') && is_unsafe(it);
    replace(text, is_escaped, |it, to| {
        for unit in it.encode_utf16(&mut [0; 2]) {
            let _ = write!(to, "\\u{unit:04x}");
        }
    })
}

/// Escapes output in Prometheus' text format. In label values, this format has escapes only for `\`, `"` and a line
/// feed. Therefore an unsafe character becomes `\\u{202e}`: an escape such as `\u{202e}`, with its backslash escaped.
#[must_use]
pub fn metrics(text: &str) -> Cow<'_, str> {
    let is_escaped = |it| it != '\n' && is_unsafe(it);
    replace(text, is_escaped, |it, to| {
        let _ = write!(to, "\\\\u{{{:x}}}", u32::from(it));
    })
}

/// Escapes text that an HTML page displays.
#[must_use]
pub fn html(text: &str) -> String {
    escape_markup(&line(text))
}

/// Escapes a value that a browser reads from an HTML attribute, such as a link or the value of a form field. Unsafe
/// characters become character references, so the browser reads the original value. But HTML has no references for
/// control characters, so control characters become escapes such as `\u{7}`.
#[must_use]
pub fn html_value(text: &str) -> String {
    let text = replace(&escape_markup(text), char::is_control, |it, to| {
        to.extend(it.escape_default());
    })
    .into_owned();
    let text = replace(&text, is_unsafe, |it, to| {
        let _ = write!(to, "&#x{:x};", u32::from(it));
    });
    text.into_owned()
}

/// Replaces characters that have a meaning in HTML with character references.
fn escape_markup(text: &str) -> String {
    let is_markup = |it| matches!(it, '&' | '<' | '>' | '"' | '\'');
    let reference = |it| match it {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        _ => "&#39;",
    };
    replace(text, is_markup, |it, to| to.push_str(reference(it))).into_owned()
}

/// Replaces each character that matches `is_escaped` with the output of `write`.
fn replace(
    text: &str,
    is_escaped: impl Fn(char) -> bool,
    write: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_escaped(character) {
            write(character, &mut escaped);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// A writer that applies an escape function. Each call of `write` must pass whole characters. Calls through `write!`
/// always do.
#[derive(Debug)]
pub struct EscapingWriter<W> {
    inner: W,
    escape: fn(&str) -> Cow<'_, str>,
}

impl<W> EscapingWriter<W> {
    /// Wraps the writer `inner`; `escape` escapes each chunk.
    pub fn new(inner: W, escape: fn(&str) -> Cow<'_, str>) -> Self {
        Self { inner, escape }
    }
}

impl<W: std::io::Write> std::io::Write for EscapingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.inner.write_all((self.escape)(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An escaped character stays recognisable and cannot be mistaken for other text.
    #[test]
    fn escaped_characters_stay_recognisable() {
        let text = "a\u{202e}b\n\u{1b}[2J";
        assert_eq!(line(text), r"a\u{202e}b\n\u{1b}[2J");
        assert_eq!(lines(text), "a\\u{202e}b\n\\u{1b}[2J");
        assert_eq!(quoted("a\"\\\u{200b}"), r#""a\"\\\u{200b}""#);
        assert_eq!(value("redis:6379"), "redis:6379");
        for (text, shown) in [("", r#""""#), ("a b", r#""a b""#), ("a=b", r#""a=b""#)] {
            assert_eq!(value(text), shown);
        }
        assert_eq!(
            json("{\n\"a\": \"\u{e0041}\u{7f}\"}"),
            "{\n\"a\": \"\\udb40\\udc41\\u007f\"}"
        );
        assert_eq!(metrics("a{b=\"\u{202e}\"} 1\n"), "a{b=\"\\\\u{202e}\"} 1\n");
        assert_eq!(html("<\u{202e}>"), r"&lt;\u{202e}&gt;");
        assert_eq!(html_value("\"\u{202e}\u{7}"), r"&quot;&#x202e;\u{7}");
    }

    #[test]
    fn harmless_text_is_not_changed() {
        for text in [
            "",
            "alice@example.com",
            "Zoë Öz",
            "أليس",
            "田中",
            "👍",
            "a b\u{a0}c",
        ] {
            assert!(
                matches!(line(text), Cow::Borrowed(same) if same == text),
                "{text}"
            );
            assert_eq!(json(text), text);
            assert_eq!(html(text), text);
            assert_eq!(metrics(text), text);
        }
    }
}
