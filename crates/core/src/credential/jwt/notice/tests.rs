use std::time::Duration;

use serde_json::json;

use super::event::SESSION_REVOKED;
use super::logout::EVENT;
use super::*;
use crate::credential::jwt::KeySet;
use crate::testing;
use crate::testing::START;
use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};

/// An issuer whose credentials have their own `typ`.
fn issuer() -> Issuer {
    Issuer {
        typ: Some("at+jwt".to_owned()),
        ..testing::jwt::issuer()
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

fn verify(key: &SigningKey, typ: &Value, claims: &Value) -> Result<Notice, InvalidNotice> {
    let mut header = json!({ "alg": "EdDSA", "kid": key.id });
    if !typ.is_null() {
        header["typ"] = typ.clone();
    }
    let token = key.sign(&header, claims);
    issuer().verify_logout(&token, &key_set(&[key]), START)
}

#[test]
fn identifies_the_ended_sessions() {
    let key = SigningKey::ed25519("a");
    let typ = json!("logout+jwt");
    let both = verify(&key, &typ, &with(&json!({}))).unwrap();
    assert_eq!(
        (both.id.as_str(), both.issued),
        ("l-1", START.minus(Duration::from_secs(1)))
    );
    let session = issuer().provider_session("s-1");
    let alice = issuer().provider_subject("alice");
    let whom = |notice: Notice| {
        let whom = notice.ended.unwrap();
        let subject = whom.subject.map(|subject| subject.as_str().to_owned());
        (whom.name, whom.one, subject)
    };
    let named = Some("alice".to_owned());
    assert_eq!(whom(both), (session.clone(), true, named.clone()));
    let all = verify(&key, &typ, &with(&json!({ "sid": null }))).unwrap();
    assert_eq!(whom(all), (alice, false, named));
    let one = verify(&key, &typ, &with(&json!({ "sub": null }))).unwrap();
    assert_eq!(whom(one), (session, true, None));
    for typ in [
        json!(null),
        json!("JWT"),
        json!("Logout+JWT"),
        json!("application/logout+jwt"),
    ] {
        assert!(verify(&key, &typ, &with(&json!({}))).is_ok(), "{typ}");
    }
}

/// Section 2.6, rule by rule.
#[test]
fn rejects_invalid_logout_tokens() {
    use InvalidJwt::{Audience, Expired, Issuer, NotYet, Signature, Type};
    use InvalidNotice::{Event, MissingId, Nonce, Token, UnsupportedSubject};
    let key = SigningKey::ed25519("a");
    let typ = json!("logout+jwt");
    for (changes, expected) in [
        (json!({ "iss": "https://evil.example" }), Token(Issuer)),
        (json!({ "aud": "others" }), Token(Audience)),
        (json!({ "exp": null }), Token(Expired)),
        (json!({ "exp": seconds(0) }), Token(Expired)),
        (json!({ "iat": seconds(5) }), Token(NotYet)),
        (json!({ "iat": null }), MissingId),
        (json!({ "jti": null }), MissingId),
        (json!({ "jti": "" }), MissingId),
        (json!({ "sub": null, "sid": null }), UnsupportedSubject),
        (json!({ "sub": "", "sid": null }), UnsupportedSubject),
        (json!({ "sub": "" }), UnsupportedSubject),
        (json!({ "sid": "" }), UnsupportedSubject),
        (json!({ "sid": 7 }), UnsupportedSubject),
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

/// A logout token is never accepted as a credential, and a credential is never accepted as a logout token.
#[test]
fn logout_tokens_and_credentials_are_never_confused() {
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
    assert_eq!(found, Err(InvalidNotice::Event));
}

/// An event about `subject`, with changes to its claims.
fn event(subject: &Value, changes: &Value) -> Value {
    let usual = json!({
        "iat": seconds(-1),
        "exp": null,
        "sub": null,
        "sid": null,
        "sub_id": subject,
        "events": { SESSION_REVOKED: { "initiating_entity": "admin" } },
    });
    let mut all = usual.as_object().unwrap().clone();
    all.extend(changes.as_object().unwrap().clone());
    with(&Value::Object(all))
}

fn verify_event(typ: &Value, claims: &Value) -> Result<Notice, InvalidNotice> {
    let key = SigningKey::ed25519("a");
    let mut header = json!({ "alg": "EdDSA", "kid": key.id });
    if !typ.is_null() {
        header["typ"] = typ.clone();
    }
    let keys: KeySet = key_set(&[&key]);
    issuer().verify_event(&key.sign(&header, claims), &keys, START)
}

/// CAEP 1.0 has the subject (RFC 9493) in `sub_id`; its drafts have it in the event.
#[test]
fn identifies_the_revoked_sessions() {
    let typ = json!("secevent+jwt");
    let alice = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "alice" });
    let session = json!({ "format": "opaque", "id": "s-1" });
    let both = json!({ "format": "complex", "user": alice, "session": session });
    let of_alice = LogoutTarget {
        name: issuer().provider_subject("alice"),
        one: false,
        subject: Subject::new("alice").ok(),
    };
    let one = |subject: &Option<Subject>| LogoutTarget {
        name: issuer().provider_session("s-1"),
        one: true,
        subject: subject.clone(),
    };
    for (subject, expected) in [
        (&alice, of_alice.clone()),
        (&session, one(&None)),
        (&both, one(&of_alice.subject)),
    ] {
        let found = verify_event(&typ, &event(subject, &json!({}))).unwrap();
        assert_eq!(found.ended, Some(expected), "{subject}");
    }
    let within = json!({
        "sub_id": null,
        "events": { SESSION_REVOKED: { "subject": alice } },
    });
    let found = verify_event(&typ, &event(&alice, &within)).unwrap();
    assert_eq!(found.ended, Some(of_alice));
}

#[test]
fn rejects_invalid_events() {
    use InvalidJwt::{Audience, Expired, Issuer, NotYet, Type};
    use InvalidNotice::{Event, MissingId, Token, UnsupportedSubject};
    let typ = json!("secevent+jwt");
    let alice = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "alice" });
    for (changes, expected) in [
        (json!({ "iss": "https://evil.example" }), Token(Issuer)),
        (json!({ "aud": "others" }), Token(Audience)),
        (json!({ "iat": seconds(5) }), Token(NotYet)),
        (json!({ "exp": seconds(0) }), Token(Expired)),
        (json!({ "iat": null }), MissingId),
        (json!({ "jti": null }), MissingId),
        (json!({ "events": null }), Event),
        (json!({ "events": {} }), Event),
        (json!({ "events": [SESSION_REVOKED] }), Event),
        (json!({ "events": { SESSION_REVOKED: true } }), Event),
        (json!({ "sub_id": null }), UnsupportedSubject),
        (json!({ "sub_id": "alice" }), UnsupportedSubject),
        (json!({ "sub_id": {} }), UnsupportedSubject),
        (
            json!({ "sub_id": { "format": "email", "email": "a@example.com" } }),
            UnsupportedSubject,
        ),
        (
            json!({ "sub_id": { "format": "opaque", "id": "" } }),
            UnsupportedSubject,
        ),
        (
            json!({ "sub_id": { "format": "complex" } }),
            UnsupportedSubject,
        ),
        (
            json!({ "sub_id": { "format": "complex", "user": "alice" } }),
            UnsupportedSubject,
        ),
        // Only some sessions of the subject.
        (
            json!({ "sub_id": { "format": "complex", "user": alice, "device": { "format": "opaque", "id": "d" } } }),
            UnsupportedSubject,
        ),
        // An issuer cannot end sessions of another issuer's subjects.
        (
            json!({ "sub_id": { "format": "iss_sub", "iss": "https://evil.example", "sub": "alice" } }),
            Token(Issuer),
        ),
    ] {
        let found = verify_event(&typ, &event(&alice, &changes));
        assert_eq!(found, Err(expected), "{changes}");
    }
    // RFC 8417 2.3 requires an own `typ`, so that events are never accepted as other tokens.
    for typ in [
        json!(null),
        json!("JWT"),
        json!("logout+jwt"),
        json!("at+jwt"),
    ] {
        let found = verify_event(&typ, &event(&alice, &json!({})));
        assert_eq!(found, Err(Token(Type)), "{typ}");
    }
}

/// A transmitter verifies the stream with such an event, and sends more events than Curfew requested.
#[test]
fn other_events_are_accepted_without_effect() {
    let verification = "https://schemas.openid.net/secevent/ssf/event-type/verification";
    let changes =
        json!({ "sub_id": { "format": "opaque", "id": "stream" }, "events": { verification: {} } });
    let found = verify_event(&json!("secevent+jwt"), &event(&json!(null), &changes)).unwrap();
    assert_eq!(found.ended, None);
}
