//! Tests the metadata and the keys of a fake provider.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::redeem::Fixture;
use crate::testing::{MINUTE, START};

/// Starts a sign-in that must fail, and returns the error text.
async fn sign_in_error(fixture: &Fixture) -> String {
    let started = fixture
        .client
        .authorization_url(&fixture.attempt, None, START);
    started.await.unwrap_err().to_string()
}

#[tokio::test]
async fn metadata_and_keys_are_cached() {
    let fixture = Fixture::new().await;
    for (minutes, fetches) in [(0_u32, 1), (4, 1), (5, 2), (9, 2), (10, 3)] {
        let now = START.plus(minutes * MINUTE);
        let url = fixture
            .client
            .authorization_url(&fixture.attempt, None, now);
        url.await.unwrap();
        let found = fixture.provider.key_requests.load(Ordering::SeqCst);
        assert_eq!(found, fetches, "{minutes}");
    }
}

#[tokio::test]
async fn invalid_metadata_and_keys_start_no_sign_in() {
    let fixture = Fixture::new().await;
    let issuer = fixture.provider.issuer().issuer;
    for (changes, why) in [
        (
            json!({ "issuer": "https://evil.example" }),
            format!(
                "invalid metadata: unexpected issuer `https://evil.example`, expected `{issuer}`"
            ),
        ),
        (
            json!({ "issuer": format!("{issuer}/") }),
            format!("invalid metadata: unexpected issuer `{issuer}/`, expected `{issuer}`"),
        ),
        (
            json!({ "jwks_uri": format!("{issuer}/missing") }),
            "could not fetch the keys: status 404 Not Found".to_owned(),
        ),
    ] {
        *fixture.provider.metadata.lock() = changes;
        let expected = format!("identity provider unavailable: {why}");
        assert_eq!(sign_in_error(&fixture).await, expected);
    }
    *fixture.provider.metadata.lock() = json!({});
    // An empty key set, and a key set that publishes only a shared secret.
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "one" });
    for keys in [vec![], vec![secret]] {
        *fixture.provider.keys.lock() = keys;
        assert_eq!(
            sign_in_error(&fixture).await,
            "identity provider unavailable: invalid keys: no key that can verify signatures (RSA, P-256, \
             P-384 or Ed25519)"
        );
    }
    // A failure is not cached.
    *fixture.provider.keys.lock() = vec![fixture.provider.key.jwk()];
    let started = fixture
        .client
        .authorization_url(&fixture.attempt, None, START);
    assert!(started.await.is_ok());
}
