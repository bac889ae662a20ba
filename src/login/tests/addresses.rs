//! Tests the addresses at the provider to which Curfew redirects browsers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::redeem::Fixture;
use super::*;
use crate::testing::{SECOND, START};

/// Returns the path of an address, and its parameters in order.
fn path_and_parameters(url: &Url) -> (&str, Vec<(String, String)>) {
    (url.path(), url.query_pairs().into_owned().collect())
}

/// Copies pairs of a name and a value.
fn to_owned_pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// OpenID Connect Core 1.0, section 3.1.2.1, and RFC 7636, section 4.3, require these parameters.
#[tokio::test]
async fn the_authorization_request_has_the_required_parameters() {
    let fixture = Fixture::new().await;
    let mut settings = fixture.provider.client().settings.clone();
    settings.scopes = vec!["profile".to_owned(), "email".to_owned()];
    let base = "https://app.example.com/".parse().unwrap();
    let client = Provider::new(settings, &base, "/.curfew/callback").unwrap();
    let digest = Sha256::digest(fixture.attempt.verifier.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let redirect = "https://app.example.com/.curfew/callback/main";
    for (reauthenticate, max_age, additional) in [
        (false, None, vec![]),
        (false, Some(20 * SECOND), vec![("max_age", "19")]),
        (true, None, vec![("max_age", "0"), ("prompt", "login")]),
        (
            true,
            Some(20 * SECOND),
            vec![("max_age", "0"), ("prompt", "login")],
        ),
    ] {
        let mut attempt = fixture.attempt.clone();
        attempt.reauthenticate = reauthenticate;
        let url = client
            .authorization_url(&attempt, max_age, START)
            .await
            .unwrap();
        let mut expected = to_owned_pairs(&[
            ("response_type", "code"),
            ("client_id", "curfew"),
            ("state", attempt.state.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("redirect_uri", redirect),
            ("scope", "openid profile email"),
            ("nonce", attempt.nonce.as_str()),
        ]);
        expected.extend(to_owned_pairs(&additional));
        assert_eq!(path_and_parameters(&url), ("/authorize", expected));
    }
}

/// OpenID Connect RP-Initiated Logout 1.0, section 2, defines these parameters.
#[tokio::test]
async fn the_logout_request_has_the_required_parameters() {
    let fixture = Fixture::new().await;
    let return_url: Url = "https://app.example.com/.curfew/signed-out"
        .parse()
        .unwrap();
    let none = fixture
        .client
        .end_session_url(None, return_url.clone(), "s", START);
    assert_eq!(
        none.await.unwrap(),
        None,
        "a provider without a logout endpoint must give no address"
    );
    let issuer = fixture.provider.issuer().issuer;
    *fixture.provider.metadata.lock() =
        json!({ "end_session_endpoint": format!("{issuer}/logout?a=b") });
    let client = fixture.provider.client();
    for id_token in [None, Some("eyJ.x.y")] {
        let url = client.end_session_url(id_token, return_url.clone(), "s", START);
        let url = url.await.unwrap().unwrap();
        let mut expected = to_owned_pairs(&[
            ("a", "b"),
            ("client_id", "curfew"),
            ("post_logout_redirect_uri", return_url.as_str()),
            ("state", "s"),
        ]);
        expected.extend(id_token.map(|it| ("id_token_hint".to_owned(), it.to_owned())));
        assert_eq!(path_and_parameters(&url), ("/logout", expected));
    }
}
