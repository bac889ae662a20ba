use std::time::Duration;

use serde_json::json;

use super::*;
use crate::credential::jwt::Claims;
use crate::testing::START;
use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};

fn issuer() -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: vec![jsonwebtoken::Algorithm::EdDSA],
        typ: Some("at+jwt".to_owned()),
        leeway: Duration::ZERO,
        claims: Claims {
            session: vec!["sid".to_owned()],
            subject: "sub".to_owned(),
            groups: "groups".to_owned(),
            email: "email".to_owned(),
        },
    }
}

fn seconds(after: i64) -> i64 {
    i64::try_from(START.as_millis() / 1000).unwrap() + after
}

fn with(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "sid": "s-1",
        "jti": "l-1",
        "iat": seconds(-1),
        "exp": seconds(119),
        "events": { EVENT: {} },
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn verify(key: &SigningKey, typ: &Value, claims: &Value) -> Result<LogoutToken, InvalidLogout> {
    let mut header = json!({ "alg": "EdDSA", "kid": key.id });
    if !typ.is_null() {
        header["typ"] = typ.clone();
    }
    let token = key.sign(&header, claims);
    issuer().verify_logout(&token, &key_set(&[key]), START)
}

#[test]
fn who_is_gone() {
    let key = SigningKey::ed25519("a");
    let typ = json!("logout+jwt");
    let both = verify(&key, &typ, &with(&json!({}))).unwrap();
    assert_eq!(
        (both.id.as_str(), both.issued),
        ("l-1", START.minus(Duration::from_secs(1)))
    );
    assert_eq!(both.subject.unwrap().as_str(), "alice");
    assert_eq!(both.provider_session, issuer().provider_session("s-1"));
    let all = verify(&key, &typ, &with(&json!({ "sid": null }))).unwrap();
    assert_eq!(all.provider_session, None);
    let one = verify(&key, &typ, &with(&json!({ "sub": null }))).unwrap();
    assert_eq!(one.subject, None);
    for typ in [
        json!(null),
        json!("JWT"),
        json!("Logout+JWT"),
        json!("application/logout+jwt"),
    ] {
        assert!(verify(&key, &typ, &with(&json!({}))).is_ok(), "{typ}");
    }
}

/// Section 2.6, line by line.
#[test]
fn what_is_no_logout_token() {
    use InvalidJwt::{Audience, Expired, Issuer, NotYet, Signature, Type};
    use InvalidLogout::{Event, Nameless, Nobody, Nonce, Token};
    let key = SigningKey::ed25519("a");
    let typ = json!("logout+jwt");
    for (changes, expected) in [
        (json!({ "iss": "https://evil.example" }), Token(Issuer)),
        (json!({ "aud": "others" }), Token(Audience)),
        (json!({ "exp": null }), Token(Expired)),
        (json!({ "exp": seconds(0) }), Token(Expired)),
        (json!({ "iat": seconds(5) }), Token(NotYet)),
        (json!({ "iat": null }), Nameless),
        (json!({ "jti": null }), Nameless),
        (json!({ "jti": "" }), Nameless),
        (json!({ "sub": null, "sid": null }), Nobody),
        (json!({ "sub": "", "sid": null }), Nobody),
        (json!({ "sub": "" }), Nobody),
        (json!({ "sid": "" }), Nobody),
        (json!({ "sid": 7 }), Nobody),
        (json!({ "sub": "a\nb" }), Nobody),
        (json!({ "events": null }), Event),
        (json!({ "events": {} }), Event),
        (json!({ "events": [EVENT] }), Event),
        (json!({ "events": { EVENT: null } }), Event),
        (json!({ "events": { EVENT: true } }), Event),
        (json!({ "events": EVENT }), Event),
        (json!({ "nonce": "n" }), Nonce),
        (json!({ "nonce": "" }), Nonce),
    ] {
        let found = verify(&key, &typ, &with(&changes));
        assert_eq!(found, Err(expected), "{changes}");
    }
    for typ in ["at+jwt", "secevent+jwt", "x"] {
        let found = verify(&key, &json!(typ), &with(&json!({})));
        assert_eq!(found, Err(Token(Type)), "{typ}");
    }
    let stranger = SigningKey::ed25519("a");
    let header = json!({ "alg": "EdDSA", "kid": "a", "typ": "logout+jwt" });
    let forged = stranger.sign(&header, &with(&json!({})));
    let found = issuer().verify_logout(&forged, &key_set(&[&key]), START);
    assert_eq!(found, Err(Token(Signature)));
}

/// A logout token opens nothing, and what opens something logs nobody out.
#[test]
fn the_two_kinds_are_never_taken_for_each_other() {
    let key = SigningKey::ed25519("a");
    let any_type = Issuer {
        typ: None,
        ..issuer()
    };
    for typ in [json!("logout+jwt"), json!("JWT"), json!("secevent+jwt")] {
        let header = json!({ "alg": "EdDSA", "kid": "a", "typ": typ });
        let token = key.sign(&header, &with(&json!({})));
        let found = any_type.verify(&token, &key_set(&[&key]), START);
        assert_eq!(found, Err(InvalidJwt::Type), "{typ}");
    }
    let credential = with(&json!({ "events": null }));
    let found = verify(&key, &json!("JWT"), &credential);
    assert_eq!(found, Err(InvalidLogout::Event));
}
