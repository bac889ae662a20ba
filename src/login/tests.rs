mod addresses;
mod discovery;
mod redeem;
mod user_info;

use super::*;
use crate::credential::SigningKey;
use crate::credential::jwt::ProviderSignIn;
use crate::session::{ClaimsInToken, Subject};

/// Returns a time: `seconds` after a fixed start.
const fn time_at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + seconds * 1000)
}

/// Starts an attempt at 100 s, with a new key.
fn attempt(reauthenticate: bool) -> Attempt {
    start_attempt(&login_with_key(new_key(), "sign-in"), reauthenticate)
}

/// Starts an attempt at 100 s, with the keys of `login`.
fn start_attempt(login: &Login, reauthenticate: bool) -> Attempt {
    Attempt::new(
        login,
        "main",
        "https://app.example.com/a?b=c",
        reauthenticate,
        time_at(100),
    )
    .unwrap()
}

/// Generates a key for attempts.
fn new_key() -> SigningKey {
    SigningKey::parse(&SigningKey::generate().unwrap()).unwrap()
}

/// Returns a cookie with the name for the attempt `name_of` and the value for the attempt `value_of`.
fn cookie(name_of: &Attempt, value_of: &Attempt) -> String {
    let name = Attempt::cookie_name(&name_of.state, true).unwrap();
    format!("{name}={}", value_of.cookie_value())
}

/// Returns request headers with these cookies.
fn cookie_header(cookies: &[String]) -> http::HeaderMap {
    let line = cookies.join("; ").parse().unwrap();
    http::HeaderMap::from_iter([(http::header::COOKIE, line)])
}

/// Returns request headers with the cookies of these attempts.
fn headers(attempts: &[&Attempt]) -> http::HeaderMap {
    let cookies = attempts.iter().map(|it| cookie(it, it));
    cookie_header(&cookies.collect::<Vec<_>>())
}

/// Returns a token response with this `auth_time`, in seconds.
fn token_response(authenticated: Option<u64>) -> TokenResponse {
    TokenResponse {
        signed_in: ProviderSignIn {
            subject: Subject::new("alice").unwrap(),
            attributes: Attributes::default(),
            authenticated: authenticated.map(time_at),
            issued: time_at(109),
        },
        id_token: Secret::default(),
        refresh_token: None,
        in_id_token: ClaimsInToken::default(),
    }
}

/// Returns the session start, in seconds, for an attempt that lasts from 100 s to 110 s. The outer `None` means an
/// error; the inner `None` means that the person must authenticate again.
fn session_start(
    reauthenticate: bool,
    authenticated: Option<u64>,
    max_age: Option<u64>,
) -> Option<Option<u64>> {
    let age = max_age.map(Duration::from_secs);
    let leeway = Duration::from_secs(5);
    let tokens = token_response(authenticated);
    let start = Login::session_start(&attempt(reauthenticate), &tokens, age, leeway, time_at(110));
    let seconds = |time: Timestamp| time.since(time_at(0)).as_secs();
    start.ok().map(|start| start.map(seconds))
}

/// Returns the sign-in for `https://app.example.com/`, with this key and without providers.
fn login_with_key(key: SigningKey, purpose: &'static str) -> Login {
    Login {
        url: "https://app.example.com/".parse().unwrap(),
        purpose,
        max_age: MaxAge::Idle,
        revalidation_interval: None,
        providers: BTreeMap::new(),
        key_ring: Arc::new(KeyRing::new(vec![key]).unwrap()),
        secure: true,
        domain: None,
    }
}

#[test]
fn an_authentication_is_accepted_up_to_its_maximum_age() {
    for (reauthenticate, authenticated, max_age, expected) in [
        (false, Some(105), Some(20), Some(Some(105))),
        (false, Some(91), Some(20), Some(Some(91))),
        (false, Some(90), Some(20), Some(None)),
        (false, Some(1), None, Some(Some(1))),
        // The person must authenticate after the start of the attempt. The leeway is 5 s.
        (true, Some(105), Some(20), Some(Some(105))),
        (true, Some(95), Some(20), Some(Some(100))),
        (true, Some(94), Some(20), Some(None)),
        (true, Some(94), None, Some(None)),
        // If the ID token has no authentication time, the maximum age cannot be checked.
        (false, None, Some(20), None),
        (true, None, None, None),
        (false, None, None, Some(Some(109))),
    ] {
        let start = session_start(reauthenticate, authenticated, max_age);
        assert_eq!(
            start, expected,
            "{reauthenticate} {authenticated:?} {max_age:?}"
        );
    }
}

#[test]
fn an_attempt_is_found_by_its_state_and_its_secret() {
    let login = login_with_key(new_key(), "sign-in");
    let (own, other) = (start_attempt(&login, false), start_attempt(&login, true));
    let find = |headers: &http::HeaderMap, state: &str, now| {
        Attempt::find(headers, state, &login, now).ok()
    };
    let both = headers(&[&own, &other]);
    assert_eq!(find(&both, &own.state, time_at(200)), Some(own.clone()));
    assert_eq!(find(&both, &other.state, time_at(200)), Some(other.clone()));
    // These states are similar to a valid state, empty, too short, or not valid in a cookie name.
    let similar = format!("{}x", &own.state[..own.state.len() - 1]);
    let similar = if similar == own.state { "x" } else { &*similar };
    for state in [similar, "", "abc", "a=b; c=d;", "ü6789012"] {
        assert_eq!(find(&both, state, time_at(200)), None, "{state}");
    }
    assert_eq!(
        find(&both, &own.state, time_at(700)),
        None,
        "an expired attempt must not be found"
    );
    // The cookie of another attempt does not match, even under the name of this attempt, because its secret differs.
    assert_eq!(find(&headers(&[&other]), &own.state, time_at(200)), None);
    let (planted, real) = (cookie(&own, &other), cookie(&own, &own));
    let planted_only = cookie_header(std::slice::from_ref(&planted));
    assert_eq!(find(&planted_only, &own.state, time_at(200)), None);
    // If another host sets a cookie with the same name for the domain, Curfew still finds the right cookie.
    for pair in [[&planted, &real], [&real, &planted]] {
        let found = find(
            &cookie_header(&pair.map(Clone::clone)),
            &own.state,
            time_at(200),
        );
        assert_eq!(found, Some(own.clone()));
    }
}

#[test]
fn an_attempt_is_bound_to_its_key_ring_and_purpose() {
    let login = login_with_key(new_key(), "sign-in");
    let own = start_attempt(&login, false);
    let console = Login {
        key_ring: Arc::clone(&login.key_ring),
        ..login_with_key(new_key(), "console")
    };
    for other in [login_with_key(new_key(), "sign-in"), console] {
        let found = Attempt::find(&headers(&[&own]), &own.state, &other, time_at(200));
        assert!(found.is_err());
        assert_eq!(Attempt::target_of(&own.state, &other), None);
    }
    assert_eq!(
        Attempt::target_of(&own.state, &login).unwrap(),
        "https://app.example.com/a?b=c"
    );
    // The provider and its logs cannot read the target address.
    assert!(!own.state.contains("YXBw"), "{}", own.state);
}

/// Browsers send cookies in any order.
#[test]
fn attempt_cookies_are_sorted_by_age() {
    let login = login_with_key(new_key(), "sign-in");
    let attempt_at = |second| Attempt::new(&login, "main", "/", false, time_at(second)).unwrap();
    let name = |attempt: &Attempt| Attempt::cookie_name(&attempt.state, true).unwrap();
    let (first, second, third) = (attempt_at(1), attempt_at(2), attempt_at(300));
    let mut request_headers = headers(&[&third, &first, &second]);
    let other = "session=x; __Host-curfew-login-unknown=x; curfew-login-plain=x";
    request_headers.append(http::header::COOKIE, other.parse().unwrap());
    assert_eq!(
        Attempt::cookie_names(&request_headers, true),
        [
            "__Host-curfew-login-unknown",
            &name(&first),
            &name(&second),
            &name(&third)
        ]
    );
    let cookie = format!("{}={}", name(&first), first.cookie_value());
    assert!(cookie.len() < 90, "{cookie}");
}

#[test]
fn each_attempt_has_different_random_values() {
    let (one, other) = (attempt(false), attempt(false));
    for (one, other) in [
        (&one.state[..8], &other.state[..8]),
        (&one.nonce, &other.nonce),
        (&one.verifier, &other.verifier),
        (&one.nonce, &one.verifier),
    ] {
        assert_ne!(one, other);
    }
    // RFC 7636 section 4.1 requires at least 43 characters.
    assert_eq!((one.nonce.len(), one.verifier.len()), (43, 43));
}
