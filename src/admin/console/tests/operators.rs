//! Sessions of operators, and their rights.

use super::*;

fn configured_tokens(fixture: &Fixture) -> Vec<NamedToken> {
    let hash = Sha256::digest(&fixture.token).into();
    vec![NamedToken::unnamed(hash)]
}

impl Browser<'_> {
    /// Requests the first page through `routes`, a router with another configuration, and returns the status.
    async fn status_on(&mut self, routes: &Router) -> StatusCode {
        let previous_routes = std::mem::replace(&mut self.routes, routes.clone());
        let status = self.get("/console/").await.0;
        self.routes = previous_routes;
        status
    }

    /// Returns the ID of the session in the cookie.
    fn id(&self) -> SessionId {
        let key_ring = &self.fixture.bench.parts.key_ring;
        let (_, value) = self.cookie.split_once('=').unwrap();
        let random = key_ring.verify_text("operator session", value).unwrap();
        operator_session_id(&random)
    }
}

/// Checks that a thief with a copy of the cookie has no access after the sign-out.
#[tokio::test]
async fn a_copied_cookie_gives_no_access_after_sign_out() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let (stolen_cookie, id) = (browser.cookie.clone(), browser.id());
    let other_replica = fixture.with_tokens(configured_tokens(&fixture));
    assert_eq!(browser.status_on(&other_replica).await, StatusCode::OK);
    let signed_out = browser.post("/console/sign-out", "").await;
    assert_eq!(location(&signed_out), "/console/sign-in");
    let mut thief = Browser::new(&fixture);
    thief.cookie = stolen_cookie;
    assert_eq!(thief.get("/console/").await.0, StatusCode::SEE_OTHER);
    assert_eq!(thief.status_on(&other_replica).await, StatusCode::SEE_OTHER);
    let victim = fixture.bench.sign_in("default").await;
    let path = format!("/console/sessions/{}/end", victim.id);
    assert_eq!(thief.post(&path, "").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        fixture.bench.load_record(victim.id).await.state,
        State::Live
    );
    let State::Ended(end) = fixture.bench.load_record(id).await.state else {
        panic!("the session should have ended");
    };
    assert_eq!(end.reason, EndReason::SignedOut);
}

/// Checks that a session ends if its admin token is no longer configured.
#[tokio::test]
async fn an_operator_session_ends_when_its_token_is_removed() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let other = AdminToken::generate().unwrap().hash;
    let other_tokens = fixture.with_tokens(vec![NamedToken::unnamed(other)]);
    assert_eq!(
        browser.status_on(&other_tokens).await,
        StatusCode::SEE_OTHER
    );
    let (status, _) = browser.get("/console/").await;
    assert_eq!(
        status,
        StatusCode::SEE_OTHER,
        "the session should stay ended"
    );
}

/// Checks that a session ends if the operator's group is no longer configured.
#[tokio::test]
async fn an_operator_session_ends_when_its_group_is_removed() {
    let fixture = Fixture::new();
    let key_ring = &fixture.bench.parts.key_ring;
    let mut browser = Browser::new(&fixture);
    let random = [7; 32];
    let signed = key_ring.sign_text("operator session", &random).unwrap();
    browser.cookie = format!("curfew-console={signed}");
    let groups = Attributes::from_sorted([
        (Attributes::OPERATOR, ["provider:main:alice"]),
        (Attributes::GROUPS, ["operators"]),
    ]);
    let id = operator_session_id(&random);
    fixture
        .bench
        .lifecycle
        .start_operator_session(id, groups.unwrap(), None, &Actor::CURFEW)
        .await
        .unwrap();
    assert_eq!(browser.get("/console/").await.0, StatusCode::SEE_OTHER);
    assert!(matches!(
        fixture.bench.load_record(id).await.state,
        State::Ended(_)
    ));
}

/// Checks that an operator's session gives no access to applications, and a user's session no access to the console.
#[tokio::test]
async fn cookies_of_the_console_and_of_applications_are_separate() {
    let fixture = Fixture::new();
    let key_ring = &fixture.bench.parts.key_ring;
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let (_, value) = browser.cookie.split_once('=').unwrap();
    assert!(key_ring.verify(value.as_bytes()).is_err());
    let checker = fixture.bench.checker(Rules::default(), "session");
    for line in [
        format!("session={value}"),
        format!("session=cfw1_{value}"),
        browser.cookie.clone(),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, line.parse().unwrap());
        let request = CheckRequest {
            contract: Contract::AuthRequest,
            policy: None,
            original: Ok(Original::new(
                &Method::GET,
                OriginalUrl::parse(b"https://app.example.com/").unwrap(),
            )),
            headers: &headers,
            address: ClientAddress::InHeader,
            peer: None,
        };
        let verdict = checker.check(&request).await.verdict;
        assert!(matches!(verdict, Verdict::Deny(_)), "{line}: {verdict:?}");
    }
    let started = fixture.bench.sign_in("default").await;
    let token = started.token.expose();
    let visit = format!(
        "{{\"by\":{{\"Token\":[]}},\"begun\":0,\"seen\":0,\"id\":\"{}\"}}",
        started.id
    );
    let signed = key_ring.sign_text("console", visit.as_bytes()).unwrap();
    let random = key_ring
        .sign_text("operator session", started.id.as_bytes())
        .unwrap();
    for value in [token, signed, random] {
        browser.cookie = format!("curfew-console={value}");
        assert_eq!(browser.get("/console/").await.0, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn operator_sessions_are_listed_and_ended() {
    let fixture = Fixture::new();
    let (mut one, mut two) = (Browser::new(&fixture), Browser::new(&fixture));
    one.sign_in().await;
    two.sign_in().await;
    // The sessions of operators are not in the list of users' sessions.
    let (_, page) = one.get("/console/").await;
    assert!(page.contains("Nobody is signed in."), "{page}");
    let (_, page) = one.get("/console/operators").await;
    assert_eq!(page.matches("(this session)").count(), 1, "{page}");
    assert_eq!(page.matches("<th scope=\"row\">").count(), 2, "{page}");
    let name = &configured_tokens(&fixture)[0].name;
    assert!(page.contains(&format!("token:{name}")), "{page}");
    let path = format!("/console/sessions/{}", two.id());
    let (_, page) = one.get(&path).await;
    assert!(page.contains("Session of operator token:"), "{page}");
    let ended = one.post(&format!("{path}/end"), "").await;
    assert_eq!(location(&ended), path);
    assert_eq!(two.get("/console/").await.0, StatusCode::SEE_OTHER);
    let (_, page) = one.get("/console/operators").await;
    assert!(page.contains("revoked"), "{page}");
    assert_eq!(one.get("/console/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_operator_has_only_the_rights_of_the_token() {
    let fixture = Fixture::new();
    let started = fixture.bench.sign_in("default").await;
    let hash: [u8; 32] = Sha256::digest(&fixture.token).into();
    let routes_with = |rights: &[Right]| {
        fixture.with_tokens(vec![NamedToken {
            name: "reader".to_owned(),
            hash,
            rights: rights.to_vec(),
        }])
    };
    let mut browser = Browser::new(&fixture);
    browser.routes = routes_with(&[Right::Read]);
    browser.sign_in().await;
    let paths = ["/console/", "/console/?subject=alice", "/console/operators"].map(str::to_owned);
    let one = format!("/console/sessions/{}", started.id);
    for path in paths.into_iter().chain([one.clone()]) {
        let (status, page) = browser.get(&path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!page.contains("/end\""), "{path}: {page}");
    }
    for (path, form) in [
        (format!("{one}/end"), ""),
        ("/console/subjects/end".to_owned(), "subject=alice"),
    ] {
        let refused = browser.post(&path, form).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(
        fixture.bench.load_record(started.id).await.state,
        State::Live
    );
    // Changed rights apply from the next request.
    browser.routes = routes_with(&[Right::Read, Right::Revoke]);
    assert!(browser.get(&one).await.1.contains("/end\""));
    browser.routes = routes_with(&[Right::Create]);
    let (status, page) = browser.get("/console/").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(page.contains("right `read`"), "{page}");
    let signed_out = browser.post("/console/sign-out", "").await;
    assert_eq!(
        location(&signed_out),
        "/console/sign-in",
        "an operator without a right should be able to sign out"
    );
    let form = format!("token={}", fixture.token);
    let refused = browser.post("/console/sign-in", &form).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn operators_stay_signed_in_during_a_store_failure() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let all_fail = &fixture.bench.store.all_fail;
    all_fail.store(true, Ordering::SeqCst);
    let cookie = browser.cookie.clone();
    assert_eq!(
        browser.get("/console/").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let signed_out = browser.post("/console/sign-out", "").await;
    assert_eq!(signed_out.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.cookie, cookie);
    all_fail.store(false, Ordering::SeqCst);
    assert_eq!(browser.get("/console/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn wrong_tokens_at_the_sign_in_are_limited() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    for count in 0..12 {
        let refused = browser.post("/console/sign-in", "token=guess").await;
        if count < 10 {
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{count}");
        } else {
            assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{count}");
            assert_eq!(refused.headers()["retry-after"], "6");
        }
    }
    browser.sign_in().await;
    let metrics = fixture.bench.parts.metrics.render().unwrap();
    let line = "curfew_admin_credentials_refused_total{interface=\"console\",result=\"limited\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

/// Checks that a second sign-in in one browser replaces the first session.
#[tokio::test]
async fn a_new_sign_in_ends_the_previous_session() {
    let fixture = Fixture::new();
    let mut browser = Browser::new(&fixture);
    browser.sign_in().await;
    let first = browser.id();
    browser.sign_in().await;
    assert_ne!(browser.id(), first);
    assert!(matches!(
        fixture.bench.load_record(first).await.state,
        State::Ended(_)
    ));
    assert_eq!(browser.get("/console/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_revocation_page_counts_the_sessions_before_it_ends_them() {
    let fixture = Fixture::new();
    fixture.bench.sign_in("default").await;
    fixture.bench.sign_in("strict").await;
    fixture.bench.set_time_after_start(MINUTE);
    let mut browser = Browser::new(&fixture);
    assert_eq!(
        browser.get("/console/revoke").await.0,
        StatusCode::SEE_OTHER
    );
    browser.sign_in().await;
    let (status, page) = browser.get("/console/revoke").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("No revocation is in force")
            && !page.contains("method=\"post\" action=\"/console/revoke\"")
    );
    let (status, page) = browser.get("/console/revoke?count=yes").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(page.contains("role=\"alert\"") && page.contains("name a condition"));
    let (_, page) = browser.get("/console/revoke?policy=strict&count=yes").await;
    assert!(page.contains("<button>End 1 session</button>"), "{page}");
    assert!(page.contains("name=\"policy\" value=\"strict\""), "{page}");
    let (_, page) = browser
        .get("/console/revoke?host=app.example.com&count=yes")
        .await;
    assert!(page.contains("<button>End 2 sessions</button>"), "{page}");
    assert!(page.contains("2 of these sessions lack"), "{page}");
    let (_, page) = browser.get("/console/revoke?group=%3Cb%3E&count=yes").await;
    assert!(!page.contains("<b>"), "{page}");
    let refused = browser
        .send_request("POST", "/console/revoke", "policy=strict", "cross-site")
        .await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let revoked = browser.post("/console/revoke", "policy=strict").await;
    assert_eq!(revoked.status(), StatusCode::OK);
    let (_, page) = browser.get("/console/revoke").await;
    assert!(page.contains("policy=strict"), "{page}");
    let refused = browser.post("/console/revoke", "policy=").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}
