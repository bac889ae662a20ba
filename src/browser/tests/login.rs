//! The parts of a sign-in with an identity provider that send no request to the provider.

use std::collections::BTreeMap;

use super::*;
use crate::jwks::{IssuerSettings, KeySource};
use crate::login::{Attempt, Login, Provider, ProviderSettings};
use crate::policy::MaxAge;
use crate::testing::jwt::{SigningKey, issuer, key_set};

/// Configures sign-in with one provider. No test sends a request to this provider.
fn configure_login(contracts: &mut Contracts) {
    let url: url::Url = "https://app.example.com/".parse().unwrap();
    let settings = ProviderSettings {
        issuer: IssuerSettings {
            name: "main".to_owned(),
            issuer: issuer(),
            keys: KeySource::File(key_set(&[&SigningKey::ed25519("one")])),
            policy: None,
        },
        client_id: "curfew".to_owned(),
        client_secret: None,
        scopes: Vec::new(),
        title: "Main".to_owned(),
        authorities: None,
        timeout: SECOND,
    };
    let provider = Provider::new(settings, &url, "/.curfew/callback").unwrap();
    contracts.login = Some(Arc::new(Login {
        url,
        purpose: "sign-in",
        max_age: MaxAge::Idle,
        revalidation_interval: None,
        providers: BTreeMap::from([("main".to_owned(), provider)]),
        key_ring: Arc::clone(&contracts.checker.sources.key_ring),
        secure: true,
        domain: None,
    }));
}

/// Checks the sign-in page behind ingress-nginx, which redirects a browser with ambiguous cookies to this page.
#[tokio::test]
async fn the_sign_in_page_clears_ambiguous_cookies_and_reloads() {
    let browser = Browser::with_fixture(Fixture::with(configure_login).await);
    let ambiguous = ("cookie", "__Host-session=a; __Host-session=b");
    let page = "/.curfew/login?provider=main&rd=https%3A%2F%2Fapp.example.com%2Fa";
    let response = browser.send("GET", page, &[ambiguous, NAVIGATE]).await;
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["location"], page);
    let cleared = "__Host-session=; Path=/; Max-Age=0".to_owned();
    assert!(cookies(&response).contains(&cleared), "{response:?}");
    let still_ambiguous = (
        "cookie",
        "__Host-session=a; __Host-session=b; __Host-curfew-cleared=1",
    );
    let response = browser
        .send("GET", page, &[still_ambiguous, NAVIGATE])
        .await;
    assert_eq!(response.status(), 400);
    // A script gets the reason, and its cookies are not cleared.
    let script = ("sec-fetch-mode", "cors");
    let response = browser.send("GET", page, &[ambiguous, script]).await;
    assert_eq!(response.headers()["x-session-reason"], "malformed_request");
    assert!(cookies(&response).is_empty());
}

/// Possible causes of a missing attempt: the person restored a window or went back to an old page, the attempt cookie
/// was deleted, or another browser started the attempt.
#[tokio::test]
async fn a_response_without_its_attempt_starts_no_session() {
    let browser = Browser::with_fixture(Fixture::with(configure_login).await);
    let contracts = browser.fixture.contracts.current();
    let login = contracts.login.as_deref().unwrap();
    let now = contracts.checker.clock.now();
    let callback_url = |target| {
        let attempt = Attempt::new(login, "main", target, false, now).unwrap();
        format!("/.curfew/callback/main?code=x&state={}", attempt.state)
    };
    let callback = callback_url("https://app.example.com/a?b=c");
    // A browser with a session that allows the page is redirected to the page. No session starts, and no cookie is
    // cleared.
    let response = browser.send_signed_in("GET", &callback, &[NAVIGATE]).await;
    assert_eq!(response.status(), 303);
    assert_eq!(
        response.headers()["location"],
        "https://app.example.com/a?b=c"
    );
    assert!(cookies(&response).is_empty());
    // A browser without such a session gets a page that offers to try again.
    let refused = browser.send("GET", &callback, &[NAVIGATE]).await;
    assert_eq!(refused.status(), 400);
    assert!(cookies(&refused).is_empty());
    let page = read_text(refused).await;
    assert!(
        page.contains("/.curfew/login?rd=https%3A%2F%2Fapp.example.com%2Fa%3Fb%3Dc"),
        "{page}"
    );
    // The browser is never redirected to another host, and never redirected if the state is invalid.
    let foreign_callback = callback_url("https://evil.example/");
    for path in [
        &*foreign_callback,
        "/.curfew/callback/main?code=x&state=x",
        "/.curfew/callback/main",
    ] {
        let response = browser.send_signed_in("GET", path, &[NAVIGATE]).await;
        assert_eq!(response.status(), 400, "{path}");
        assert!(!read_text(response).await.contains("evil"), "{path}");
    }
    // A session that has ended does not allow the page.
    browser.fixture.bench.set_time_after_start(15 * MINUTE);
    let response = browser.send_signed_in("GET", &callback, &[NAVIGATE]).await;
    assert_eq!(response.status(), 400);
}

/// ingress-nginx does not pass the reason of the denial on, so the sign-in page finds the reason with a check.
#[tokio::test]
async fn the_sign_in_page_finds_the_reason_itself() {
    let without_providers = |contracts: &mut Contracts| {
        configure_login(contracts);
        let login = contracts.login.take().and_then(Arc::into_inner).unwrap();
        let providers = BTreeMap::new();
        contracts.login = Some(Arc::new(Login { providers, ..login }));
    };
    let browser = Browser::with_fixture(Fixture::with(without_providers).await);
    let script = ("sec-fetch-mode", "cors");
    let rd = "/.curfew/login?rd=https%3A%2F%2Fapp.example.com%2Fa";
    let reason = async |minutes: u32| {
        browser.fixture.bench.set_time_after_start(minutes * MINUTE);
        let response = browser.send_signed_in("GET", rd, &[script]).await;
        let reason = response.headers()["x-session-reason"].to_str().unwrap();
        (response.status().as_u16(), reason.to_owned())
    };
    // The session allows the page, so Curfew assumes that the path of the denied check named an additional policy.
    assert_eq!(
        reason(0).await,
        (401, "reauthentication_required".to_owned())
    );
    assert_eq!(
        reason(14).await,
        (401, "reauthentication_required".to_owned())
    );
    assert_eq!(reason(15).await, (401, "idle_timeout".to_owned()));
    let response = browser.send("GET", rd, &[script]).await;
    assert_eq!(response.headers()["x-session-reason"], "no_credential");
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    // A frame gets a link, and a whole window gets the page to choose a provider.
    let navigate = ("sec-fetch-mode", "navigate");
    let frame = [navigate, ("sec-fetch-dest", "iframe")];
    let response = browser.send("GET", rd, &frame).await;
    assert_eq!(response.status(), 401);
    assert!(read_text(response).await.contains("target=\"_top\""));
    let response = browser.send("GET", rd, &[navigate]).await;
    assert_eq!(response.status(), 200);
}
