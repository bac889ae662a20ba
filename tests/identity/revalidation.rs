//! Tests revalidation: while a session is in use, Curfew asks the provider whether the person may stay
//! signed in.

use ::curfew::clock::Stopwatch;

use super::*;

/// The maximum number of seconds from the end of a revalidation interval until the session ends.
const REVALIDATION_DELAY_SECONDS: f64 = 6.0;

/// A signed-in person, and two replicas of Curfew with a revalidation interval of one second.
struct RevalidationStack {
    stack: Stack,
    /// The second replica.
    other: Curfew,
    cookie: String,
}

/// Adds sign-in at the provider, and a revalidation interval of one second, to the setup `store`.
fn add_sign_in(store: Setup, nginx: &Nginx, provider: &Provider) -> Setup {
    store
        .limits("15m", "12h")
        .set("COOKIE__NAME", "session")
        .set("COOKIE__SECURE", "false")
        .set("LOGIN__URL", &nginx.url(""))
        .set("LOGIN__REVALIDATE", "1s")
        .set("LOGIN__TIMEOUT", "1s")
        .set("LOGIN__PROVIDERS__MAIN__ISSUER", &provider.issuer)
        .set("LOGIN__PROVIDERS__MAIN__CLIENT_ID", "curfew")
        .set(
            "LOGIN__PROVIDERS__MAIN__CLIENT_SECRET",
            "secret of curfew's",
        )
        .set("LOGIN__PROVIDERS__MAIN__SCOPES", "email")
}

async fn wait_until_ready(curfew: &Curfew) {
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
}

/// Signs `alice` in, and returns the session cookie.
async fn sign_in(browser: &mut Browser, nginx: &Nginx) -> String {
    let page = nginx.url("/page");
    let login = format!("{}?rd={page}", nginx.url("/.curfew/login"));
    browser.follow(&login, "alice", &page).await;
    format!("session={}", browser.cookies["session"])
}

impl RevalidationStack {
    /// Starts everything, and signs `alice` in.
    async fn start() -> (Self, Browser) {
        let listeners = Listeners::free();
        let backend = Backend::start().await;
        let nginx = Nginx::start(listeners, backend.address);
        let provider = Provider::start(&nginx.url(""), &nginx.url("/auth/callback"));
        let redis = RedisServer::start();
        let setup = add_sign_in(Setup::redis(&redis.url()), &nginx, &provider);
        let other = setup.start();
        let curfew = setup.listen_on(listeners).start();
        wait_until_ready(&curfew).await;
        wait_until_ready(&other).await;
        let mut browser = Browser::new();
        let cookie = sign_in(&mut browser, &nginx).await;
        let stack = Stack {
            nginx,
            curfew,
            provider,
            backend,
            client: support::curfew::client(),
            redis,
        };
        let stack_of_alice = Self {
            stack,
            other,
            cookie,
        };
        (stack_of_alice, browser)
    }

    /// Sends a request with the session, and returns the status and the reason.
    async fn get(&self) -> (u16, String) {
        let request = self.stack.client.get(self.stack.nginx.url("/data"));
        let response = request.header("cookie", &self.cookie).send().await.unwrap();
        (response.status().as_u16(), reason_of(&response).to_owned())
    }

    /// Uses the session until it has ended. Fails if this takes longer than the interval plus
    /// [`REVALIDATION_DELAY_SECONDS`].
    async fn assert_session_ends_in_time(&self) {
        let stopwatch = Stopwatch::start();
        loop {
            let (status, reason) = self.get().await;
            if status != 200 {
                assert_eq!((status, &*reason), (401, "revoked"), "{}", self.log());
                break;
            }
            assert!(
                stopwatch.seconds() < 1.0 + REVALIDATION_DELAY_SECONDS,
                "{}",
                self.log()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let curfew = &self.stack.curfew;
        let ended = curfew.wait_for_audit_events("session.ended", 1).await;
        assert_eq!(ended.len(), 1, "{ended:?}");
        assert_eq!(ended[0]["event.reason"], "revoked");
        assert_eq!(ended[0]["curfew.actor.kind"], "provider");
        assert_eq!(ended[0]["curfew.actor.name"], *self.stack.provider.issuer);
        let refusals = curfew.wait_for_audit_events("provider.refused", 1).await;
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert_eq!(refusals[0]["event.reason"], "invalid_grant");
        self.assert_no_refresh_token_leaked().await;
    }

    /// Uses the session until the provider has accepted this many refresh tokens.
    async fn wait_until_refreshed(&self, times: usize) {
        eventually("the provider confirms the session", async || {
            assert_eq!(self.get().await.0, 200, "{}", self.log());
            self.stack.provider.refresh_counts().await.0 >= times
        })
        .await;
    }

    fn log(&self) -> String {
        self.stack.curfew.log() + &self.other.log()
    }

    /// Asserts that logs, metrics, the admin API and Redis have no refresh token in plain text.
    async fn assert_no_refresh_token_leaked(&self) {
        let curfew = &self.stack.curfew;
        let (_, sessions) = curfew
            .call("GET", "/api/v1/sessions?subject=alice", None)
            .await;
        assert!(sessions.to_string().contains("alice"), "{sessions}");
        let mut texts = vec![self.log(), sessions.to_string()];
        for path in ["/metrics", "/readyz?verbose"] {
            texts.push(curfew.get_ops(path).await.1);
        }
        let keys: Vec<Vec<u8>> = self.stack.redis.command(&[b"KEYS", b"*s:*"]);
        for key in keys {
            let record: Option<Vec<u8>> = self.stack.redis.command(&[b"GET", &key]);
            texts.push(String::from_utf8_lossy(&record.unwrap_or_default()).into_owned());
        }
        let tokens = self.stack.provider.refresh_tokens().await;
        assert!(!tokens.is_empty());
        for token in tokens {
            assert!(texts.iter().all(|text| !text.contains(&token)), "{token}");
        }
    }
}

#[tokio::test]
async fn a_disabled_account_ends_the_session_within_the_interval() {
    let (alice, _) = RevalidationStack::start().await;
    alice.wait_until_refreshed(1).await;
    alice.stack.provider.set_account("alice", "disabled").await;
    alice.assert_session_ends_in_time().await;
    // The other replica denies the session, too.
    let answer = alice
        .other
        .check_with_host("127.0.0.1", &alice.cookie)
        .await;
    assert_eq!(answer, (401, "revoked".to_owned()));
}

/// In this test, the provider sends no logout notice, so only revalidation can end the session.
#[tokio::test]
async fn the_end_of_the_provider_session_ends_the_session() {
    let (alice, mut browser) = RevalidationStack::start().await;
    alice.wait_until_refreshed(1).await;
    alice.stack.provider.log_out(&mut browser).await;
    alice.assert_session_ends_in_time().await;
}

#[tokio::test]
async fn changed_groups_arrive_at_the_application() {
    let (alice, _) = RevalidationStack::start().await;
    let groups = async || {
        assert_eq!(alice.get().await.0, 200, "{}", alice.log());
        let seen = alice.stack.backend.take();
        seen.last()
            .unwrap()
            .header_values("x-session-groups")
            .join(",")
    };
    assert_eq!(groups().await, "staff");
    alice
        .stack
        .provider
        .set_account("alice", "staff,admins")
        .await;
    eventually("the session has the new groups", async || {
        groups().await == "staff,admins"
    })
    .await;
    alice.stack.provider.set_account("alice", "").await;
    eventually("the session no longer has the removed groups", async || {
        groups().await.is_empty()
    })
    .await;
    let curfew = &alice.stack.curfew;
    let changed = curfew.wait_for_audit_events("session.changed", 2).await;
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert_eq!(changed[0]["curfew.session.changed"], "groups");
    assert_eq!(changed[0]["curfew.actor.kind"], "provider");
}

/// The provider rotates refresh tokens. If a replica used an old refresh token again, the provider would
/// revoke all tokens of the sign-in.
#[tokio::test]
async fn rotated_refresh_tokens_are_stored_and_two_replicas_ask_once() {
    let (alice, _) = RevalidationStack::start().await;
    let stopwatch = Stopwatch::start();
    while stopwatch.seconds() < 6.0 {
        let answer = alice.get();
        let other_answer = alice.other.check_with_host("127.0.0.1", &alice.cookie);
        let (answer, other_answer) = tokio::join!(answer, other_answer);
        assert_eq!((answer.0, other_answer.0), (200, 200), "{}", alice.log());
    }
    let (granted, refusals) = alice.stack.provider.refresh_counts().await;
    assert!(
        (3..=7).contains(&granted),
        "the provider accepted {granted} refresh tokens in six seconds"
    );
    assert_eq!(refusals, 0, "{}", alice.log());
    alice.assert_no_refresh_token_leaked().await;
}

#[tokio::test]
async fn a_provider_outage_ends_no_session_and_is_retried() {
    let (alice, _) = RevalidationStack::start().await;
    alice.wait_until_refreshed(1).await;
    alice.stack.provider.set_unavailable(true).await;
    let fetch_count = async |result: &str| {
        assert_eq!(alice.get().await.0, 200, "{}", alice.log());
        let name = format!(r#"curfew_revalidations_total{{provider="main",result="{result}"}} "#);
        let metrics = alice.stack.curfew.get_ops("/metrics").await.1;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0, |value| value.parse::<u64>().unwrap())
    };
    eventually("the metric counts the problem", async || {
        fetch_count("unavailable").await > 0
    })
    .await;
    eventually("the diagnostics name the problem", async || {
        let ready = alice.stack.curfew.get_ops("/readyz?verbose").await;
        assert_eq!(ready.0, 200);
        ready
            .1
            .contains("login.revalidate: main does not confirm sessions")
    })
    .await;
    let refresh_count = alice.stack.provider.refresh_counts().await.0;
    alice.stack.provider.set_unavailable(false).await;
    alice.wait_until_refreshed(refresh_count + 1).await;
    assert!(alice.stack.curfew.audit_events("session.ended").is_empty());
    // A later refusal ends the session.
    alice.stack.provider.set_account("alice", "disabled").await;
    alice.assert_session_ends_in_time().await;
}

/// People often try Curfew first without Redis and keys.
#[tokio::test]
async fn revalidation_works_with_the_embedded_store_without_keys() {
    let listeners = Listeners::free();
    let backend = Backend::start().await;
    let nginx = Nginx::start(listeners, backend.address);
    let provider = Provider::start(&nginx.url(""), &nginx.url("/auth/callback"));
    let store = Setup::memory().unset("TOKEN__KEYS").listen_on(listeners);
    let curfew = add_sign_in(store, &nginx, &provider).start();
    wait_until_ready(&curfew).await;
    let cookie = sign_in(&mut Browser::new(), &nginx).await;
    let check = async || curfew.check_with_host("127.0.0.1", &cookie).await;
    eventually("the provider confirms the session", async || {
        assert_eq!(check().await.0, 200, "{}", curfew.log());
        provider.refresh_counts().await.0 >= 2
    })
    .await;
    provider.set_account("alice", "disabled").await;
    eventually("the session ends", async || {
        check().await == (401, "revoked".to_owned())
    })
    .await;
    // Signs in again. This time the provider issues no refresh token.
    provider.set_account("alice", "staff").await;
    provider.stop_refresh_tokens().await;
    let cookie = sign_in(&mut Browser::new(), &nginx).await;
    eventually("the diagnostics name the problem", async || {
        let readiness = curfew.get_ops("/readyz?verbose").await.1;
        readiness.contains("login.revalidate: main issued no refresh token")
    })
    .await;
    let warning_count = curfew.log().matches("main issued no refresh token").count();
    assert_eq!(warning_count, 1, "the log should contain the warning once");
    provider.set_account("alice", "disabled").await;
    let stopwatch = Stopwatch::start();
    while stopwatch.seconds() < 3.0 {
        assert_eq!(curfew.check_with_host("127.0.0.1", &cookie).await.0, 200);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
