//! Text from outside, as outputs show it: no character of it moves a cursor, changes the order of what is read, hides
//! itself, or begins another line.
//!
//! Every output of text uses this module at its edge. `docs/observability.md` says which form each output has.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a reader may not see a character as what it is: control characters (C0, DEL, C1), line and paragraph
/// separators, marks and overrides of the direction, characters without a width, and tags.
#[must_use]
pub const fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line for people: an unsafe character is written as `\n`, or as `\u{202e}`.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    replace(text, is_unsafe, |it, to| to.extend(it.escape_default()))
}

/// The same for text of several lines: line feeds stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let is_escaped = |it| it != '\n' && is_unsafe(it);
    replace(text, is_escaped, |it, to| to.extend(it.escape_default()))
}

/// A value in a line of names and values: in quotes where it could be read as more than one value.
#[must_use]
pub fn value(text: &str) -> Cow<'_, str> {
    let is_plain = |it: char| !is_unsafe(it) && !it.is_whitespace() && !matches!(it, '"' | '=');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(quoted(text))
}

/// A string in quotes, on one line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let is_escaped = |it| matches!(it, '"' | '\\') || is_unsafe(it);
    let inner = replace(text, is_escaped, |it, to| to.extend(it.escape_default()));
    format!("\"{inner}\"")
}

/// A JSON text, with unsafe characters as `\u202e`: it parses to the same value. Line feeds stay: within a JSON string
/// there are none.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let is_escaped = |it| !matches!(it, '\n') && is_unsafe(it);
    replace(text, is_escaped, |it, to| {
        for unit in it.encode_utf16(&mut [0; 2]) {
            let _ = write!(to, "\\u{unit:04x}");
        }
    })
}

/// Metrics in Prometheus' text format, whose label values have no escape but for `\`, `"` and a line feed: an unsafe
/// character is shown as `\u{202e}`, with its backslash escaped.
#[must_use]
pub fn metrics(text: &str) -> Cow<'_, str> {
    let is_escaped = |it| it != '\n' && is_unsafe(it);
    replace(text, is_escaped, |it, to| {
        let _ = write!(to, "\\\\u{{{:x}}}", u32::from(it));
    })
}

/// Text in an HTML page, for people.
#[must_use]
pub fn html(text: &str) -> String {
    markup(&line(text))
}

/// The value of an HTML attribute that a browser sends back or follows: references stand for unsafe characters, so
/// that it is the same text. Control characters have no reference, and are written for people.
#[must_use]
pub fn html_value(text: &str) -> String {
    let text = replace(&markup(text), char::is_control, |it, to| {
        to.extend(it.escape_default());
    })
    .into_owned();
    let text = replace(&text, is_unsafe, |it, to| {
        let _ = write!(to, "&#x{:x};", u32::from(it));
    });
    text.into_owned()
}

fn markup(text: &str) -> String {
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

/// Replaces the characters that `is_escaped` names by what `write` writes for them.
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

/// A writer that escapes what `how` says: each call of `write` must have whole characters, as those of `write!` do.
#[derive(Debug)]
pub struct Escaped<W> {
    to: W,
    how: fn(&str) -> Cow<'_, str>,
}

impl<W> Escaped<W> {
    /// A writer to `to`.
    pub fn new(to: W, how: fn(&str) -> Cow<'_, str>) -> Self {
        Self { to, how }
    }
}

impl<W: std::io::Write> std::io::Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.to.write_all((self.how)(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of such a character can be read, and is not taken for another text.
    #[test]
    fn what_is_shown_says_which_character_it_is() {
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
    fn other_text_stays_as_it_is() {
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
