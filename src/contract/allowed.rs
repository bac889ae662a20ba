//! The changes to a request that was allowed, where Curfew itself forwards the request.

use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Replaces the client's identity headers, in every spelling, with the identity headers of the answer to the check.
/// Returns the cookies for the client.
pub fn replace_identity(headers: &mut HeaderMap, answer: &HeaderMap) -> Vec<HeaderValue> {
    let identity = || answer.keys().filter(|name| is_identity(name));
    remove_spellings(headers, identity());
    for name in identity() {
        for value in answer.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    answer.get_all(SET_COOKIE).iter().cloned().collect()
}

/// Whether a header of the answer to a check belongs to the identity.
pub(super) fn is_identity(name: &HeaderName) -> bool {
    *name != CACHE_CONTROL && *name != SET_COOKIE
}

/// Removes every header whose name an application could take for one of `names`. See [`is_spelling_of`].
pub fn remove_spellings<'a>(headers: &mut HeaderMap, names: impl Iterator<Item = &'a HeaderName>) {
    let names: Vec<&HeaderName> = names.collect();
    let found = find_spellings(headers, || names.iter().copied());
    let found: Vec<HeaderName> = found.cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Returns the names of the client's headers that an application could take for a header of the identity. The header with the
/// same name is not one of them, because the answer to the check replaces it.
pub(super) fn other_spellings<'a>(
    client_headers: &'a HeaderMap,
    answer: &HeaderMap,
) -> impl Iterator<Item = &'a HeaderName> {
    find_spellings(client_headers, || {
        answer.keys().filter(|name| is_identity(name))
    })
    .filter(|found| !answer.contains_key(*found))
}

/// Returns the names of `headers` that an application could take for one of `names`. See [`is_spelling_of`].
fn find_spellings<'a, 'n, I: Iterator<Item = &'n HeaderName>>(
    headers: &'a HeaderMap,
    names: impl Fn() -> I,
) -> impl Iterator<Item = &'a HeaderName> {
    headers
        .keys()
        .filter(move |found| names().any(|name| is_spelling_of(found, name)))
}

/// Whether an application could take the name of one header for the name of the other. CGI (RFC 3875, section 4.1.18) and
/// frameworks replace characters of a name with underscores: `X-Session-User`, `X_Session_User` and `X.Session.User` then
/// have one name.
fn is_spelling_of(found: &HeaderName, name: &HeaderName) -> bool {
    let (found, name) = (found.as_str().as_bytes(), name.as_str().as_bytes());
    let is_replaced = |byte: &u8| !byte.is_ascii_alphanumeric();
    let mut pairs = found.iter().zip(name);
    found.len() == name.len() && pairs.all(|(a, b)| a == b || (is_replaced(a) && is_replaced(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_identity_header_is_replaced() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-session-user", "a"),
            ("X_Session_User", "b"),
            ("x-session_user", "c"),
            ("x.session~user", "d"),
            ("x-session-users", "e"),
            ("x-sessionsuser", "f"),
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let mut answer = HeaderMap::new();
        answer.insert("x-session-user", "alice".parse().unwrap());
        answer.insert(CACHE_CONTROL, "no-store".parse().unwrap());
        answer.insert(SET_COOKIE, "a=b".parse().unwrap());
        assert_eq!(replace_identity(&mut headers, &answer), ["a=b"]);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                ("x-session-user", "alice"),
                ("x-session-users", "e"),
                ("x-sessionsuser", "f"),
            ]
        );
    }
}
