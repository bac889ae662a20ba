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
fn is_identity(name: &HeaderName) -> bool {
    *name != CACHE_CONTROL && *name != SET_COOKIE
}

/// Removes every header whose name an application could take for one of `names`. Some servers and frameworks treat `_`
/// and `-` in header names alike.
pub fn remove_spellings<'a>(headers: &mut HeaderMap, names: impl Iterator<Item = &'a HeaderName>) {
    let names: Vec<String> = names.map(spelling_of).collect();
    let found: Vec<HeaderName> = headers
        .keys()
        .filter(|name| names.contains(&spelling_of(name)))
        .cloned()
        .collect();
    for name in found {
        headers.remove(name);
    }
}

/// The common form of all spellings of a header name.
fn spelling_of(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
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
            ("x-session-users", "d"),
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
            [("x-session-user", "alice"), ("x-session-users", "d")]
        );
    }
}
