use http::HeaderMap;
use http::header::COOKIE;

/// Every value of the cookie `name` in the request's `Cookie` headers, in order of appearance.
///
/// The function compares names exactly, and trims only spaces and tabs. Other white space before a name belongs to
/// the name, so such a cookie cannot replace a `__Host-` cookie (as in the framework Hono, CVE-2026-39410). The
/// function returns values unchanged: it keeps quotes and decodes nothing, and `$Version` has no special meaning.
pub fn cookie_values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(COOKIE)
        .into_iter()
        .flat_map(|line| split_pairs(line.as_bytes()))
        .filter_map(move |pair| {
            let equals = memchr::memchr(b'=', pair)?;
            let (key, value) = (&pair[..equals], &pair[equals + 1..]);
            (trim_blanks(key) == name.as_bytes()).then(|| trim_blanks(value))
        })
}

/// The parts of a header value between semicolons.
fn split_pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let Some(end) = memchr::memchr(b';', line) else {
            return rest.take();
        };
        rest = Some(&line[end + 1..]);
        Some(&line[..end])
    })
}

/// `text` without leading and trailing spaces and tabs.
fn trim_blanks(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn values(lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        cookie_values(&headers, "__Host-session")
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn finds_the_cookie_among_others() {
        assert_eq!(values(&[b"a=1; __Host-session=x; b=2"]), ["x"]);
        assert_eq!(values(&[b"__Host-session=x"]), ["x"]);
        assert_eq!(values(&[b"a=1", b"\t__Host-session = x ;"]), ["x"]);
        assert_eq!(values(&[b"__Host-session=a=b"]), ["a=b"]);
        assert_eq!(values(&[b"__Host-session="]), [""]);
    }

    #[test]
    fn finds_all_values_of_a_repeated_cookie() {
        assert_eq!(
            values(&[b"__Host-session=x; __Host-session=y", b"__Host-session=z"]),
            ["x", "y", "z"]
        );
    }

    #[test]
    fn only_the_exact_name_matches() {
        assert!(values(&[]).is_empty());
        for line in [
            &b""[..],
            b"__Host-session",
            b"__host-session=x",
            b"x__Host-session=y",
            b"__Host-sessionx=y",
            b"\xc2\xa0__Host-session=x",
            b"\"__Host-session\"=x",
            b"a=1,__Host-session=x",
        ] {
            assert!(values(&[line]).is_empty(), "{line:?}");
        }
    }

    #[test]
    fn values_are_not_unquoted_or_split_at_commas() {
        assert_eq!(values(&[b"__Host-session=\"x\""]), ["\"x\""]);
        assert_eq!(values(&[b"__Host-session=x, b=2"]), ["x, b=2"]);
    }
}
