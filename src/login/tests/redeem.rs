//! Tests the redemption of codes at a fake provider.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::*;
use crate::testing::provider::{FakeProvider, Reply};
use crate::testing::{SECOND, START, jwt};

/// A fake provider, and an attempt to sign in with it.
pub(super) struct Fixture {
    pub(super) provider: FakeProvider,
    pub(super) client: Provider,
    pub(super) attempt: Attempt,
}

impl Fixture {
    /// Starts a provider, and an attempt at [`START`].
    pub(super) async fn new() -> Self {
        let provider = FakeProvider::start().await;
        let login = login_with_key(new_key(), "sign-in");
        let target = "https://app.example.com/a";
        Self {
            client: provider.client(),
            attempt: Attempt::new(&login, "main", target, false, START).unwrap(),
            provider,
        }
    }

    /// Returns an ID token with the nonce of the attempt. The given claims are added to the token, or replace its
    /// claims.
    pub(super) fn id_token(&self, changes: &Value) -> String {
        let mut claims = json!({ "nonce": self.attempt.nonce });
        let changes = changes.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(changes);
        self.provider.id_token(&claims)
    }

    /// Makes the provider respond with this ID token.
    pub(super) fn grant(&self, id_token: &str) {
        self.provider.grant(json!({ "id_token": id_token }));
    }

    /// Redeems a code at this time.
    pub(super) async fn redeem_at(&self, now: Timestamp) -> Result<TokenResponse, LoginError> {
        self.client.redeem(&self.attempt, "c-1", None, now).await
    }

    /// Redeems a code, which must fail, and returns the error text.
    pub(super) async fn redeem_error(&self) -> String {
        let result = self.redeem_at(START).await;
        result.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn a_token_request_has_the_code_the_verifier_and_the_client_secret() {
    let fixture = Fixture::new().await;
    let id_token = fixture.id_token(&json!({ "auth_time": START.as_millis() / 1000 - 60 }));
    let tokens = json!({ "id_token": id_token, "refresh_token": "refresh-token-1" });
    fixture.provider.grant(tokens);
    let response = fixture.redeem_at(START).await.unwrap();
    assert_eq!(response.signed_in.subject.as_str(), "alice");
    assert_eq!(response.signed_in.attributes.get("groups"), ["staff"]);
    let authenticated = response.signed_in.authenticated;
    assert_eq!(authenticated, Some(START.minus(60 * SECOND)));
    assert!(response.in_id_token.are_all());
    assert_eq!(*response.id_token.expose(), id_token);
    let refresh_token = response.refresh_token.clone().unwrap();
    assert_eq!(refresh_token.expose(), "refresh-token-1");
    let shown = format!("{response:?}");
    for secret in [&*id_token, "refresh-token-1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let requests = fixture.provider.token_requests.lock().clone();
    assert_eq!(requests.len(), 1);
    // `curfew:hush` in Base64 (RFC 6749, section 2.3.1).
    let authorization = requests[0].authorization.as_deref();
    assert_eq!(authorization, Some("Basic Y3VyZmV3Omh1c2g="));
    let form = requests[0].form.iter();
    let form: Vec<_> = form.map(|(name, value)| (&**name, &**value)).collect();
    let redirect = "https://app.example.com/.curfew/callback/main";
    assert_eq!(
        form,
        [
            ("code", "c-1"),
            ("code_verifier", &*fixture.attempt.verifier),
            ("grant_type", "authorization_code"),
            ("redirect_uri", redirect),
        ]
    );
}

/// The metadata contain the supported methods (OpenID Connect Discovery 1.0, section 3).
#[tokio::test]
async fn the_client_uses_an_authentication_method_that_the_provider_supports() {
    for (methods, in_header) in [
        (json!(["client_secret_basic"]), true),
        (json!(["client_secret_post", "client_secret_basic"]), true),
        (json!(["client_secret_post"]), false),
    ] {
        let fixture = Fixture::new().await;
        *fixture.provider.metadata.lock() =
            json!({ "token_endpoint_auth_methods_supported": methods });
        fixture.grant(&fixture.id_token(&json!({})));
        fixture.redeem_at(START).await.unwrap();
        let request = fixture.provider.token_requests.lock()[0].clone();
        assert_eq!(request.authorization.is_some(), in_header, "{methods}");
        let secret = request.form.get("client_secret").map(String::as_str);
        assert_eq!(secret, (!in_header).then_some("hush"), "{methods}");
    }
}

/// Tests some requirements of OpenID Connect Core 1.0, section 3.1.3.7. The tests of `Issuer::verify_id_token` cover
/// all of them.
#[tokio::test]
async fn an_invalid_id_token_is_refused() {
    let fixture = Fixture::new().await;
    let now = START.as_millis() / 1000;
    for (changes, why) in [
        (
            json!({ "nonce": "x" }),
            "missing nonce, or nonce of another attempt",
        ),
        (
            json!({ "nonce": null }),
            "missing nonce, or nonce of another attempt",
        ),
        (
            json!({ "iss": "https://evil.example" }),
            "unexpected issuer",
        ),
        (json!({ "aud": "other" }), "unexpected audience"),
        (json!({ "aud": ["curfew", "api"] }), "unexpected audience"),
        (json!({ "azp": "other" }), "unexpected audience"),
        (json!({ "exp": now - 30 }), "expired, or without `exp`"),
        (
            json!({ "iat": now + 31 }),
            "not valid yet: `nbf`, `iat` or `auth_time` is in the future",
        ),
        (
            json!({ "sub": "" }),
            "missing or invalid subject, or a claim that is not valid as an attribute",
        ),
    ] {
        fixture.grant(&fixture.id_token(&changes));
        let expected = format!("invalid response of the identity provider: {why}");
        assert_eq!(fixture.redeem_error().await, expected, "{changes}");
    }
    let mut claims = fixture.provider.required_claims();
    claims["nonce"] = json!(fixture.attempt.nonce);
    let sign = |header: &Value| fixture.provider.key.sign(header, &claims);
    let foreign = jwt::SigningKey::ed25519("one");
    for (id_token, why) in [
        (
            sign(&json!({ "alg": "none", "kid": "one" })),
            "the signature algorithm is not in `algorithms` of this issuer",
        ),
        (
            sign(&json!({ "alg": "HS256", "kid": "one" })),
            "the signature algorithm is not in `algorithms` of this issuer",
        ),
        (
            foreign.token(&claims),
            "the signature algorithm is not in `algorithms` of this issuer",
        ),
        (
            sign(&json!({ "alg": "RS256", "kid": "one" })) + "AAAA",
            "invalid signature",
        ),
        (
            sign(&json!({ "alg": "RS256", "kid": "one", "typ": "at+jwt" })),
            "token for another purpose: unexpected `typ` header, or unexpected `events` claim",
        ),
        ("none".to_owned(), "not a signed JWT of a supported type"),
    ] {
        fixture.grant(&id_token);
        let expected = format!("invalid response of the identity provider: {why}");
        assert_eq!(fixture.redeem_error().await, expected, "{id_token}");
    }
    fixture.provider.grant(json!({}));
    assert_eq!(
        fixture.redeem_error().await,
        "invalid response of the identity provider: no ID token"
    );
}

/// A provider can rotate its keys (OpenID Connect Core 1.0, section 10.1.1).
#[tokio::test]
async fn unknown_keys_trigger_at_most_one_fetch_in_ten_seconds() {
    let fixture = Fixture::new().await;
    let fetches = || fixture.provider.key_requests.load(Ordering::SeqCst);
    fixture.grant(&fixture.id_token(&json!({})));
    fixture.redeem_at(START).await.unwrap();
    assert_eq!(fetches(), 1);
    // The provider signs with another key from now on.
    let mut claims = fixture.provider.required_claims();
    claims["nonce"] = json!(fixture.attempt.nonce);
    claims["groups"] = json!([]);
    claims["email"] = json!("alice@example.com");
    let rotate = |key: &str| {
        let rotated = jwt::SigningKey::rsa(key);
        *fixture.provider.keys.lock() = vec![rotated.jwk()];
        fixture.grant(&rotated.token(&claims));
        rotated
    };
    rotate("two");
    fixture.redeem_at(START.plus(SECOND)).await.unwrap();
    assert_eq!(fetches(), 2, "the first unknown key triggers a fetch");
    let rotated = rotate("three");
    let unknown = "invalid response of the identity provider: the issuer has no key with the key ID and the algorithm of \
                   the token";
    let early = fixture.redeem_at(START.plus(10 * SECOND)).await;
    assert_eq!(early.unwrap_err().to_string(), unknown);
    assert_eq!(fetches(), 2, "no second fetch within ten seconds");
    fixture.redeem_at(START.plus(11 * SECOND)).await.unwrap();
    assert_eq!(fetches(), 3);
    // The provider does not publish the key of this token.
    fixture.grant(&jwt::SigningKey::rsa("four").token(&claims));
    let unpublished = fixture.redeem_at(START.plus(21 * SECOND)).await;
    assert_eq!(unpublished.unwrap_err().to_string(), unknown);
    assert_eq!(fetches(), 4, "one fetch for the unknown key");
    // A token with a known key and an invalid signature triggers no fetch.
    fixture.grant(&(rotated.token(&claims) + "AAAA"));
    let forged = fixture.redeem_at(START.plus(60 * SECOND)).await;
    assert!(forged.is_err());
    assert_eq!(fetches(), 4);
}

#[tokio::test]
async fn a_refusal_has_the_error_code_of_the_provider() {
    let fixture = Fixture::new().await;
    for (reply, expected) in [
        (
            Reply::Json(400, json!({ "error": "invalid_grant" })),
            "refused by the identity provider: invalid_grant",
        ),
        (
            Reply::Page(200),
            "identity provider unavailable: unexpected response Content-Type",
        ),
        (
            Reply::Json(200, json!({ "id_token": "eyJ.secret" })),
            "identity provider unavailable: invalid token response",
        ),
    ] {
        fixture.provider.set_token_reply(reply);
        let error = fixture.redeem_error().await;
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// RFC 9207: the `iss` parameter shows that no other provider sent the response.
#[tokio::test]
async fn the_issuer_of_a_response_is_checked() {
    let fixture = Fixture::new().await;
    let issuer = fixture.provider.issuer().issuer;
    fixture.grant(&fixture.id_token(&json!({})));
    for required in [false, true] {
        *fixture.provider.metadata.lock() =
            json!({ "authorization_response_iss_parameter_supported": required });
        // Create a new client, which fetches the changed metadata.
        let client = fixture.provider.client();
        for (iss, accepted) in [
            (Some(&*issuer), true),
            (Some("https://evil.example"), false),
            (None, !required),
        ] {
            let result = client.redeem(&fixture.attempt, "c-1", iss, START).await;
            assert_eq!(result.is_ok(), accepted, "{required} {iss:?}");
            let no_attempt = matches!(result, Err(LoginError::NoMatchingAttempt(_)));
            assert_eq!(no_attempt, !accepted, "{required} {iss:?}");
        }
    }
}
