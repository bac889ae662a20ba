use std::time::Duration;

use serde_json::json;

use super::logout_token::LOGOUT_EVENT;
use super::security_event::SESSION_REVOKED;
use super::*;
use crate::credential::jwt::KeySet;
use crate::testing;
use crate::testing::START;
use crate::testing::jwt::{AUDIENCE, ISSUER, SigningKey, key_set};

/// Returns an issuer whose credentials must have the `typ` `at+jwt`.
fn issuer() -> Issuer {
    Issuer {
        typ: Some("at+jwt".to_owned()),
        ..testing::jwt::issuer()
    }
}

/// Returns the NumericDate of [`START`] plus an offset in seconds.
fn seconds(offset: i64) -> i64 {
    i64::try_from(START.as_millis() / 1000).unwrap() + offset
}

/// Returns the claims of a valid logout token, with these claims added or replaced; `null` removes a claim.
fn claims_with(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "sid": "s-1",
        "jti": "l-1",
        "iat": seconds(-1),
        "exp": seconds(119),
        "events": { LOGOUT_EVENT: {} },
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

/// Verifies a logout token with this `typ` and these claims; `null` omits the `typ`.
fn verify_logout(key: &SigningKey, typ: &Value, claims: &Value) -> Result<Notice, InvalidNotice> {
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
    let both = verify_logout(&key, &typ, &claims_with(&json!({}))).unwrap();
    assert_eq!(
        (both.id.as_str(), both.issued),
        ("l-1", START.minus(Duration::from_secs(1)))
    );
    let session = issuer().provider_session_subject("s-1");
    let alice = issuer().provider_user_subject("alice");
    let target = |notice: Notice| {
        let target = notice.ended.unwrap();
        let subject = target.subject.map(|subject| subject.as_str().to_owned());
        (target.name, target.is_single_session, subject)
    };
    let named = Some("alice".to_owned());
    assert_eq!(target(both), (session.clone(), true, named.clone()));
    let all = verify_logout(&key, &typ, &claims_with(&json!({ "sid": null }))).unwrap();
    assert_eq!(target(all), (alice, false, named));
    let one = verify_logout(&key, &typ, &claims_with(&json!({ "sub": null }))).unwrap();
    assert_eq!(target(one), (session, true, None));
    for typ in [
        json!(null),
        json!("JWT"),
        json!("Logout+JWT"),
        json!("application/logout+jwt"),
    ] {
        assert!(
            verify_logout(&key, &typ, &claims_with(&json!({}))).is_ok(),
            "{typ}"
        );
    }
}

#[test]
fn the_scope_decides_what_a_notice_with_a_session_and_a_subject_ends() {
    let (session, alice) = (
        issuer().provider_session_subject("s-1"),
        issuer().provider_user_subject("alice"),
    );
    for (scope, subject, sid, expected) in [
        (
            LogoutScope::Session,
            Some("alice"),
            Some("s-1"),
            (&session, true),
        ),
        (LogoutScope::Session, Some("alice"), None, (&alice, false)),
        (LogoutScope::Session, None, Some("s-1"), (&session, true)),
        (
            LogoutScope::User,
            Some("alice"),
            Some("s-1"),
            (&alice, false),
        ),
        (LogoutScope::User, Some("alice"), None, (&alice, false)),
        (LogoutScope::User, None, Some("s-1"), (&session, true)),
    ] {
        let issuer = Issuer {
            logout_scope: scope,
            ..issuer()
        };
        let target = issuer.logout_target(subject, sid).unwrap();
        assert_eq!(
            (&target.name, target.is_single_session),
            expected,
            "{scope:?} {subject:?} {sid:?}"
        );
        assert_eq!(target.subject.as_ref().map(Subject::as_str), subject);
    }
    assert_eq!(issuer().logout_target(None, None), None);
}

/// See OpenID Connect Back-Channel Logout 1.0, section 2.6.
#[test]
fn rejects_invalid_logout_tokens() {
    use InvalidJwt::{Audience, Expired, Issuer, NotYetValid, Signature, Type};
    use InvalidNotice::{Event, MissingId, Nonce, Token, UnsupportedSubject};
    let key = SigningKey::ed25519("a");
    let typ = json!("logout+jwt");
    for (changes, expected) in [
        (json!({ "iss": "https://evil.example" }), Token(Issuer)),
        (json!({ "aud": "others" }), Token(Audience)),
        (json!({ "exp": null }), Token(Expired)),
        (json!({ "exp": seconds(0) }), Token(Expired)),
        (json!({ "iat": seconds(5) }), Token(NotYetValid)),
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
        (json!({ "events": [LOGOUT_EVENT] }), Event),
        (json!({ "events": { LOGOUT_EVENT: null } }), Event),
        (json!({ "events": { LOGOUT_EVENT: true } }), Event),
        (json!({ "events": LOGOUT_EVENT }), Event),
        (json!({ "nonce": "n" }), Nonce),
        (json!({ "nonce": "" }), Nonce),
    ] {
        let found = verify_logout(&key, &typ, &claims_with(&changes));
        assert_eq!(found, Err(expected), "{changes}");
    }
    for typ in ["at+jwt", "secevent+jwt", "x"] {
        let found = verify_logout(&key, &json!(typ), &claims_with(&json!({})));
        assert_eq!(found, Err(Token(Type)), "{typ}");
    }
    let other_key = SigningKey::ed25519("a");
    let header = json!({ "alg": "EdDSA", "kid": "a", "typ": "logout+jwt" });
    let forged = other_key.sign(&header, &claims_with(&json!({})));
    let found = issuer().verify_logout(&forged, &key_set(&[&key]), START);
    assert_eq!(found, Err(Token(Signature)));
}

#[test]
fn logout_tokens_and_credentials_are_never_confused() {
    let key = SigningKey::ed25519("a");
    let any_type = Issuer {
        typ: None,
        ..issuer()
    };
    for typ in [json!("logout+jwt"), json!("JWT"), json!("secevent+jwt")] {
        let header = json!({ "alg": "EdDSA", "kid": "a", "typ": typ });
        let token = key.sign(&header, &claims_with(&json!({})));
        let found = any_type.verify(&token, &key_set(&[&key]), START);
        assert_eq!(found, Err(InvalidJwt::Type), "{typ}");
    }
    let credential = claims_with(&json!({ "events": null }));
    let found = verify_logout(&key, &json!("JWT"), &credential);
    assert_eq!(found, Err(InvalidNotice::Event));
}

/// Returns the claims of a security event about `subject`, with these claims added or replaced.
fn event_claims(subject: &Value, changes: &Value) -> Value {
    let defaults = json!({
        "iat": seconds(-1),
        "exp": null,
        "sub": null,
        "sid": null,
        "sub_id": subject,
        "events": { SESSION_REVOKED: { "initiating_entity": "admin" } },
    });
    let mut all = defaults.as_object().unwrap().clone();
    all.extend(changes.as_object().unwrap().clone());
    claims_with(&Value::Object(all))
}

/// Verifies a security event with this `typ` and these claims; `null` omits the `typ`.
fn verify_event(typ: &Value, claims: &Value) -> Result<Notice, InvalidNotice> {
    let key = SigningKey::ed25519("a");
    let mut header = json!({ "alg": "EdDSA", "kid": key.id });
    if !typ.is_null() {
        header["typ"] = typ.clone();
    }
    let keys: KeySet = key_set(&[&key]);
    issuer().verify_event(&key.sign(&header, claims), &keys, START)
}

/// In CAEP 1.0, the claim `sub_id` has the subject (RFC 9493). In earlier drafts, the event contains the subject.
#[test]
fn identifies_the_revoked_sessions() {
    let typ = json!("secevent+jwt");
    let alice = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "alice" });
    let session = json!({ "format": "opaque", "id": "s-1" });
    let both = json!({ "format": "complex", "user": alice, "session": session });
    let all_of_alice = LogoutTarget {
        name: issuer().provider_user_subject("alice"),
        is_single_session: false,
        subject: Subject::new("alice").ok(),
    };
    let one_session = |subject: &Option<Subject>| LogoutTarget {
        name: issuer().provider_session_subject("s-1"),
        is_single_session: true,
        subject: subject.clone(),
    };
    for (subject, expected) in [
        (&alice, all_of_alice.clone()),
        (&session, one_session(&None)),
        (&both, one_session(&all_of_alice.subject)),
    ] {
        let found = verify_event(&typ, &event_claims(subject, &json!({}))).unwrap();
        assert_eq!(found.ended, Some(expected), "{subject}");
    }
    let subject_in_event = json!({
        "sub_id": null,
        "events": { SESSION_REVOKED: { "subject": alice } },
    });
    let found = verify_event(&typ, &event_claims(&alice, &subject_in_event)).unwrap();
    assert_eq!(found.ended, Some(all_of_alice));
}

#[test]
fn rejects_invalid_events() {
    use InvalidJwt::{Audience, Expired, Issuer, NotYetValid, Type};
    use InvalidNotice::{Event, MissingId, Token, UnsupportedSubject};
    let typ = json!("secevent+jwt");
    let alice = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "alice" });
    for (changes, expected) in [
        (json!({ "iss": "https://evil.example" }), Token(Issuer)),
        (json!({ "aud": "others" }), Token(Audience)),
        (json!({ "iat": seconds(5) }), Token(NotYetValid)),
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
        // A device restricts the event to some sessions of the subject.
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
        let found = verify_event(&typ, &event_claims(&alice, &changes));
        assert_eq!(found, Err(expected), "{changes}");
    }
    // RFC 8417 2.3 recommends a `typ` for security events, so Curfew rejects an event with another `typ`.
    for typ in [
        json!(null),
        json!("JWT"),
        json!("logout+jwt"),
        json!("at+jwt"),
    ] {
        let found = verify_event(&typ, &event_claims(&alice, &json!({})));
        assert_eq!(found, Err(Token(Type)), "{typ}");
    }
}

/// A provider sends the event `verification` to test whether events arrive. The provider can also send event types that
/// Curfew did not request.
#[test]
fn other_events_are_accepted_without_effect() {
    let verification = "https://schemas.openid.net/secevent/ssf/event-type/verification";
    let changes =
        json!({ "sub_id": { "format": "opaque", "id": "stream" }, "events": { verification: {} } });
    let found = verify_event(
        &json!("secevent+jwt"),
        &event_claims(&json!(null), &changes),
    )
    .unwrap();
    assert_eq!(found.ended, None);
}
