use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use http::header::COOKIE;
use jsonwebtoken::Algorithm;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Map, Value, json};

use super::{parse_headers, split_head_and_body};
use crate::credential::delegated::{DelegatedService, SessionKey};
use crate::credential::jwt::{
    ClaimNames, Issuer, KeySet, LogoutScope, looks_like_a_jwt, unverified_issuer,
};
use crate::credential::{
    CredentialExtractor, JwtLocations, KeyRing, PresentedCredential, SigningKey, cookie_values,
};
use crate::policy::MaxAge;
use crate::session::Timestamp;

/// The time of the tests, 2026-11-27.
const NOW: Timestamp = Timestamp::from_millis(1_795_780_000_000);
const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "app";

/// Checks that the parser finds the same cookies as a simple independent parser, which takes the text between `=` and
/// `;` as the value. Also checks that two different cookies are never accepted as one credential.
pub(super) fn cookies(data: &[u8]) {
    let (lines, _) = split_head_and_body(data);
    let headers = parse_headers(lines);
    let found: Vec<&[u8]> = cookie_values(&headers, "session").collect();
    let mut expected = Vec::new();
    for line in headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            if let (Some(name), Some(value)) = (sides.next(), sides.next())
                && trim_blanks(name) == b"session"
            {
                expected.push(trim_blanks(value));
            }
        }
    }
    assert_eq!(found, expected);
    let extractor = CredentialExtractor {
        cookie: "session".to_owned(),
        bearer: true,
        jwt: Some(JwtLocations {
            cookie: Some("id".to_owned()),
            bearer: true,
        }),
    };
    if let PresentedCredential::Token(token) = extractor.extract(&headers)
        && !found.is_empty()
    {
        assert!(found.iter().all(|value| *value == token));
    }
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

static KEY_RING: LazyLock<Option<Arc<KeyRing>>> = LazyLock::new(|| {
    let key = SigningKey::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    KeyRing::new(vec![key.ok()?]).ok().map(Arc::new)
});
/// A token that the key ring `KEY_RING` has issued, and a text that this key ring has signed.
const ISSUED_TOKEN: &str = include_str!("../../fuzz/seeds/token/issued");
const SIGNED_TEXT: &str = include_str!("../../fuzz/seeds/token/sealed");

/// Checks that the key ring accepts only the token that it has issued, and only the text that it has signed.
pub(super) fn token(data: &[u8]) {
    let Some(ring) = &*KEY_RING else { return };
    assert_eq!(ring.verify(data).is_ok(), data == ISSUED_TOKEN.as_bytes());
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(
            ring.verify_text("fuzzing", text).is_ok(),
            text == SIGNED_TEXT
        );
    }
}

struct Signer {
    key_pair: Ed25519KeyPair,
    keys: KeySet,
    issuer: Issuer,
}

impl Signer {
    fn sign(&self, header: &Value, claims: &[u8]) -> String {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let text = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key_pair.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }
}

static SIGNER: LazyLock<Option<Signer>> = LazyLock::new(|| {
    crate::credential::jwt::install_crypto();
    let key_pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).ok()?;
    let x = URL_SAFE_NO_PAD.encode(key_pair.public_key());
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x}]});
    Some(Signer {
        keys: KeySet::from_json(keys.to_string().as_bytes()).ok()?,
        key_pair,
        issuer: Issuer {
            issuer: ISSUER.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            algorithms: vec![Algorithm::EdDSA],
            typ: None,
            leeway: Duration::from_secs(60),
            accepts_iat: true,
            logout_scope: LogoutScope::default(),
            claims: ClaimNames {
                session: vec!["sid".to_owned()],
                subject: "sub".to_owned(),
                groups: "realm_access.roles".to_owned(),
                email: "email".to_owned(),
            },
        },
    })
});
/// A token that the signer has signed.
const SIGNED_JWT: &str = include_str!("../../fuzz/seeds/jwt/signed");

/// Checks that the verifier of JSON Web Tokens accepts only the token that the signer has signed.
pub(super) fn jwt(data: &[u8]) {
    let _ = looks_like_a_jwt(data);
    let (Some(signer), Ok(text)) = (&*SIGNER, std::str::from_utf8(data)) else {
        return;
    };
    let _ = unverified_issuer(text);
    let verified = signer.issuer.verify(text, &signer.keys, NOW);
    assert_eq!(verified.is_ok(), text == SIGNED_JWT);
    if text != SIGNED_JWT {
        assert!(
            signer
                .issuer
                .verify_logout(text, &signer.keys, NOW)
                .is_err()
        );
        assert!(signer.issuer.verify_event(text, &signer.keys, NOW).is_err());
        let id_token = signer.issuer.verify_id_token(text, &signer.keys, None, NOW);
        assert!(id_token.is_err());
    }
}

/// Signs tokens with these claims. Checks that the verifier accepts a token only from this issuer, for this audience,
/// and before its expiry.
pub(super) fn claims(data: &[u8]) {
    let Some(signer) = &*SIGNER else { return };
    let claims: Option<Map<String, Value>> = serde_json::from_slice(data).ok();
    let has_issuer_and_audience = claims.as_ref().is_some_and(|claims| {
        let audience = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|one| one == AUDIENCE),
            Some(one) => one == AUDIENCE,
            None => false,
        };
        audience && claims.get("iss").is_some_and(|issuer| issuer == ISSUER)
    });
    let is_unexpired = claims.as_ref().is_some_and(|claims| {
        let end = claims.get("exp").and_then(Value::as_f64);
        end.is_some_and(|end| (end + 60.0) * 1000.0 > NOW.as_millis() as f64)
    });
    let Signer { keys, issuer, .. } = signer;
    let credential = signer.sign(&json!({"alg": "EdDSA", "kid": "1"}), data);
    if let Ok(verified) = issuer.verify(&credential, keys, NOW) {
        assert!(has_issuer_and_audience && is_unexpired);
        assert!(verified.started <= NOW);
    }
    if let Ok(id_token) = issuer.verify_id_token(&credential, keys, None, NOW) {
        assert!(has_issuer_and_audience && is_unexpired);
        assert!(!id_token.subject().is_empty());
        let _ = issuer.claims_in(&id_token);
        if let Ok(signed_in) = issuer.sign_in_of(id_token, Map::new(), NOW) {
            assert!(signed_in.authenticated.is_none_or(|at| at <= NOW));
        }
    }
    if issuer.verify_user_info(&credential, keys, NOW).is_ok() {
        assert!(has_issuer_and_audience);
    }
    let logout = signer.sign(&json!({"alg": "EdDSA", "typ": "logout+jwt"}), data);
    if let Ok(notice) = issuer.verify_logout(&logout, keys, NOW) {
        assert!(has_issuer_and_audience && is_unexpired && notice.ended.is_some());
        assert!(claims.is_some_and(|claims| !claims.contains_key("nonce")));
    }
    let event = signer.sign(&json!({"alg": "EdDSA", "typ": "secevent+jwt"}), data);
    if issuer.verify_event(&event, keys, NOW).is_ok() {
        assert!(has_issuer_and_audience);
    }
    for notice in [&logout, &event] {
        assert!(issuer.verify(notice, keys, NOW).is_err());
        assert!(issuer.verify_id_token(notice, keys, None, NOW).is_err());
        assert!(issuer.verify_user_info(notice, keys, NOW).is_err());
    }
}

/// Parses key sets, and keys in PEM. The parser must not panic.
pub(super) fn jwks(data: &[u8]) {
    crate::credential::jwt::install_crypto();
    if let Ok(keys) = KeySet::from_json(data) {
        assert!(
            KeySet::from_file(data).is_ok(),
            "a key set that is valid in an answer must be valid in a file"
        );
        let _ = keys.knows("1");
    }
    let _ = KeySet::from_file(data);
}

static DELEGATED: LazyLock<[DelegatedService; 3]> = LazyLock::new(|| {
    let header_name = |name| HeaderName::from_static(name);
    let with_session_key = |key| DelegatedService {
        name: "sso".to_owned(),
        key,
        user: header_name("x-auth-request-user"),
        token: Some(header_name("authorization")),
        groups: Some(header_name("x-auth-request-groups")),
        groups_separator: ',',
        email: Some(header_name("x-auth-request-email")),
        display_name: None,
        auth_time: None,
        max_age: MaxAge::Idle,
        forwarded_headers: Vec::new(),
        passed_headers: Vec::new(),
        lifetime: Duration::from_secs(3600),
        cleared_cookie: None,
    };
    [
        with_session_key(SessionKey::Header(header_name("x-auth-request-session"))),
        with_session_key(SessionKey::Claim("sid".to_owned())),
        with_session_key(SessionKey::Cookie {
            name: "_oauth2_proxy".to_owned(),
            delimiter: None,
        }),
    ]
});

/// Checks that each accepted answer of a delegated service has a subject and valid times.
pub(super) fn delegated_answer(data: &[u8]) {
    let (lines, cookie) = split_head_and_body(data);
    let headers = parse_headers(lines);
    for delegated in &*DELEGATED {
        let cookie = (!cookie.is_empty()).then_some(cookie);
        if let Ok(allowed) = delegated.interpret_response(cookie, &headers, NOW) {
            assert!(allowed.authenticated.is_none_or(|at| at <= NOW) && NOW < allowed.expires);
            assert!(!allowed.subject.as_str().is_empty());
        }
    }
}
