use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::jwt::looks_like_a_jwt;
use super::{Token, cookie_values};

/// The locations where a request can carry a credential.
#[derive(Clone, Debug)]
pub struct CredentialExtractor {
    /// The session cookie's name.
    pub cookie: String,
    /// Whether `Authorization: Bearer` is accepted as an alternative to the cookie.
    pub bearer: bool,
    /// The locations for tokens of identity providers; `None` if no provider is configured.
    pub jwt: Option<JwtLocations>,
}

/// The locations where a request can carry a token of an identity provider.
#[derive(Clone, Debug)]
pub struct JwtLocations {
    /// The name of the cookie for tokens of identity providers; `None` if no cookie is used.
    pub cookie: Option<String>,
    /// Whether `Authorization: Bearer` is accepted.
    pub bearer: bool,
}

/// The credential of a request, not yet verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedCredential<'a> {
    /// The request has no credential for Curfew.
    Nothing,
    /// A credential that is expected to be a token of Curfew.
    Token(&'a [u8]),
    /// A credential that is expected to be a token of an identity provider.
    Jwt(&'a [u8]),
    /// The request has no token of Curfew, but a bearer token that no configured source accepts.
    Foreign,
    /// The request has several different credentials. Curfew cannot know which one the back end would use.
    Ambiguous,
}

impl CredentialExtractor {
    /// Finds the credential of a request.
    ///
    /// A repeated value counts once. A token of Curfew in the cookie takes precedence over a foreign bearer token,
    /// because the application may use the header `Authorization` itself. A token of an identity provider counts only
    /// if the request has neither a token of Curfew nor, with `bearer`, a foreign bearer token. Two different
    /// tokens of Curfew are ambiguous, and so are two different tokens of identity providers.
    #[must_use]
    pub fn extract<'a>(&self, headers: &'a HeaderMap) -> PresentedCredential<'a> {
        let mut found = None;
        for value in cookie_values(headers, &self.cookie) {
            if *found.get_or_insert(value) != value {
                return PresentedCredential::Ambiguous;
            }
        }
        let is_jwt_bearer = |value: &[u8]| {
            let locations = self.jwt.as_ref();
            locations.is_some_and(|locations| locations.bearer) && looks_like_a_jwt(value)
        };
        let mut has_foreign_bearer = false;
        if self.bearer {
            for value in bearer_tokens(headers).filter(|value| !is_jwt_bearer(value)) {
                let is_own_token = value.starts_with(Token::PREFIX.as_bytes());
                has_foreign_bearer |= !is_own_token && found.is_none();
                if (is_own_token || found.is_none()) && *found.get_or_insert(value) != value {
                    return PresentedCredential::Ambiguous;
                }
            }
        }
        match (found, &self.jwt) {
            (Some(_), _) if has_foreign_bearer => PresentedCredential::Foreign,
            (Some(token), _) => PresentedCredential::Token(token),
            (None, None) => PresentedCredential::Nothing,
            (None, Some(locations)) => locations.extract(headers),
        }
    }
}

impl JwtLocations {
    fn extract<'a>(&self, headers: &'a HeaderMap) -> PresentedCredential<'a> {
        let name = self.cookie.as_deref();
        let cookies = name
            .into_iter()
            .flat_map(|name| cookie_values(headers, name));
        let bearers = bearer_tokens(headers).filter(|value| self.bearer && looks_like_a_jwt(value));
        let mut all = cookies.chain(bearers);
        let Some(first) = all.next() else {
            return PresentedCredential::Nothing;
        };
        if all.any(|other| other != first) {
            return PresentedCredential::Ambiguous;
        }
        PresentedCredential::Jwt(first)
    }
}

/// The values of `Authorization: Bearer` (RFC 6750 section 2.1); the scheme is case-insensitive.
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
    fn finds_the_credential_of_a_request() {
        use PresentedCredential::{Ambiguous, Foreign, Nothing, Token};
        let cookie_and_bearer = CredentialExtractor {
            cookie: "s".to_owned(),
            bearer: true,
            jwt: None,
        };
        let cookie_only = CredentialExtractor {
            bearer: false,
            ..cookie_and_bearer.clone()
        };
        for (lines, expected, expected_without_bearer) in [
            (&[][..], Nothing, Nothing),
            (&[("cookie", "t=1")], Nothing, Nothing),
            (&[("cookie", "s=a")], Token(b"a"), Token(b"a")),
            (&[("cookie", "s=a; s=a")], Token(b"a"), Token(b"a")),
            (&[("cookie", "s=a; s=b")], Ambiguous, Ambiguous),
            (
                &[("cookie", "s=a"), ("cookie", "s=b")],
                Ambiguous,
                Ambiguous,
            ),
            (&[("cookie", "s=; s=b")], Ambiguous, Ambiguous),
            (
                &[("authorization", "Bearer cfw1_a")],
                Token(b"cfw1_a"),
                Nothing,
            ),
            (
                &[("authorization", "bEARER cfw1_a")],
                Token(b"cfw1_a"),
                Nothing,
            ),
            (&[("authorization", "Bearer eyJ")], Foreign, Nothing),
            (&[("authorization", "Basic YTpi")], Nothing, Nothing),
            (&[("authorization", "Bearer")], Nothing, Nothing),
            (
                &[("cookie", "s=a"), ("authorization", "Bearer eyJ")],
                Token(b"a"),
                Token(b"a"),
            ),
            (
                &[("cookie", "s=a"), ("authorization", "Bearer cfw1_b")],
                Ambiguous,
                Token(b"a"),
            ),
            (
                &[("cookie", "s=cfw1_a"), ("authorization", "Bearer cfw1_a")],
                Token(b"cfw1_a"),
                Token(b"cfw1_a"),
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
            assert_eq!(cookie_and_bearer.extract(&headers), expected, "{lines:?}");
            assert_eq!(
                cookie_only.extract(&headers),
                expected_without_bearer,
                "{lines:?}, no bearer"
            );
        }
    }

    #[test]
    fn finds_tokens_of_identity_providers() {
        use PresentedCredential::{Ambiguous, Foreign, Jwt, Nothing, Token};
        const JWT: &str = "eyJh.eyJi.c";
        let extractor = CredentialExtractor {
            cookie: "s".to_owned(),
            bearer: true,
            jwt: Some(JwtLocations {
                cookie: Some("id".to_owned()),
                bearer: true,
            }),
        };
        let bearer = format!("Bearer {JWT}");
        let cookie = format!("id={JWT}");
        let bearer = ("authorization", &*bearer);
        let cookie = ("cookie", &*cookie);
        for (lines, expected) in [
            (&[][..], Nothing),
            (&[bearer], Jwt(JWT.as_bytes())),
            (&[cookie], Jwt(JWT.as_bytes())),
            (&[cookie, bearer], Jwt(JWT.as_bytes())),
            (&[cookie, ("cookie", "id=eyJx.eyJy.z")], Ambiguous),
            (&[bearer, ("cookie", "id=eyJx.eyJy.z")], Ambiguous),
            (&[bearer, ("cookie", "s=cfw1_a")], Token(b"cfw1_a")),
            (&[("authorization", "Bearer cfw1_a")], Token(b"cfw1_a")),
            (&[("authorization", "Bearer eyJ.x")], Foreign),
            (&[("cookie", "id=other")], Jwt(b"other")),
        ] {
            assert_eq!(extractor.extract(&headers(lines)), expected, "{lines:?}");
        }
        let no_bearer = CredentialExtractor {
            bearer: false,
            ..extractor
        };
        assert_eq!(no_bearer.extract(&headers(&[bearer])), Jwt(JWT.as_bytes()));
    }
}
