use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::credential::jwt::KeySetError;
use crate::credential::jwt::unverified_issuer;
use crate::testing::START;
use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns an issuer that accepts tokens without `auth_time`.
fn issuer() -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned(), "other-app".to_owned()],
        algorithms: vec![
            Algorithm::RS256,
            Algorithm::PS256,
            Algorithm::ES256,
            Algorithm::EdDSA,
        ],
        typ: None,
        leeway: Duration::from_secs(30),
        accepts_iat: true,
        logout_scope: LogoutScope::default(),
        claims: ClaimNames {
            session: vec!["sid".to_owned()],
            subject: "sub".to_owned(),
            groups: "realm_access.roles".to_owned(),
            email: "email".to_owned(),
        },
    }
}

/// Returns the NumericDate of [`START`] plus an offset in seconds.
fn seconds(offset: i64) -> i64 {
    i64::try_from(START.as_millis() / 1000).unwrap() + offset
}

/// Returns valid claims. The person signed in an hour ago. The token was issued a minute ago, and is valid for
/// another five minutes.
fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "sid": "s-1",
        "jti": "t-1",
        "auth_time": seconds(-3600),
        "iat": seconds(-60),
        "exp": seconds(300),
        "email": "alice@example.com",
        "realm_access": { "roles": ["staff", "admin"] },
    })
}

/// Returns valid claims with these claims added or replaced; `null` removes a claim.
fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// Verifies a token at [`START`] with this key of the issuer.
fn verify(token: &str, key: &SigningKey) -> Result<VerifiedJwt, InvalidJwt> {
    issuer().verify(token, &key_set(&[key]), START)
}

#[test]
fn accepts_a_valid_token_of_each_key_type() {
    for key in [
        SigningKey::ed25519("a"),
        SigningKey::p256("b"),
        SigningKey::rsa("c"),
    ] {
        let verified = verify(&key.token(&claims()), &key).unwrap();
        assert_eq!(verified.subject.as_str(), "alice");
        assert_eq!(verified.attributes.get("groups"), ["staff", "admin"]);
        assert_eq!(verified.attributes.get("email"), ["alice@example.com"]);
        assert_eq!(verified.started, START.minus(60 * MINUTE));
        assert_eq!(verified.expires, START.plus(5 * MINUTE + MINUTE / 2));
    }
    let rsa = SigningKey::rsa("c");
    let pss = rsa.sign(&json!({ "alg": "PS256", "kid": "c" }), &claims());
    assert!(verify(&pss, &rsa).is_ok());
}

/// RFC 8725 2.1, 3.1: the configuration, not the token, selects the algorithms.
#[test]
fn the_token_cannot_choose_its_algorithm() {
    let key = SigningKey::rsa("a");
    let header = |alg: &str| json!({ "alg": alg, "kid": "a" });
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS1", "ES512", "RS384",
    ] {
        let found = verify(&key.sign(&header(alg), &claims()), &key);
        assert_eq!(found, Err(InvalidJwt::Algorithm), "{alg}");
    }
    let unsigned = key.sign(&header("none"), &claims());
    let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
    let found = verify(&format!("{unsigned}."), &key);
    assert_eq!(found, Err(InvalidJwt::Algorithm));
    // An attacker uses the public key as a shared secret (CVE-2015-9235).
    let mut allows_hmac = issuer();
    allows_hmac.algorithms.push(Algorithm::HS256);
    let keys = key_set(&[&key]);
    let jwk = key.jwk().to_string();
    for secret in [jwk.as_bytes(), key.jwk()["n"].as_str().unwrap().as_bytes()] {
        let token = hmac_token(&json!({ "alg": "HS256", "kid": "a" }), &claims(), secret);
        let found = allows_hmac.verify(&token, &keys, START);
        assert_eq!(
            found,
            Err(InvalidJwt::UnknownKey),
            "no key should fit the algorithm"
        );
    }
    // The verifier never uses a key for an algorithm of another key family.
    let p256 = SigningKey::p256("a");
    let claimed = p256.sign(&header("RS256"), &claims());
    assert_eq!(verify(&claimed, &p256), Err(InvalidJwt::UnknownKey));
    assert_eq!(verify(&claimed, &key), Err(InvalidJwt::Signature));
}

/// Signs a token with HMAC-SHA256.
fn hmac_token(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", text(header), text(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let tag = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// RFC 8725 3.10: the verifier does not trust keys and addresses in the header.
#[test]
fn keys_in_a_token_header_are_ignored() {
    let (ours, theirs) = (SigningKey::ed25519("a"), SigningKey::ed25519("a"));
    for extra in [
        json!({ "jwk": theirs.jwk() }),
        json!({ "jku": "https://evil.example/jwks" }),
        json!({ "x5u": "https://evil.example/cert" }),
        json!({ "x5c": ["MIIB"] }),
    ] {
        let mut header = json!({ "alg": "EdDSA", "kid": "a" });
        let name = extra.as_object().unwrap().keys().next().unwrap();
        header[name] = extra[name].clone();
        let forged = theirs.sign(&header, &claims());
        assert!(verify(&forged, &ours).is_err(), "{extra}");
    }
}

/// RFC 8725 3.10: the verifier only compares key IDs, and never uses them as a path or an address.
#[test]
fn key_ids_are_only_compared() {
    let key = SigningKey::ed25519("a");
    for kid in [
        json!("b"),
        json!("../../../../dev/null"),
        json!("a' OR '1'='1"),
        json!("a\u{0}"),
        json!("http://evil.example/key"),
        json!("x".repeat(4000)),
    ] {
        let header = json!({ "alg": "EdDSA", "kid": kid });
        let found = verify(&key.sign(&header, &claims()), &key);
        assert_eq!(found, Err(InvalidJwt::UnknownKey), "{kid}");
    }
    for kid in [json!(1), json!(null), json!(["a"]), json!({})] {
        let header = json!({ "alg": "EdDSA", "kid": kid });
        assert!(
            verify(&key.sign(&header, &claims()), &key).is_err(),
            "{kid}"
        );
    }
    // If the token has no key ID, the verifier tries every key for the algorithm.
    let header = json!({ "alg": "EdDSA" });
    let other = SigningKey::ed25519("b");
    let keys = key_set(&[&other, &key]);
    let token = key.sign(&header, &claims());
    assert!(issuer().verify(&token, &keys, START).is_ok());
    let forged = SigningKey::ed25519("c").sign(&header, &claims());
    let found = issuer().verify(&forged, &keys, START);
    assert_eq!(found, Err(InvalidJwt::Signature));
}

#[test]
fn rejects_malformed_and_unsupported_tokens() {
    let key = SigningKey::ed25519("a");
    let good = key.token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "eyJ".to_owned(),
        parts[..2].join("."),
        format!("{good}.x"),
        format!("{good}.."),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!(" {good}"),
        format!("{good}\n"),
        good.replace('.', ".."),
    ] {
        assert!(verify(&bad, &key).is_err(), "{bad}");
    }
    // Critical extensions and nested tokens (RFC 8725 2.8).
    for extra in [
        json!({ "crit": ["exp"] }),
        json!({ "crit": [] }),
        json!({ "b64": false }),
        json!({ "b64": true }),
        json!({ "cty": "JWT" }),
        json!({ "cty": "jwt" }),
        json!({ "cty": 1 }),
    ] {
        let mut header = json!({ "alg": "EdDSA", "kid": "a" });
        let name = extra.as_object().unwrap().keys().next().unwrap();
        header[name] = extra[name].clone();
        let found = verify(&key.sign(&header, &claims()), &key);
        assert_eq!(found, Err(InvalidJwt::Malformed), "{extra}");
    }
    let huge = key.token(&claims_with(json!({ "x": "y".repeat(MAX_TOKEN_BYTES) })));
    assert_eq!(verify(&huge, &key), Err(InvalidJwt::TooLarge));
    let header = json!({ "alg": "EdDSA", "kid": "a" });
    let text = format!("{{\"x\":{}}}", "[".repeat(5000));
    let deeply_nested = format!(
        "{}.{}.AA",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(text)
    );
    assert!(verify(&deeply_nested, &key).is_err());
}

/// RFC 8725 3.11: if the configuration requires a `typ`, the verifier rejects any other `typ`.
#[test]
fn validates_the_configured_typ() {
    let key = SigningKey::ed25519("a");
    let typed = Issuer {
        typ: Some("at+jwt".to_owned()),
        ..issuer()
    };
    for (typ, good) in [
        (json!("at+jwt"), true),
        (json!("AT+JWT"), true),
        (json!("application/at+jwt"), true),
        (json!("JWT"), false),
        (json!("logout+jwt"), false),
        (json!(""), false),
        (json!(null), false),
    ] {
        let header = json!({ "alg": "EdDSA", "kid": "a", "typ": typ });
        let found = typed.verify(&key.sign(&header, &claims()), &key_set(&[&key]), START);
        assert_eq!(found.is_ok(), good, "{typ}: {found:?}");
    }
}

/// Tests the requirements of RFC 8725, sections 3.8 and 3.9.
#[test]
fn validates_issuer_audience_and_subject() {
    use InvalidJwt::{Audience, Issuer, Subject};
    let key = SigningKey::ed25519("a");
    for (changes, expected) in [
        (json!({ "iss": null }), Issuer),
        (json!({ "iss": format!("{ISSUER}/") }), Issuer),
        (json!({ "iss": "https://evil.example" }), Issuer),
        (json!({ "iss": [ISSUER] }), Issuer),
        (json!({ "aud": null }), Audience),
        (json!({ "aud": "others" }), Audience),
        (json!({ "aud": ["others", "App"] }), Audience),
        (json!({ "aud": [] }), Audience),
        (json!({ "aud": { "app": true } }), Audience),
        (json!({ "sub": null }), Subject),
        (json!({ "sub": "" }), Subject),
        (json!({ "sub": 7 }), Subject),
        (json!({ "sub": "a\r\nX-Session-User: root" }), Subject),
        (json!({ "sub": "x".repeat(256) }), Subject),
        (json!({ "realm_access": { "roles": ["a,b"] } }), Subject),
        (json!({ "email": "a\nb" }), Subject),
    ] {
        let found = verify(&key.token(&claims_with(changes.clone())), &key);
        assert_eq!(found, Err(expected), "{changes}");
    }
    for changes in [
        json!({ "aud": ["others", AUDIENCE] }),
        json!({ "aud": "other-app" }),
        json!({ "email": null, "realm_access": null }),
        json!({ "realm_access": { "roles": "staff" } }),
    ] {
        assert!(
            verify(&key.token(&claims_with(changes.clone())), &key).is_ok(),
            "{changes}"
        );
    }
}

#[test]
fn validates_the_times() {
    use InvalidJwt::{Expired, Malformed, NotYetValid};
    let key = SigningKey::ed25519("a");
    for (changes, expected) in [
        (json!({ "exp": seconds(-29) }), None),
        (json!({ "exp": seconds(-30) }), Some(Expired)),
        (json!({ "exp": null }), Some(Expired)),
        (json!({ "exp": 0 }), Some(Expired)),
        (json!({ "exp": -5 }), Some(Malformed)),
        (json!({ "exp": "soon" }), Some(Malformed)),
        (json!({ "exp": seconds(300).to_string() }), Some(Malformed)),
        (json!({ "exp": 1e30 }), Some(Malformed)),
        (json!({ "nbf": seconds(30) }), None),
        (json!({ "nbf": seconds(31) }), Some(NotYetValid)),
        (json!({ "iat": seconds(31) }), Some(NotYetValid)),
        (json!({ "iat": "now" }), Some(Malformed)),
        (json!({ "auth_time": {} }), Some(Malformed)),
        // The clock of the provider can be fast. But Curfew accepts a future time only within the leeway. Otherwise an
        // old sign-in could seem to be later than a revocation or a loss of data.
        (json!({ "auth_time": seconds(30) }), None),
        (json!({ "auth_time": seconds(31) }), Some(NotYetValid)),
        (json!({ "exp": seconds(300) as f64 + 0.5 }), None),
    ] {
        let found = verify(&key.token(&claims_with(changes.clone())), &key);
        assert_eq!(found.err(), expected, "{changes}");
    }
    // If `auth_time` is in the future, the session starts now. Without `auth_time`, it starts at the issue time, and
    // without both times, it starts now.
    for (changes, started) in [
        (json!({ "auth_time": seconds(30) }), START),
        (json!({ "auth_time": null }), START.minus(MINUTE)),
        (json!({ "auth_time": null, "iat": null }), START),
    ] {
        let verified = verify(&key.token(&claims_with(changes)), &key).unwrap();
        assert_eq!(verified.started, started);
    }
    // Without `accepts_iat`, a token must have `auth_time`, because a refresh changes `iat`.
    let strict = Issuer {
        accepts_iat: false,
        ..issuer()
    };
    for (changes, expected_error) in [
        (json!({}), None),
        (json!({ "auth_time": null }), Some(InvalidJwt::NoAuthTime)),
        (
            json!({ "auth_time": null, "iat": null }),
            Some(InvalidJwt::NoAuthTime),
        ),
    ] {
        let token = key.token(&claims_with(changes.clone()));
        let found = strict.verify(&token, &key_set(&[&key]), START);
        assert_eq!(found.err(), expected_error, "{changes}");
    }
}

#[test]
fn refreshed_tokens_share_a_session_and_new_sign_ins_do_not() {
    let key = SigningKey::ed25519("a");
    let session_of = |changes: Value| {
        verify(&key.token(&claims_with(changes)), &key)
            .unwrap()
            .session
    };
    let first = session_of(json!({}));
    let refreshed = json!({ "jti": "t-2", "iat": seconds(-1), "exp": seconds(900) });
    assert_eq!(session_of(refreshed), first);
    assert_ne!(session_of(json!({ "sid": "s-2" })), first);
    assert_ne!(
        session_of(json!({ "auth_time": seconds(-10) })),
        first,
        "a new sign-in should give another session ID"
    );
    // Without `sid`, the subject and the time of the sign-in identify the session.
    let by_sign_in = session_of(json!({ "sid": null }));
    for refreshed in [
        json!({ "sid": null, "exp": seconds(900) }),
        json!({ "sid": null, "jti": "t-2" }),
        json!({ "sid": null, "jti": null }),
    ] {
        assert_eq!(session_of(refreshed.clone()), by_sign_in, "{refreshed}");
    }
    for other in [
        json!({ "sid": null, "sub": "bob" }),
        json!({ "sid": null, "auth_time": seconds(-10) }),
        json!({ "sid": "alice" }),
    ] {
        assert_ne!(session_of(other.clone()), by_sign_in, "{other}");
    }
    // Without `sid` and `auth_time`, `jti` identifies the session. If `jti` is missing, too, the whole token identifies
    // the session.
    let session_of = |changes: Value| {
        let mut claims = claims_with(json!({ "sid": null, "auth_time": null }));
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let token = key.token(&claims);
        issuer()
            .verify(&token, &key_set(&[&key]), START)
            .unwrap()
            .session
    };
    let by_jti = session_of(json!({}));
    assert_eq!(session_of(json!({ "exp": seconds(900) })), by_jti);
    assert_ne!(session_of(json!({ "jti": "t-2" })), by_jti);
    let without_jti = json!({ "jti": "" });
    assert_eq!(
        session_of(without_jti.clone()),
        session_of(without_jti.clone())
    );
    assert_ne!(
        session_of(json!({ "jti": "", "exp": seconds(301) })),
        session_of(without_jti)
    );
    let other_issuer = Issuer {
        issuer: "https://other.example".to_owned(),
        ..issuer()
    };
    let token = key.token(&claims_with(json!({ "iss": "https://other.example" })));
    let other = other_issuer
        .verify(&token, &key_set(&[&key]), START)
        .unwrap();
    assert_ne!(other.session, first, "another issuer");
}

#[test]
fn a_key_set_has_only_usable_keys() {
    let key = SigningKey::ed25519("a");
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "s" });
    let unsupported = json!({ "kty": "new", "kid": "n" });
    let mut encrypting = SigningKey::ed25519("e").jwk();
    encrypting["use"] = json!("enc");
    let set = json!({ "keys": [secret, unsupported, encrypting, key.jwk()] });
    let keys = KeySet::from_json(set.to_string().as_bytes()).unwrap();
    assert!(keys.knows("a"));
    for skipped in ["s", "n", "e"] {
        assert!(!keys.knows(skipped), "{skipped}");
    }
    for (text, expected) in [
        ("", KeySetError::Unreadable),
        ("[]", KeySetError::Unreadable),
        ("{}", KeySetError::Unreadable),
        (r#"{"keys":{}}"#, KeySetError::Unreadable),
        (r#"{"keys":[]}"#, KeySetError::Empty),
        (
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#,
            KeySetError::Empty,
        ),
    ] {
        let found = KeySet::from_json(text.as_bytes());
        assert_eq!(found.map(|_| ()), Err(expected), "{text}");
    }
    assert!(KeySet::from_file(set.to_string().as_bytes()).is_ok());
    let found = KeySet::from_file(b"-----BEGIN NONSENSE-----\n").map(|_| ());
    assert_eq!(found, Err(KeySetError::Unreadable));
    // The verifier does not use a key with `alg` for another algorithm.
    let rsa = SigningKey::rsa("r");
    let mut jwk = rsa.jwk();
    jwk["alg"] = json!("PS256");
    let keys = json!({ "keys": [jwk] });
    let keys = KeySet::from_json(keys.to_string().as_bytes()).unwrap();
    let found = issuer().verify(&rsa.token(&claims()), &keys, START);
    assert_eq!(found, Err(InvalidJwt::UnknownKey));
}

proptest! {
    #[test]
    fn a_changed_token_is_refused(at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9._-]") {
        let key = SigningKey::ed25519("a");
        let good = key.token(&claims());
        let at = at.index(good.len());
        let changed = format!("{}{to}{}", &good[..at], &good[at + 1..]);
        prop_assume!(changed != good);
        prop_assert!(verify(&changed, &key).is_err());
    }

    #[test]
    fn arbitrary_input_does_not_panic(text in "\\PC{0,80}", parts in proptest::collection::vec(any::<u8>(), 0..60)) {
        let key = SigningKey::ed25519("a");
        let _ = verify(&text, &key);
        let _ = unverified_issuer(&text);
        let encoded = URL_SAFE_NO_PAD.encode(&parts);
        let _ = verify(&format!("{encoded}.{encoded}.{encoded}"), &key);
        let _ = KeySet::from_file(&parts);
    }
}

#[test]
fn display_names_are_used_if_a_header_can_carry_them() {
    let key = SigningKey::ed25519("a");
    let read_names = |changes| {
        let token = key.token(&claims_with(changes));
        let verified = issuer().verify(&token, &key_set(&[&key]), START).unwrap();
        let first = |name: &str| verified.attributes.get(name).next().map(str::to_owned);
        (first("name"), first("preferred_username"))
    };
    let found = read_names(json!({ "name": "Zoë Öz", "preferred_username": "zoe" }));
    assert_eq!(found, (Some("Zoë Öz".to_owned()), Some("zoe".to_owned())));
    let found = read_names(json!({ "name": "a\r\nX-Session-User: root", "preferred_username": 7 }));
    assert_eq!(found, (None, None));
}
