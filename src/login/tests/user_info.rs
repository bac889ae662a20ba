//! Tests claims from the UserInfo endpoint of a fake provider.

use serde_json::json;

use super::redeem::Fixture;
use super::*;
use crate::testing::provider::Reply;
use crate::testing::{START, jwt};

/// Starts a fake provider whose ID token has no groups and no email address.
async fn fixture_with_minimal_id_token() -> Fixture {
    let fixture = Fixture::new().await;
    let mut claims = fixture.provider.required_claims();
    claims["nonce"] = json!(fixture.attempt.nonce);
    fixture.grant(&fixture.provider.key.token(&claims));
    fixture
}

#[tokio::test]
async fn claims_that_the_id_token_lacks_are_requested() {
    let fixture = fixture_with_minimal_id_token().await;
    let claims = json!({ "sub": "alice", "groups": ["staff"], "email": "a@example.com" });
    *fixture.provider.user_info.lock() = Reply::Json(200, claims);
    let response = fixture.redeem_at(START).await.unwrap();
    let attributes = &response.signed_in.attributes;
    assert_eq!(attributes.get("groups"), ["staff"]);
    assert_eq!(attributes.get("email"), ["a@example.com"]);
    let expected = ClaimsInToken {
        subject: true,
        ..ClaimsInToken::default()
    };
    assert_eq!(response.in_id_token, expected);
    let requests = || fixture.provider.user_info_requests.lock().clone();
    assert_eq!(requests(), [Some("Bearer access".to_owned())]);
    // If the ID token has all configured claims, Curfew does not ask the endpoint.
    fixture.grant(&fixture.id_token(&json!({})));
    fixture.redeem_at(START).await.unwrap();
    assert_eq!(requests().len(), 1);
    // Some providers have no UserInfo endpoint.
    let fixture = fixture_with_minimal_id_token().await;
    *fixture.provider.metadata.lock() = json!({ "userinfo_endpoint": null });
    let response = fixture.redeem_at(START).await.unwrap();
    assert_eq!(response.signed_in.attributes.get("groups").count(), 0);
}

/// OpenID Connect Core 1.0, section 5.3.2: the access token could belong to another person.
#[tokio::test]
async fn claims_about_another_subject_are_refused() {
    let fixture = fixture_with_minimal_id_token().await;
    for (claims, why) in [
        (json!({ "sub": "bob" }), "is about another subject"),
        (json!({ "sub": "Alice" }), "is about another subject"),
        (json!({ "sub": "" }), "is about another subject"),
        (json!({ "sub": ["alice"] }), "has no `sub`"),
        (json!({ "groups": ["staff"] }), "has no `sub`"),
        (json!({}), "has no `sub`"),
    ] {
        *fixture.provider.user_info.lock() = Reply::Json(200, claims.clone());
        let expected =
            format!("invalid response of the identity provider: the UserInfo response {why}");
        assert_eq!(fixture.redeem_error().await, expected, "{claims}");
    }
}

#[tokio::test]
async fn a_signed_response_is_verified() {
    let fixture = fixture_with_minimal_id_token().await;
    let issuer = fixture.provider.issuer().issuer;
    let signed = |changes: &serde_json::Value| {
        let mut claims = json!({ "iss": issuer, "aud": "curfew", "sub": "alice" });
        claims["groups"] = json!(["staff"]);
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let key = &fixture.provider.key;
    *fixture.provider.user_info.lock() = Reply::Signed(key.token(&signed(&json!({}))));
    let response = fixture.redeem_at(START).await.unwrap();
    assert_eq!(response.signed_in.attributes.get("groups"), ["staff"]);
    let unknown = jwt::SigningKey::rsa("two");
    for (text, why) in [
        (
            key.token(&signed(&json!({ "sub": "bob" }))),
            "the UserInfo response is about another subject",
        ),
        (
            key.token(&signed(&json!({ "iss": "https://evil.example" }))),
            "unexpected issuer",
        ),
        (
            key.token(&signed(&json!({ "aud": "other" }))),
            "unexpected audience",
        ),
        (
            key.sign(&json!({ "alg": "none" }), &signed(&json!({}))),
            "the signature algorithm is not in `algorithms` of this issuer",
        ),
        (key.token(&signed(&json!({}))) + "AAAA", "invalid signature"),
        (
            unknown.token(&signed(&json!({}))),
            "the issuer has no key with the key ID and the algorithm of the token",
        ),
        (
            signed(&json!({})).to_string(),
            "not a signed JWT of a supported type",
        ),
    ] {
        *fixture.provider.user_info.lock() = Reply::Signed(text);
        let expected = format!("invalid response of the identity provider: {why}");
        assert_eq!(fixture.redeem_error().await, expected);
    }
}

#[tokio::test]
async fn a_failed_request_means_that_the_provider_is_unavailable() {
    let fixture = fixture_with_minimal_id_token().await;
    let large = json!({ "sub": "alice", "x": "y".repeat(1024 * 1024) });
    for (reply, why) in [
        (
            Reply::Json(401, json!({ "error": "invalid_token" })),
            "could not fetch UserInfo: status 401 Unauthorized",
        ),
        (
            Reply::Page(503),
            "could not fetch UserInfo: status 503 Service Unavailable",
        ),
        (
            Reply::Page(200),
            "could not fetch UserInfo: unexpected media type `text/html`",
        ),
        (
            Reply::Json(200, large),
            "could not fetch UserInfo: response larger than 1048576 bytes",
        ),
        (
            Reply::Json(200, json!(["alice"])),
            "invalid UserInfo response",
        ),
    ] {
        *fixture.provider.user_info.lock() = reply;
        let expected = format!("identity provider unavailable: {why}");
        assert_eq!(fixture.redeem_error().await, expected);
    }
}
