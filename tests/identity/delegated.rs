//! Apache signs people in, and Curfew asks Apache for their identity. Curfew ends these sessions on time.

use std::time::Duration;

use super::*;
use crate::apache::Apache;

/// The name of Apache's session cookie.
const SESSION_COOKIE: &str = "mod_auth_openidc_session";

struct DelegatedStack {
    nginx: Nginx,
    curfew: Curfew,
    apache: Apache,
    backend: Backend,
    provider: Provider,
    _redis: RedisServer,
}

impl DelegatedStack {
    async fn start(idle: &str) -> Self {
        let (listeners, apache_address) = (Listeners::free(), Apache::free_address());
        let backend = Backend::start().await;
        // NGINX sends no checks for Apache's own pages.
        let locations = format!(
            "location /auth/ {{\n        proxy_pass http://{apache_address};\n        \
             proxy_set_header Host $http_host;\n    }}\n\n    location / {{"
        );
        let nginx = Nginx::start_with_replacements(
            listeners,
            backend.address,
            &[("location / {", locations)],
        );
        let callback = nginx.url("/auth/callback");
        let provider = Provider::start(&nginx.url(""), &callback);
        let apache = Apache::start(apache_address, &provider.issuer, &nginx.url(""));
        let redis = RedisServer::start();
        let setup = Setup::redis(&redis.url())
            .limits(idle, "1h")
            .listen_on(listeners)
            .set(
                "DELEGATED__SERVICES__APACHE__URL",
                &format!("http://{apache_address}/auth/check"),
            )
            .set(
                "DELEGATED__SERVICES__APACHE__SESSION_COOKIE",
                SESSION_COOKIE,
            )
            .set("DELEGATED__SERVICES__APACHE__USER_HEADER", "x-user")
            .set("DELEGATED__SERVICES__APACHE__LIFETIME", "8h");
        setup.declare_redis_new();
        let curfew = setup.start();
        eventually("Curfew is ready", async || {
            curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        Self {
            nginx,
            curfew,
            apache,
            backend,
            provider,
            _redis: redis,
        }
    }

    async fn sign_in(&self, browser: &mut Browser, user: &str) {
        let page = self.nginx.url("/auth/sign-in");
        let mut url = page.clone();
        for _ in 0..2 {
            // The first redirects lead through the provider's sign-in to Apache's callback address. The next redirect
            // leads from there to Apache's page.
            let response = browser.get(&url).await;
            url = Browser::redirect_target(&response).expect("Apache should redirect the browser");
            url = browser
                .follow(&url, user, &self.nginx.url("/auth/"))
                .await
                .to_string();
            if browser.cookies.contains_key(SESSION_COOKIE) {
                break;
            }
        }
        let response = browser.get(&url).await;
        let url = Browser::redirect_target(&response).unwrap_or(url);
        let response = browser.get(&url).await;
        assert_eq!(
            response.status(),
            200,
            "{url}: {}",
            self.apache.server.read("log")
        );
        assert!(
            browser.cookies.contains_key(SESSION_COOKIE),
            "{}",
            self.apache.server.read("log")
        );
    }

    /// Sends a request of the browser, and returns the status and the reason.
    async fn get(&self, browser: &mut Browser) -> (u16, String) {
        let response = browser.get(&self.nginx.url("/")).await;
        (response.status().as_u16(), reason_of(&response).to_owned())
    }
}

#[tokio::test]
async fn sessions_of_another_service_end_on_time() {
    let stack = DelegatedStack::start("3s").await;
    let mut browser = Browser::new();
    assert_eq!(
        stack.get(&mut browser).await,
        (401, "no_credential".to_owned())
    );
    assert!(stack.backend.take().is_empty());
    stack.sign_in(&mut browser, "alice").await;
    let cookie = browser.cookies[SESSION_COOKIE].clone();
    for _ in 0..6 {
        assert_eq!(
            stack.get(&mut browser).await.0,
            200,
            "{}",
            stack.curfew.log()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let seen = stack.backend.take();
    let user = seen[0].header_values("x-session-user");
    assert!(user[0].starts_with("alice"), "{user:?}");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(
        stack.get(&mut browser).await,
        (401, "idle_timeout".to_owned())
    );
    assert!(
        !browser.cookies.contains_key(SESSION_COOKIE),
        "the denial should clear the cookie"
    );
    // Apache still has the session, but Curfew denies it.
    let mut stolen_cookie_browser = Browser::new();
    stolen_cookie_browser
        .cookies
        .insert(SESSION_COOKIE.to_owned(), cookie.clone());
    let page = stolen_cookie_browser
        .get(&stack.nginx.url("/auth/check"))
        .await;
    assert_eq!(page.status(), 200);
    for _ in 0..3 {
        stolen_cookie_browser
            .cookies
            .insert(SESSION_COOKIE.to_owned(), cookie.clone());
        assert_eq!(
            stack.get(&mut stolen_cookie_browser).await,
            (401, "idle_timeout".to_owned())
        );
    }
    assert!(stack.backend.take().is_empty());
    stack.sign_in(&mut browser, "alice").await;
    assert_eq!(stack.get(&mut browser).await.0, 200);
    // The browser endpoints work for this session, too.
    let cookie = &browser.cookies[SESSION_COOKIE];
    let send_request = async |request: reqwest::RequestBuilder| {
        let request = request.header("cookie", format!("{SESSION_COOKIE}={cookie}"));
        let request = request.header("sec-fetch-site", "same-origin");
        request.send().await.unwrap()
    };
    let client = support::curfew::client();
    let url = |path: &str| stack.nginx.url(&format!("/.curfew/{path}"));
    let status = send_request(client.get(url("session"))).await;
    let status: serde_json::Value = status.json().await.unwrap();
    assert!(status["subject"].as_str().unwrap().starts_with("alice"));
    assert_eq!(
        send_request(client.post(url("keep-alive"))).await.status(),
        200
    );
    let sign_out_response = send_request(client.post(url("sign-out"))).await;
    assert_eq!(sign_out_response.status(), 204);
    let cleared_cookie = sign_out_response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cleared_cookie.starts_with(&format!("{SESSION_COOKIE}=;")),
        "{cleared_cookie}"
    );
    assert_eq!(
        stack.get(&mut browser).await,
        (401, "signed_out".to_owned())
    );
    drop(stack.provider);
}

#[tokio::test]
async fn an_outage_of_the_service_denies_without_ending_sessions() {
    let stack = DelegatedStack::start("15m").await;
    let mut browser = Browser::new();
    stack.sign_in(&mut browser, "alice").await;
    assert_eq!(stack.get(&mut browser).await.0, 200);
    stack.backend.take();
    stack.apache.server.freeze();
    let stopwatch = curfew::clock::Stopwatch::start();
    // NGINX answers 500 if the status of a check is not 2xx, 401 or 403.
    let unavailable = (500, "source_unavailable".to_owned());
    assert_eq!(stack.get(&mut browser).await, unavailable);
    assert!(stopwatch.seconds() < 1.9, "{} s", stopwatch.seconds());
    assert!(stack.backend.take().is_empty());
    stack.apache.server.thaw();
    eventually("Apache answers again", async || {
        stack.get(&mut browser).await.0 == 200
    })
    .await;
    stack.apache.server.signal("KILL");
    eventually("Curfew reports that Apache is unavailable", async || {
        stack.get(&mut browser).await == unavailable
    })
    .await;
    assert!(
        browser.cookies.contains_key(SESSION_COOKIE),
        "an outage of Apache must not clear the cookie"
    );
    let metrics = stack.curfew.get_ops("/metrics").await.1;
    assert!(metrics.contains(r#"curfew_delegate_answers_total{answer="error",service="apache"}"#));
}
