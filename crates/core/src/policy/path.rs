use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A path in the form that rules match: percent-decoded once, and with the same meaning for every server.
///
/// Proxies, frameworks and file systems interpret `..`, `//`, `;`, `\` and encoded slashes differently. If Curfew
/// matches a rule with one interpretation and the back end serves the request with another, an attacker can bypass
/// the rule. Examples are Envoy CVE-2021-29492 and CVE-2021-32779, oauth2-proxy CVE-2026-41059 and Traefik
/// CVE-2025-66490. Therefore a path with two possible interpretations has no normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NormalPath<'a>(Cow<'a, str>);

/// The reason why a path is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AmbiguousPath {
    /// The path does not begin with a slash.
    #[error("no leading slash")]
    NotAbsolute,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("malformed percent-encoding")]
    MalformedEscape,
    /// The path has an escape such as `%252e`; a server that decodes twice reads a different path.
    #[error("percent-encoded twice")]
    EncodedTwice,
    /// The decoded path is not UTF-8, for example because it has an overlong form of a slash.
    #[error("not UTF-8")]
    NotUtf8,
    /// The path has a control character, encoded or not.
    #[error("control character")]
    ControlCharacter,
    /// The path has `%2F`.
    #[error("encoded slash")]
    EncodedSlash,
    /// The path has `\`, encoded or not; some servers read a backslash as a slash.
    #[error("backslash")]
    Backslash,
    /// The path has `;`, encoded or not; some servers ignore the rest of the segment.
    #[error("semicolon")]
    Semicolon,
    /// The path has `#`, encoded or not; some servers ignore the rest of the path.
    #[error("number sign (#)")]
    Fragment,
    /// The path has `%3F`; some servers ignore the rest of the path.
    #[error("encoded question mark")]
    EncodedQuery,
    /// The path has a character that normalisation (NFC, NFKC) or an older encoding turns into a special character.
    /// Examples are a fullwidth slash and a Greek question mark.
    #[error("Unicode look-alike of a slash, a dot or another special character")]
    Lookalike,
    /// The path has a segment `.` or `..`, encoded or not.
    #[error("segment . or ..")]
    DotSegment,
    /// The path has two adjacent slashes.
    #[error("two adjacent slashes")]
    DoubleSlash,
}

impl<'a> NormalPath<'a> {
    /// Normalises the path of a URL, without its query.
    ///
    /// # Errors
    /// [`AmbiguousPath`] if the path has two possible interpretations.
    pub fn new(path: &'a [u8]) -> Result<Self, AmbiguousPath> {
        if path.first() != Some(&b'/') {
            return Err(AmbiguousPath::NotAbsolute);
        }
        check_escapes(path)?;
        let decoded = percent_decode(path)
            .decode_utf8()
            .map_err(|_| AmbiguousPath::NotUtf8)?;
        if looks_encoded(&decoded) {
            return Err(AmbiguousPath::EncodedTwice);
        }
        for character in decoded.chars() {
            match character {
                '\\' => return Err(AmbiguousPath::Backslash),
                ';' => return Err(AmbiguousPath::Semicolon),
                '#' => return Err(AmbiguousPath::Fragment),
                '?' => return Err(AmbiguousPath::EncodedQuery),
                other if other.is_control() => return Err(AmbiguousPath::ControlCharacter),
                other if is_lookalike(other) => return Err(AmbiguousPath::Lookalike),
                _ => {}
            }
        }
        let mut segments = decoded.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "." | ".." => return Err(AmbiguousPath::DotSegment),
                "" if segments.peek().is_some() => return Err(AmbiguousPath::DoubleSlash),
                _ => {}
            }
        }
        Ok(Self(decoded))
    }

    /// The decoded path, which begins with a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path and its parents, without trailing slashes. The last item is the root, as an empty string.
    pub(super) fn with_parents(&self) -> impl Iterator<Item = &str> {
        let path = self.0.strip_suffix('/').unwrap_or(&self.0);
        let mut rest = Some(path);
        std::iter::from_fn(move || {
            let this = rest?;
            rest = this.rfind('/').map(|slash| &this[..slash]);
            Some(this)
        })
    }
}

/// Whether some programs convert this character to `/`, `\`, `.`, `;`, `#`, `?` or `%`. The list comes from the
/// compatibility forms of Unicode Standard Annex 15 and the best-fit mappings of Windows code pages.
pub(super) const fn is_lookalike(character: char) -> bool {
    matches!(
        character,
        '\u{2044}'
            | '\u{2215}'
            | '\u{29f8}'
            | '\u{ff0f}'
            | '\u{2216}'
            | '\u{29f5}'
            | '\u{fe68}'
            | '\u{ff3c}'
            | '\u{2024}'
            | '\u{2025}'
            | '\u{fe52}'
            | '\u{ff0e}'
            | '\u{037e}'
            | '\u{fe54}'
            | '\u{ff1b}'
            | '\u{fe5f}'
            | '\u{ff03}'
            | '\u{fe56}'
            | '\u{ff1f}'
            | '\u{fe6a}'
            | '\u{ff05}'
    )
}

/// Rejects malformed escapes and encoded slashes, which are no longer visible after decoding.
fn check_escapes(path: &[u8]) -> Result<(), AmbiguousPath> {
    let mut rest = path;
    while let Some(percent) = rest.iter().position(|byte| *byte == b'%') {
        let hex = rest.get(percent + 1..percent + 3);
        match hex.filter(|hex| is_hex(hex)) {
            None => return Err(AmbiguousPath::MalformedEscape),
            Some(hex) if hex.eq_ignore_ascii_case(b"2f") => {
                return Err(AmbiguousPath::EncodedSlash);
            }
            Some(_) => rest = &rest[percent + 3..],
        }
    }
    Ok(())
}

/// Whether a decoded path still contains a percent-encoding.
fn looks_encoded(decoded: &str) -> bool {
    let mut pieces = decoded.as_bytes().split(|byte| *byte == b'%').skip(1);
    pieces.any(|piece| piece.get(..2).is_some_and(is_hex))
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normalises_unambiguous_paths() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61", "/a"),
            ("/a%2eb", "/a.b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a..b", "/a..b"),
            ("/gr%C3%BC%c3%9fe", "/grüße"),
            ("/grüße", "/grüße"),
            ("/a%20b", "/a b"),
            ("/a+b@c:d,e!(f)*'$&=", "/a+b@c:d,e!(f)*'$&="),
            ("/100%25", "/100%"),
            ("/100%25-more", "/100%-more"),
            ("/~alice", "/~alice"),
            ("/%E2%80%A6", "/…"),
            ("/雪", "/雪"),
        ] {
            let normal = NormalPath::new(path.as_bytes()).unwrap();
            assert_eq!(normal.as_str(), expected, "{path}");
        }
    }

    #[test]
    fn rejects_ambiguous_paths() {
        use AmbiguousPath::{
            Backslash, ControlCharacter, DotSegment, DoubleSlash, EncodedQuery, EncodedSlash,
            EncodedTwice, Fragment, Lookalike, MalformedEscape, NotAbsolute, NotUtf8, Semicolon,
        };
        for (path, expected) in [
            (&b""[..], NotAbsolute),
            (b"a", NotAbsolute),
            (b"*", NotAbsolute),
            (b"http://a/", NotAbsolute),
            (b"/a/../b", DotSegment),
            (b"/..", DotSegment),
            (b"/a/.", DotSegment),
            (b"/./a", DotSegment),
            (b"/a/%2e%2e/b", DotSegment),
            (b"/a/.%2E/b", DotSegment),
            (b"/a/%2e", DotSegment),
            (b"//a", DoubleSlash),
            (b"//", DoubleSlash),
            (b"/a//", DoubleSlash),
            (b"/a//b", DoubleSlash),
            (b"/a%2fb", EncodedSlash),
            (b"/a%2Fb", EncodedSlash),
            (b"/a/..%2fb", EncodedSlash),
            (b"/a%5cb", Backslash),
            (b"/a\\b", Backslash),
            (b"/a\\..\\b", Backslash),
            (b"/a;b", Semicolon),
            (b"/a;/../b", Semicolon),
            (b"/a%3bb", Semicolon),
            (b"/a#/b", Fragment),
            (b"/a%23b", Fragment),
            (b"/a%3f/b", EncodedQuery),
            (b"/a%00", ControlCharacter),
            (b"/a%0d%0ab", ControlCharacter),
            (b"/a%7f", ControlCharacter),
            (b"/a%c2%85", ControlCharacter),
            (b"/%", MalformedEscape),
            (b"/a%2", MalformedEscape),
            (b"/a%zz", MalformedEscape),
            (b"/a%u002f", MalformedEscape),
            (b"/%252e%252e/b", EncodedTwice),
            (b"/a%252fb", EncodedTwice),
            (b"/a%25%32%66b", EncodedTwice),
            (b"/a%%32%66b", MalformedEscape),
            (b"/a%c0%afb", NotUtf8),
            (b"/a%e0%80%afb", NotUtf8),
            (b"/a\xffb", NotUtf8),
            (b"/a/%ef%bc%8e%ef%bc%8e/b", Lookalike),
            (b"/a/%e2%80%a5/b", Lookalike),
            (b"/a%ef%bc%8fb", Lookalike),
            (b"/a%e2%88%95b", Lookalike),
            (b"/a%cd%beb", Lookalike),
            (b"/a%ef%bc%855cb", Lookalike),
        ] {
            assert_eq!(
                NormalPath::new(path),
                Err(expected),
                "{}",
                path.escape_ascii()
            );
        }
    }

    #[test]
    fn a_path_lists_its_parents() {
        for (path, expected) in [
            ("/", &[""][..]),
            ("/a", &["/a", ""]),
            ("/a/", &["/a", ""]),
            ("/a/b/c", &["/a/b/c", "/a/b", "/a", ""]),
        ] {
            let normal = NormalPath::new(path.as_bytes()).unwrap();
            let parents: Vec<&str> = normal.with_parents().collect();
            assert_eq!(parents, expected, "{path}");
        }
    }

    proptest! {
        /// The normal form does not depend on which harmless characters are encoded. A path with a segment `.` or
        /// `..` has no normal form.
        #[test]
        fn the_normal_form_does_not_depend_on_the_encoding(path in "(/[a-z.é_ -]{1,4}){1,4}/?", encoded in any::<u64>()) {
            let mut text = String::new();
            for (index, byte) in path.bytes().enumerate() {
                let keep = byte == b'/' || (byte.is_ascii() && encoded >> (index % 64) & 1 == 0);
                if keep {
                    text.push(char::from(byte));
                } else {
                    text.push_str(&format!("%{byte:02x}"));
                }
            }
            let has_dot_segment = path.split('/').any(|segment| matches!(segment, "." | ".."));
            match NormalPath::new(text.as_bytes()) {
                Ok(normal) => {
                    prop_assert!(!has_dot_segment);
                    prop_assert_eq!(normal.as_str(), path);
                }
                Err(error) => prop_assert!(has_dot_segment, "{}: {}", text, error),
            }
        }

        /// A normal form contains nothing that servers interpret differently. If the test encodes this form and
        /// normalises it again, the result is the same.
        #[test]
        fn the_normal_form_of_random_bytes_is_unambiguous(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let path = [b"/", &bytes[..]].concat();
            if let Ok(normal) = NormalPath::new(&path) {
                let text = normal.as_str();
                prop_assert!(text.starts_with('/') && !text.contains("//") && !text.contains("/../"));
                prop_assert!(!text.contains(['\\', ';', '#', '?', '\0', '\n']));
                let again = percent_encoding::percent_encode(text.as_bytes(), percent_encoding::NON_ALPHANUMERIC)
                    .to_string()
                    .replace("%2F", "/");
                let again = NormalPath::new(again.as_bytes()).unwrap();
                prop_assert_eq!(again.as_str(), text);
            }
        }
    }
}
