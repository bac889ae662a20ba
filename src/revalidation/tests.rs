mod answers;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use http::{HeaderMap, Method};
use serde_json::json;

use super::task::RevalidationTask;
use super::*;
use crate::actor::Actor;
use crate::check::{CheckRequest, ClientAddress, Original, OriginalUrl};
use crate::lifecycle::SignIn;
use crate::policy::MaxAge;
use crate::policy::{Client, Contract, Policy, Rules, Variant};
use crate::secret::Secret;
use crate::session::{
    Attributes, ClaimsInToken, Details, EndReason, Limits, State, Subject, Verdict,
};
use crate::store::{DeadlineQueue, SessionStore};
use crate::testing::provider::{FakeProvider, Reply};
use crate::testing::{HOUR, MINUTE, SECOND, START, TestService, policy_name};

const INTERVAL: Duration = Duration::from_secs(300);

/// A replica with a fake provider. Other replicas may share its clock and store.
struct Fixture {
    bench: TestService,
    provider: FakeProvider,
    login: Arc<Login>,
    revalidation: Revalidation,
}

impl Fixture {
    async fn new() -> Self {
        let (bench, provider) = (TestService::new(), FakeProvider::start().await);
        provider.grant(json!({ "id_token": provider.id_token(&json!({})) }));
        Self::with_provider(bench, provider)
    }

    fn with_provider(bench: TestService, provider: FakeProvider) -> Self {
        let client = provider.client();
        let login = Login {
            url: "https://app.example.com/".parse().unwrap(),
            purpose: "sign-in",
            max_age: MaxAge::Any,
            revalidation_interval: Some(INTERVAL),
            providers: BTreeMap::from([("main".to_owned(), client)]),
            key_ring: Arc::clone(&bench.parts.key_ring),
            secure: true,
            domain: None,
        };
        let metrics = &bench.parts.metrics;
        let revalidation =
            Revalidation::for_login(&login, &Arc::default(), &Arc::default(), metrics);
        Self {
            revalidation: revalidation.unwrap(),
            login: Arc::new(login),
            bench,
            provider,
        }
    }

    fn now(&self) -> Timestamp {
        self.bench.parts.clock.now()
    }

    /// Signs `alice` in. `in_id_token` lists the claims that the ID token contains.
    async fn sign_in(&self, in_id_token: ClaimsInToken) -> SessionId {
        let issuer = self.provider.issuer();
        let names = [
            issuer.provider_session_subject("one"),
            issuer.provider_user_subject("alice"),
        ];
        let attributes = Attributes::from_sorted([
            (Attributes::ISSUER, vec![issuer.issuer.as_str()]),
            (Attributes::SOURCE, vec!["login"]),
            ("email", vec!["alice@example.com"]),
            (Attributes::GROUPS, vec!["staff"]),
            (
                Attributes::PROVIDER,
                names.iter().map(Subject::as_str).collect(),
            ),
        ]);
        let started = self.bench.lifecycle.start(SignIn {
            usable_at: None,
            subject: Subject::new("alice").unwrap(),
            attributes: attributes.unwrap(),
            policy: policy_name("default"),
            remember: false,
            client: Client::default(),
            authenticated: Some(self.now()),
            host: None,
            refresh: Some(RefreshGrant {
                token: Secret::new("first".to_owned()),
                revalidation: session::Revalidation {
                    registration: self.login.providers["main"].registration(),
                    confirmed: self.now(),
                    leased_until: Timestamp::default(),
                    in_id_token,
                },
            }),
            actor: Actor::CURFEW,
        });
        started.await.unwrap().id
    }

    /// Sets the clock to the start time plus `after`, uses the session, and runs the worker.
    async fn use_session_at(&self, id: SessionId, after: Duration) {
        self.bench.set_time_after_start(after);
        let session = self.bench.load_record(id).await;
        self.revalidation.queue_if_due(id, &session, self.now());
        self.run_worker().await;
    }

    async fn run_worker(&self) {
        for slot in self.revalidation.queue.take(self.now()) {
            let task = RevalidationTask {
                lifecycle: self.bench.lifecycle.clone(),
                clock: Arc::clone(&self.bench.parts.clock),
                revalidation: self.revalidation.clone(),
                login: Arc::clone(&self.login),
            };
            task.run(&slot).await;
        }
    }

    async fn details(&self, id: SessionId) -> Option<Arc<Details>> {
        self.bench.load_record(id).await.details
    }

    async fn refresh_token(&self, id: SessionId) -> Option<String> {
        let details = self.details(id).await?;
        Some(details.refresh_token.as_ref()?.expose().clone())
    }

    async fn groups(&self, id: SessionId) -> Vec<String> {
        let session = self.bench.load_record(id).await;
        session
            .attributes
            .get("groups")
            .map(str::to_owned)
            .collect()
    }

    fn is_counted(&self, result: &str) -> bool {
        let metrics = self.bench.parts.metrics.render().unwrap();
        let line = format!(r#"curfew_revalidations_total{{provider="main",result="{result}"}} 1"#);
        metrics.contains(&line)
    }
}

fn all_claims() -> ClaimsInToken {
    ClaimsInToken::from_bits(7)
}

#[tokio::test]
async fn a_provider_is_asked_at_the_interval_while_the_session_is_used() {
    let fixture = Fixture::new().await;
    let id = fixture.sign_in(all_claims()).await;
    let requests_at = async |after| {
        fixture.use_session_at(id, after).await;
        fixture.provider.take_refresh_tokens().len()
    };
    assert_eq!(
        requests_at(INTERVAL - SECOND).await,
        0,
        "a session that is not due must cause no request"
    );
    assert_eq!(requests_at(INTERVAL).await, 1);
    assert_eq!(
        requests_at(INTERVAL + SECOND).await,
        0,
        "a confirmed session must not be due again"
    );
    // The session is not used, so no request is made.
    fixture.bench.set_time_after_start(3 * INTERVAL);
    fixture.run_worker().await;
    assert!(fixture.provider.take_refresh_tokens().is_empty());
    // The idle limit has passed, so no request is made.
    assert_eq!(requests_at(INTERVAL + 20 * MINUTE).await, 0);
}

#[tokio::test]
async fn a_session_without_a_refresh_token_is_not_revalidated() {
    let fixture = Fixture::new().await;
    let started = fixture.bench.sign_in("default").await;
    fixture.use_session_at(started.id, INTERVAL).await;
    assert_eq!(fixture.revalidation.queue.len(), 0);
    // A session of a removed provider is not queued either, because no provider can be asked.
    let id = fixture.sign_in(all_claims()).await;
    let other = Revalidation {
        providers: Arc::default(),
        ..fixture.revalidation.clone()
    };
    fixture.bench.set_time_after_start(2 * INTERVAL);
    other.queue_if_due(id, &fixture.bench.load_record(id).await, fixture.now());
    assert_eq!(other.queue.len(), 0);
}

/// A revalidation must not change the last activity or the deadlines of the session.
#[tokio::test]
async fn a_revalidation_is_no_activity_and_does_not_change_the_start() {
    let fixture = Fixture::new().await;
    let id = fixture.sign_in(all_claims()).await;
    let before = fixture.bench.load_record(id).await;
    let later = START.plus(INTERVAL).as_millis() / 1000;
    let token = fixture
        .provider
        .id_token(&json!({ "auth_time": later, "groups": ["admins"] }));
    fixture.provider.grant(json!({ "id_token": token }));
    fixture.use_session_at(id, INTERVAL).await;
    let after = fixture.bench.load_record(id).await;
    assert_eq!(
        (after.started, after.last_seen, after.deadline),
        (before.started, before.last_seen, before.deadline)
    );
    assert_eq!(after.attributes.get("groups"), ["admins"]);
    assert_eq!(
        after.provider_names().collect::<Vec<_>>(),
        before.provider_names().collect::<Vec<_>>(),
        "a logout at the provider must still find the session"
    );
}

#[tokio::test]
async fn each_refresh_token_is_presented_once() {
    let fixture = Fixture::new().await;
    let id = fixture.sign_in(all_claims()).await;
    for (round, next) in [(1, "second"), (2, "third"), (3, "fourth")] {
        fixture.provider.grant(json!({ "refresh_token": next }));
        fixture
            .bench
            .set_time_after_start(round * INTERVAL - SECOND);
        let session = fixture.bench.load_record(id).await;
        let touch = crate::store::Touch {
            at: fixture.now(),
            last_seen: session.last_seen,
            retention: session.retention,
            interval: SECOND,
            deadline: session.deadline,
        };
        fixture
            .bench
            .parts
            .stores
            .sessions
            .touch(id, touch)
            .await
            .unwrap();
        fixture.use_session_at(id, round * INTERVAL).await;
    }
    assert_eq!(
        fixture.provider.take_refresh_tokens(),
        ["first", "second", "third"]
    );
    assert_eq!(fixture.refresh_token(id).await.as_deref(), Some("fourth"));
}

#[tokio::test]
async fn only_one_replica_asks_the_provider() {
    let one = Fixture::new().await;
    let id = one.sign_in(all_claims()).await;
    // A replica with the same store and clock, and its own queue.
    let bench = TestService {
        lifecycle: one.bench.lifecycle.clone(),
        parts: one.bench.parts.clone(),
        clock: one.bench.clock.clone(),
        store: Arc::clone(&one.bench.store),
    };
    let other = Fixture::with_provider(bench, one.provider.clone());
    *one.provider.delay.lock() = Duration::from_millis(100);
    one.provider.grant(json!({ "refresh_token": "second" }));
    tokio::join!(
        one.use_session_at(id, INTERVAL),
        other.use_session_at(id, INTERVAL)
    );
    assert_eq!(one.provider.take_refresh_tokens(), ["first"]);
    assert_eq!(one.refresh_token(id).await.as_deref(), Some("second"));
    // The other replica does not ask again within the interval.
    other.use_session_at(id, INTERVAL + SECOND).await;
    assert!(one.provider.take_refresh_tokens().is_empty());
}

#[tokio::test]
async fn a_failing_provider_is_asked_again_and_ends_no_session() {
    let fixture = Fixture::new().await;
    let id = fixture.sign_in(all_claims()).await;
    fixture
        .provider
        .set_token_reply(Reply::Json(503, json!({ "error": "invalid_grant" })));
    fixture.use_session_at(id, INTERVAL).await;
    assert_eq!(fixture.provider.take_refresh_tokens().len(), 1);
    let lines = diagnostics_of(&fixture.revalidation);
    assert!(
        lines[0].contains("main") && lines[0].contains("503"),
        "{lines:?}"
    );
    // The next request must wait: this replica still has the lease, and the provider is in backoff.
    fixture.use_session_at(id, INTERVAL + SECOND / 2).await;
    assert!(fixture.provider.take_refresh_tokens().is_empty());
    fixture.provider.grant(json!({}));
    fixture.use_session_at(id, INTERVAL + MINUTE).await;
    assert_eq!(fixture.provider.take_refresh_tokens(), ["first"]);
    assert!(diagnostics_of(&fixture.revalidation).is_empty());
    assert_eq!(fixture.bench.load_record(id).await.state, State::Live);
}

/// The person signs out while the request is in flight.
#[tokio::test]
async fn a_session_end_during_a_request_stays_final() {
    for refused in [false, true] {
        let fixture = Fixture::new().await;
        let id = fixture.sign_in(all_claims()).await;
        let token = fixture.provider.id_token(&json!({ "groups": ["admins"] }));
        match refused {
            true => fixture
                .provider
                .set_token_reply(Reply::Json(400, json!({ "error": "invalid_grant" }))),
            false => fixture
                .provider
                .grant(json!({ "id_token": token, "refresh_token": "second" })),
        }
        let memory = Arc::clone(&fixture.bench.store.memory);
        *fixture.provider.during_token_request.lock() = Some(Box::new(move || {
            let memory = Arc::clone(&memory);
            let ending = crate::store::EndRequest::signed_out(START.plus(INTERVAL));
            let ended = futures_util::FutureExt::now_or_never(memory.end(id, ending));
            assert!(matches!(ended, Some(Ok(_))));
        }));
        fixture.use_session_at(id, INTERVAL).await;
        assert_eq!(fixture.provider.take_refresh_tokens().len(), 1);
        let tombstone = fixture.bench.load_record(id).await;
        let State::Ended(end) = tombstone.state else {
            panic!("the session must still be ended");
        };
        assert_eq!(end.reason, EndReason::SignedOut);
        assert_eq!(tombstone.attributes.get("groups"), ["staff"]);
        assert_eq!(tombstone.details, None);
    }
}

/// The new refresh token must be stored, because the provider has revoked the previous one.
#[tokio::test]
async fn a_new_refresh_token_is_stored_after_a_store_failure() {
    let fixture = Fixture::new().await;
    let id = fixture.sign_in(all_claims()).await;
    fixture.provider.grant(json!({ "refresh_token": "second" }));
    let store = Arc::clone(&fixture.bench.store);
    *fixture.provider.during_token_request.lock() = Some(Box::new(move || {
        store.all_fail.store(true, Ordering::SeqCst);
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            store.all_fail.store(false, Ordering::SeqCst);
        });
    }));
    fixture.use_session_at(id, INTERVAL).await;
    assert_eq!(fixture.refresh_token(id).await.as_deref(), Some("second"));
    assert!(fixture.is_counted("ok"));
}

/// A check returns even if the provider does not answer. The check queues the session with and without the near cache.
#[tokio::test]
async fn a_check_queues_a_session_and_never_waits() {
    let fixture = Fixture::new().await;
    for in_memory in [false, true] {
        let mut bench = TestService::new();
        if in_memory {
            let memory = Arc::clone(&bench.store.memory);
            bench.change_parts(|parts| parts.stores.sessions = memory);
        }
        let fixture = Fixture::with_provider(bench, fixture.provider.clone());
        fixture.provider.set_token_reply(Reply::Never);
        let id = fixture.sign_in(all_claims()).await;
        let token = fixture.bench.parts.key_ring.issue().unwrap();
        // Create another session with the same record, and with a token that this test knows.
        let session = fixture.bench.load_record(id).await;
        let id = token.session_id();
        fixture.bench.store.memory.put(id, session);
        let mut checker = fixture.bench.checker(Rules::default(), "session");
        checker.revalidation = Some(fixture.revalidation.clone());
        let headers = HeaderMap::from_iter([(
            http::header::COOKIE,
            format!("session={}", token.expose()).parse().unwrap(),
        )]);
        let check = async || {
            let url = OriginalUrl::parse(b"https://app.example.com/").unwrap();
            let method = &Method::GET;
            let request = CheckRequest {
                contract: Contract::AuthRequest,
                policy: None,
                original: Ok(Original::new(method, url)),
                headers: &headers,
                address: ClientAddress::InHeader,
                peer: None,
            };
            checker.check(&request).await.verdict
        };
        fixture.bench.set_time_after_start(INTERVAL - SECOND);
        assert_eq!(check().await, Verdict::Allow);
        assert_eq!(
            fixture.revalidation.queue.len(),
            0,
            "a session that is not due must not be queued"
        );
        fixture.bench.set_time_after_start(INTERVAL);
        assert_eq!(check().await, Verdict::Allow);
        assert_eq!(check().await, Verdict::Allow);
        assert_eq!(
            fixture.revalidation.queue.len(),
            1,
            "the session must be queued once"
        );
        assert!(fixture.provider.take_refresh_tokens().is_empty());
    }
}

#[tokio::test]
async fn the_limits_of_new_groups_apply_at_once() {
    let mut bench = TestService::new();
    let limits = Limits {
        idle: Some(15 * MINUTE),
        absolute: 8 * HOUR,
        max_auth_age: None,
    };
    let mut policy = Policy::of(limits);
    policy.variants = vec![Variant {
        groups: vec!["admins".to_owned()],
        limits: Limits {
            idle: Some(6 * MINUTE),
            ..limits
        },
    }];
    bench.set_policies(BTreeMap::from([(policy_name("default"), policy)]));
    let fixture = Fixture::with_provider(bench, FakeProvider::start().await);
    let token = fixture.provider.id_token(&json!({ "groups": ["admins"] }));
    fixture.provider.grant(json!({ "id_token": token }));
    let id = fixture.sign_in(all_claims()).await;
    fixture.use_session_at(id, INTERVAL).await;
    let memory = &fixture.bench.store.memory;
    let due = START.plus(6 * MINUTE);
    let claimed = memory.claim(due, due.plus(MINUTE), 9).await.unwrap();
    assert_eq!(
        claimed,
        [id],
        "the session must be due at the shorter limit"
    );
}
