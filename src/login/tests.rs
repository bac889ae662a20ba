use super::*;
use crate::credential::SigningKey;
use crate::credential::jwt::SignedIn;
use crate::session::Subject;

const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000 + seconds * 1000)
}

fn attempt(again: bool) -> Attempt {
    Attempt::new("main", "https://app.example.com/", again, at(100)).unwrap()
}

fn redeemed(authenticated: Option<u64>) -> Redeemed {
    Redeemed {
        signed_in: SignedIn {
            subject: Subject::new("alice").unwrap(),
            attributes: Attributes::default(),
            authenticated: authenticated.map(at),
            issued: at(109),
        },
        id_token: String::new(),
    }
}

/// When the session begins, at 110 s, of an attempt that began at 100 s.
fn begun(again: bool, authenticated: Option<u64>, max_age: Option<u64>) -> Option<Option<u64>> {
    let age = max_age.map(Duration::from_secs);
    let leeway = Duration::from_secs(5);
    let told = redeemed(authenticated);
    let begun = Login::begun(&attempt(again), &told, age, leeway, at(110));
    let seconds = |time: Timestamp| time.since(at(0)).as_secs();
    begun.ok().map(|begun| begun.map(seconds))
}

fn login(key: SigningKey, purpose: &'static str) -> Login {
    Login {
        url: "https://app.example.com/".parse().unwrap(),
        purpose,
        max_age: MaxAge::Idle,
        providers: BTreeMap::new(),
        key_ring: Arc::new(KeyRing::new(vec![key]).unwrap()),
        secure: true,
        domain: None,
    }
}

#[test]
fn a_proof_is_good_for_a_while() {
    for (again, authenticated, max_age, expected) in [
        (false, Some(105), Some(20), Some(Some(105))),
        (false, Some(91), Some(20), Some(Some(91))),
        (false, Some(90), Some(20), Some(None)),
        (false, Some(1), None, Some(Some(1))),
        // Whoever is to prove it again has done so since, by the provider's clock.
        (true, Some(105), Some(20), Some(Some(105))),
        (true, Some(95), Some(20), Some(Some(100))),
        (true, Some(94), Some(20), Some(None)),
        (true, Some(94), None, Some(None)),
        // A provider that does not say it can't be asked.
        (false, None, Some(20), None),
        (true, None, None, None),
        (false, None, None, Some(Some(109))),
    ] {
        let told = begun(again, authenticated, max_age);
        assert_eq!(told, expected, "{again} {authenticated:?} {max_age:?}");
    }
}

#[test]
fn an_attempt_is_found_by_its_state_alone() {
    let key = || SigningKey::parse(&SigningKey::generate().unwrap()).unwrap();
    let ring = login(key(), "sign-in");
    let (own, other) = (attempt(false), attempt(false));
    let headers = |attempts: &[(&Attempt, &Login)]| {
        let pairs = attempts.iter().map(|(attempt, login)| {
            let name = Attempt::cookie_name(&attempt.state, true).unwrap();
            format!("{name}={}", attempt.seal(login).unwrap())
        });
        let line = pairs.collect::<Vec<_>>().join("; ");
        http::HeaderMap::from_iter([(http::header::COOKIE, line.parse().unwrap())])
    };
    let find = |headers: &http::HeaderMap, state: &str, now| {
        Attempt::find(headers, state, &ring, now).ok()
    };
    let both = headers(&[(&own, &ring), (&other, &ring)]);
    assert_eq!(find(&both, &own.state, at(200)), Some(own.clone()));
    assert_eq!(find(&both, &other.state, at(200)), Some(other.clone()));
    // Another state with the same beginning, none, one that is too short, one that is no name.
    let similar = format!("{}x", &own.state[..42]);
    for state in [&*similar, "", "abc", "a=b; c=d;", "ü6789012"] {
        assert_eq!(find(&both, state, at(200)), None, "{state}");
    }
    assert_eq!(find(&both, &own.state, at(700)), None, "too late");
    let foreign = login(key(), "sign-in");
    assert_eq!(
        find(&headers(&[(&own, &foreign)]), &own.state, at(200)),
        None
    );
    // What is for another door is none for this.
    let other_door = Login {
        purpose: "console",
        ..login(key(), "")
    };
    let other_door = Login {
        key_ring: Arc::clone(&ring.key_ring),
        ..other_door
    };
    assert_eq!(
        find(&headers(&[(&own, &other_door)]), &own.state, at(200)),
        None
    );
    let twice = headers(&[(&own, &ring), (&own, &ring)]);
    assert_eq!(find(&twice, &own.state, at(200)), None, "ambiguous");
}

#[test]
fn attempts_never_repeat() {
    let (one, other) = (attempt(false), attempt(false));
    for (one, other) in [
        (&one.state, &other.state),
        (&one.nonce, &other.nonce),
        (&one.verifier, &other.verifier),
        (&one.state, &one.nonce),
        (&one.nonce, &one.verifier),
    ] {
        assert_ne!(one, other);
        // RFC 7636 section 4.1.
        assert_eq!(one.len(), 43);
    }
}
