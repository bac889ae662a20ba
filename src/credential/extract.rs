use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{Token, cookie_values};

/// Where a token may be found in a request.
#[derive(Clone, Debug)]
pub struct TokenExtractor {
    /// The session cookie's name.
    pub cookie: String,
    /// Whether `Authorization: Bearer` is an alternative to the cookie.
    pub bearer: bool,
}

/// What a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extraction<'a> {
    /// No credential that concerns this service.
    Nothing,
    /// One candidate, not verified.
    Candidate(&'a [u8]),
    /// Several that differ: which of them the backend would act on can't be known.
    Ambiguous,
}

impl TokenExtractor {
    /// Finds the one token of a request.
    ///
    /// The same value twice is one value. A cookie is preferred to a bearer token that is not ours
    /// (an application may use that header for its own purposes); two of ours that differ are
    /// ambiguous.
    #[must_use]
    pub fn extract<'a>(&self, headers: &'a HeaderMap) -> Extraction<'a> {
        let mut found = None;
        for value in cookie_values(headers, &self.cookie) {
            if *found.get_or_insert(value) != value {
                return Extraction::Ambiguous;
            }
        }
        if self.bearer {
            for value in bearer_tokens(headers) {
                let ours = value.starts_with(Token::PREFIX.as_bytes());
                if (ours || found.is_none()) && *found.get_or_insert(value) != value {
                    return Extraction::Ambiguous;
                }
            }
        }
        found.map_or(Extraction::Nothing, Extraction::Candidate)
    }
}

/// The values of `Authorization: Bearer` (RFC 6750 section 2.1; the scheme in any case).
fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(AUTHORIZATION)
        .into_iter()
        .filter_map(|line| {
            let (scheme, token) = line.as_bytes().split_first_chunk::<7>()?;
            scheme
                .eq_ignore_ascii_case(b"bearer ")
                .then(|| token.trim_ascii())
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn table() {
        use Extraction::{Ambiguous, Candidate, Nothing};
        let both = TokenExtractor {
            cookie: "s".to_owned(),
            bearer: true,
        };
        let cookie_only = TokenExtractor {
            bearer: false,
            ..both.clone()
        };
        for (lines, expected, without_bearer) in [
            (&[][..], Nothing, Nothing),
            (&[("cookie", "t=1")], Nothing, Nothing),
            (&[("cookie", "s=a")], Candidate(b"a"), Candidate(b"a")),
            (&[("cookie", "s=a; s=a")], Candidate(b"a"), Candidate(b"a")),
            (&[("cookie", "s=a; s=b")], Ambiguous, Ambiguous),
            (
                &[("cookie", "s=a"), ("cookie", "s=b")],
                Ambiguous,
                Ambiguous,
            ),
            (&[("cookie", "s=; s=b")], Ambiguous, Ambiguous),
            (
                &[("authorization", "Bearer cfw1_a")],
                Candidate(b"cfw1_a"),
                Nothing,
            ),
            (
                &[("authorization", "bEARER cfw1_a")],
                Candidate(b"cfw1_a"),
                Nothing,
            ),
            (
                &[("authorization", "Bearer eyJ")],
                Candidate(b"eyJ"),
                Nothing,
            ),
            (&[("authorization", "Basic YTpi")], Nothing, Nothing),
            (&[("authorization", "Bearer")], Nothing, Nothing),
            (
                &[("cookie", "s=a"), ("authorization", "Bearer eyJ")],
                Candidate(b"a"),
                Candidate(b"a"),
            ),
            (
                &[("cookie", "s=a"), ("authorization", "Bearer cfw1_b")],
                Ambiguous,
                Candidate(b"a"),
            ),
            (
                &[("cookie", "s=cfw1_a"), ("authorization", "Bearer cfw1_a")],
                Candidate(b"cfw1_a"),
                Candidate(b"cfw1_a"),
            ),
            (
                &[
                    ("authorization", "Bearer cfw1_a"),
                    ("authorization", "Bearer cfw1_b"),
                ],
                Ambiguous,
                Nothing,
            ),
        ] {
            let headers = headers(lines);
            assert_eq!(both.extract(&headers), expected, "{lines:?}");
            assert_eq!(
                cookie_only.extract(&headers),
                without_bearer,
                "{lines:?}, no bearer"
            );
        }
    }
}
