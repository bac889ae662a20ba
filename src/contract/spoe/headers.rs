use http::{HeaderMap, HeaderName, HeaderValue};
use spop::decode_varint;

use crate::check::MalformedOriginal;

const INVALID_HEADERS: MalformedOriginal = MalformedOriginal {
    input: "the argument headers",
    problem: "does not have the format of req.hdrs_bin",
};

/// Parses HAProxy's `req.hdrs_bin`. Each header is a name and a value. The length of each text precedes the text. An
/// empty name with an empty value ends the list.
pub(super) fn parse(mut rest: &[u8]) -> Result<HeaderMap, MalformedOriginal> {
    let mut headers = HeaderMap::new();
    loop {
        let name = read_length_prefixed(&mut rest)?;
        let value = read_length_prefixed(&mut rest)?;
        if name.is_empty() {
            let ends_here = value.is_empty() && rest.is_empty();
            return if ends_here {
                Ok(headers)
            } else {
                Err(INVALID_HEADERS)
            };
        }
        let name = HeaderName::from_bytes(name).map_err(|_| INVALID_HEADERS)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| INVALID_HEADERS)?;
        let appended = headers.try_append(name, value);
        appended.map_err(|_| INVALID_HEADERS)?;
    }
}

fn read_length_prefixed<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MalformedOriginal> {
    let (after, length) = decode_varint(rest).map_err(|_| INVALID_HEADERS)?;
    let length = usize::try_from(length).map_err(|_| INVALID_HEADERS)?;
    let (text, after) = after.split_at_checked(length).ok_or(INVALID_HEADERS)?;
    *rest = after;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spop::encode_varint_into;

    use super::*;

    fn encode(header_lines: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in header_lines.iter().chain([&("", "")]) {
            for text in [name, value] {
                encode_varint_into(text.len() as u64, &mut bytes);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes
    }

    #[test]
    fn headers_with_one_name_stay_separate() {
        let long = "x".repeat(70_000);
        let bytes = encode(&[
            ("cookie", "a=1"),
            ("Cookie", "b=2"),
            ("x", &long),
            ("y", ""),
        ]);
        let headers = parse(&bytes).unwrap();
        let cookies: Vec<_> = headers.get_all("cookie").into_iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(headers["x"].len(), 70_000);
        assert_eq!(headers["y"], "");
        assert!(parse(&encode(&[])).unwrap().is_empty());
    }

    #[test]
    fn truncated_and_trailing_bytes_are_rejected() {
        let valid = encode(&[("cookie", "a=1")]);
        for end in 0..valid.len() {
            assert!(parse(&valid[..end]).is_err(), "{end}");
        }
        assert!(parse(&[&valid[..], b"x"].concat()).is_err());
        assert!(parse(&encode(&[("a b", "1")])).is_err());
        assert!(parse(&encode(&[("a", "1\n2")])).is_err());
        assert!(parse(&[0xff; 20]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
        }
    }
}
