use serde_json::Map;

use super::*;
use crate::credential::jwt::KeySet;
use crate::session::{Attributes, Binding, Limits, NewSession, PolicyName, SessionId, Subject};
use crate::testing::{HOUR, MINUTE, START};

// Generated with OpenSSL 3: genpkey -algorithm ed25519, and -algorithm EC -pkeyopt ec_paramgen_curve:P-256.
const ED25519: &str = include_str!("ed25519-for-tests.pem");
const P256: &str = include_str!("p256-for-tests.pem");

fn signer(key: &str, others: &[&str]) -> AssertionSigner {
    let parse = |pem: &str| AssertionKey::from_pem(pem.as_bytes()).unwrap();
    AssertionSigner {
        issuer: "curfew".to_owned(),
        lifetime: MINUTE,
        key: parse(key),
        other_keys: others.iter().map(|pem| parse(pem)).collect(),
    }
}

fn session() -> Session {
    let groups = vec!["staff".to_owned(), "admin".to_owned()];
    let attributes = [("groups".to_owned(), groups)].into();
    let new = NewSession {
        subject: Subject::new("alice").unwrap(),
        attributes: Attributes::new(attributes).unwrap(),
        policy: PolicyName::new("default").unwrap(),
        remembered: false,
        binding: Binding::default(),
    };
    let limits = Limits {
        idle: None,
        absolute: 8 * HOUR,
        max_auth_age: None,
    };
    Session::start(new, &limits, Duration::ZERO, START)
}

fn decode_part(token: &str, index: usize) -> Map<String, Value> {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Verifies an assertion as an application does: only with the published keys and without Curfew's code.
fn is_valid_assertion(token: &str, published: &Value) -> bool {
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(published.clone()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwk = set.find(&header.kid.unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(header.alg);
    validation.set_audience(&["app.example.com"]);
    validation.set_issuer(&["curfew"]);
    validation.validate_exp = false;
    crate::credential::jwt::install_crypto();
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
}

#[test]
fn an_application_can_verify_the_identity() {
    let (session, id) = (session(), SessionId::from_bytes([7; 16]));
    let identity = Identity::of(id, &session);
    for (pem, algorithm) in [(ED25519, "EdDSA"), (P256, "ES256")] {
        let signer = signer(pem, &[]);
        let now = START.plus(MINUTE);
        let token = signer.sign(&identity, &session, "App.Example.com.:8443", now);
        assert!(
            is_valid_assertion(&token, &signer.public_key_set()),
            "{algorithm}"
        );
        let header = decode_part(&token, 0);
        assert_eq!(header["alg"], algorithm);
        assert_eq!(header["typ"], "curfew-assertion+jwt");
        let seconds = START.as_millis() / 1000;
        let expected = json!({
            "iss": "curfew",
            "aud": "app.example.com",
            "sub": "alice",
            "sid": "07".repeat(16),
            "groups": ["staff", "admin"],
            "policy": "default",
            "auth_time": seconds,
            "iat": seconds + 60,
            "exp": seconds + 120,
        });
        assert_eq!(Value::Object(decode_part(&token, 1)), expected);
        let signature = token.rsplit_once('.').unwrap().1;
        let forged = format!(
            "{}.{signature}",
            signer
                .sign(&identity, &session, "other", now)
                .rsplit_once('.')
                .unwrap()
                .0
        );
        assert!(!is_valid_assertion(&forged, &signer.public_key_set()));
    }
}

#[test]
fn assertions_stay_valid_after_a_key_rotation() {
    let (session, id) = (session(), SessionId::from_bytes([7; 16]));
    let identity = Identity::of(id, &session);
    let sign =
        |signer: &AssertionSigner| signer.sign(&identity, &session, "app.example.com", START);
    let before = sign(&signer(ED25519, &[P256]));
    let after = signer(P256, &[ED25519]);
    assert!(
        is_valid_assertion(&before, &after.public_key_set()),
        "the key set should still contain the old key"
    );
    assert!(is_valid_assertion(&sign(&after), &after.public_key_set()));
    // Curfew's parser for key sets of identity providers accepts the key set, too.
    let set = after.public_key_set().to_string();
    assert!(
        KeySet::from_json(set.as_bytes())
            .unwrap()
            .knows(after.key.id())
    );
}

/// The key and its thumbprint are an example in RFC 8037, appendix A.3.
#[test]
fn the_key_id_is_the_jwk_thumbprint() {
    let der = [
        &[
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ][..],
        &URL_SAFE_NO_PAD
            .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap(),
    ]
    .concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let key = AssertionKey::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(
        key.public_jwk()["x"],
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    );
    assert!(!format!("{key:?}").contains("nWGx"));
}

#[test]
fn rejects_invalid_assertion_keys() {
    let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let truncated = &ED25519[..ED25519.len() / 2];
    for pem in ["", "x", public, truncated] {
        assert_eq!(
            AssertionKey::from_pem(pem.as_bytes()).unwrap_err(),
            AssertionKeyError
        );
    }
}
