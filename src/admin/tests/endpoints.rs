//! Sessions, subjects and policies: the responses.

use super::*;

#[tokio::test]
async fn a_new_session_is_returned_with_its_token_cookie_and_deadlines() {
    let fixture = Fixture::new();
    let body = json!({
        "subject": "alice",
        "attributes": { "groups": ["staff", "admin"], "email": "alice@example.com" },
    });
    let response = fixture
        .send_raw("POST", "/api/v1/sessions", Some(body.to_string()))
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let location = response.headers()[LOCATION].to_str().unwrap().to_owned();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let created: Value = serde_json::from_slice(&bytes).unwrap();
    let token = created["token"].as_str().unwrap();
    let id = fixture
        .bench
        .parts
        .key_ring
        .verify(token.as_bytes())
        .unwrap();
    assert_eq!(location, format!("/api/v1/sessions/{id}"));
    assert_eq!(
        created["set_cookie"],
        format!("__Host-session={token}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=28800")
    );
    assert_eq!(
        created["session"],
        json!({
            "id": id.to_string(),
            "subject": "alice",
            "source": "token",
            "policy": "default",
            "attributes": { "groups": ["staff", "admin"], "email": ["alice@example.com"] },
            "state": "live",
            "started": "2027-01-15T08:00:00.000Z",
            "last_seen": "2027-01-15T08:00:00.000Z",
            "idle_deadline": "2027-01-15T08:15:00.000Z",
            "absolute_deadline": "2027-01-15T16:00:00.000Z",
            "idle_remaining": 900,
            "absolute_remaining": 28800,
        })
    );
    let (status, shown) = fixture.send_json("GET", &location, None).await;
    assert_eq!(
        (status, shown),
        (StatusCode::OK, created["session"].clone())
    );
}

#[tokio::test]
async fn requests_for_an_invalid_session_are_refused_with_the_reason() {
    let fixture = Fixture::new();
    for (body, hint) in [
        (json!({}), "subject"),
        (json!({ "subject": "" }), "subject"),
        (json!({ "subject": "a\nb" }), "subject"),
        (json!({ "subject": "x".repeat(256) }), "subject"),
        (
            json!({ "subject": "alice", "policy": "nonesuch" }),
            "/api/v1/policies",
        ),
        (json!({ "subject": "alice", "polcy": "default" }), "polcy"),
        (
            json!({ "subject": "alice", "attributes": { "a": 1 } }),
            "attributes",
        ),
        (
            json!({ "subject": "alice", "attributes": { "a": "b\r\nSet-Cookie: c" } }),
            "attributes",
        ),
        (json!([]), "CreateSession"),
    ] {
        let detail = fixture
            .assert_refused(400, "POST", "/api/v1/sessions", Some(body.clone()))
            .await;
        assert!(detail.contains(hint), "{body}: {detail}");
    }
    let response = fixture
        .send_raw("POST", "/api/v1/sessions", Some("{".to_owned()))
        .await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let large = json!({ "subject": "x".repeat(70_000) });
    fixture
        .assert_refused(413, "POST", "/api/v1/sessions", Some(large))
        .await;
    assert_eq!(fixture.bench.store.memory.len(), 0);
}

#[tokio::test]
async fn the_sessions_of_a_subject_are_listed_page_by_page() {
    let fixture = Fixture::new();
    let mut expected = BTreeSet::new();
    for _ in 0..5 {
        let created = fixture.create(json!({ "subject": "alice & bob" })).await;
        expected.insert(created["session"]["id"].as_str().unwrap().to_owned());
    }
    fixture.create(json!({ "subject": "carol" })).await;
    let list = "/api/v1/sessions?subject=alice%20%26%20bob&limit=2";
    let (mut seen, mut path, mut pages) = (BTreeSet::new(), list.to_owned(), 0);
    loop {
        let (status, page) = fixture.send_json("GET", &path, None).await;
        assert_eq!(status, StatusCode::OK);
        let ids = page["sessions"].as_array().unwrap().iter();
        seen.extend(ids.map(|session| session["id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("{list}&cursor={next}");
    }
    assert_eq!((seen, pages), (expected, 3));
    // Without a subject, the list has the sessions of all subjects. Sessions that end soonest come first.
    let first = "/api/v1/sessions?limit=4";
    let (_, page) = fixture.send_json("GET", first, None).await;
    assert_eq!(page["sessions"].as_array().unwrap().len(), 4);
    assert_eq!(page["next"], Value::Null);
    for (query, hint) in [
        ("?subject=", "subject"),
        (
            "?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "requires the `subject`",
        ),
        ("?subject=a&limit=0", "limit"),
        ("?subject=a&limit=1001", "limit"),
        ("?subject=a&limit=x", "limit"),
        ("?subject=a&cursor=x", "cursor"),
        ("?subject=a&sort=x", "sort"),
    ] {
        let path = format!("/api/v1/sessions{query}");
        let detail = fixture.assert_refused(400, "GET", &path, None).await;
        assert!(detail.contains(hint), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_revoked_session_keeps_its_first_reason() {
    let fixture = Fixture::new();
    let created = fixture.create(json!({ "subject": "alice" })).await;
    let path = format!(
        "/api/v1/sessions/{}",
        created["session"]["id"].as_str().unwrap()
    );
    for after in [MINUTE, 2 * MINUTE] {
        fixture.bench.set_time_after_start(after);
        let (status, session) = fixture.send_json("DELETE", &path, None).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            (&session["state"], &session["end_reason"], &session["ended"]),
            (
                &json!("ended"),
                &json!("revoked"),
                &json!("2027-01-15T08:01:00.000Z")
            )
        );
        assert_eq!(session["idle_remaining"], 0);
    }
    let unknown_path = format!("/api/v1/sessions/{}", "0".repeat(32));
    for method in ["GET", "DELETE"] {
        fixture
            .assert_refused(404, method, &unknown_path, None)
            .await;
        fixture
            .assert_refused(400, method, "/api/v1/sessions/xyz", None)
            .await;
    }
}

#[tokio::test]
async fn a_session_past_its_limit_is_shown_as_ended() {
    let fixture = Fixture::new();
    let created = fixture.create(json!({ "subject": "alice" })).await;
    let path = format!(
        "/api/v1/sessions/{}",
        created["session"]["id"].as_str().unwrap()
    );
    fixture.bench.set_time_after_start(15 * MINUTE);
    let (_, session) = fixture.send_json("GET", &path, None).await;
    assert_eq!(
        (&session["state"], &session["end_reason"]),
        (&json!("ended"), &json!("idle_timeout"))
    );
    assert_eq!(session["absolute_remaining"], 0);
}

#[tokio::test]
async fn every_session_of_a_subject_is_revoked_at_once() {
    let fixture = Fixture::new();
    for _ in 0..250 {
        fixture.bench.sign_in("default").await;
    }
    let carol = fixture.create(json!({ "subject": "carol" })).await;
    let all = "/api/v1/sessions?subject=alice";
    let count = "/api/v1/sessions/count?subject=alice";
    let counted = fixture.send_json("GET", count, None).await.1;
    assert_eq!(counted, json!({ "live": 250, "ended": 0 }));
    let not_before = fixture.bench.parts.clock.now().to_string();
    for revoked in [250, 0] {
        let answer = fixture.send_json("DELETE", all, None).await;
        let expected = json!({ "revoked": revoked, "not_before": not_before });
        assert_eq!(answer, (StatusCode::OK, expected));
    }
    let counted = fixture.send_json("GET", count, None).await.1;
    assert_eq!(counted, json!({ "live": 0, "ended": 250 }));
    let path = format!(
        "/api/v1/sessions/{}",
        carol["session"]["id"].as_str().unwrap()
    );
    assert_eq!(
        fixture.send_json("GET", &path, None).await.1["state"],
        "live"
    );
    fixture
        .assert_refused(400, "DELETE", "/api/v1/sessions", None)
        .await;
}

#[tokio::test]
async fn sessions_that_started_before_a_time_are_revoked_and_later_sessions_stay_live() {
    let fixture = Fixture::new();
    fixture.create(json!({ "subject": "alice" })).await;
    fixture.bench.set_time_after_start(MINUTE);
    let later = fixture.create(json!({ "subject": "alice" })).await;
    let path = "/api/v1/sessions?subject=alice&before=2027-01-15T08:00:30Z";
    let (_, answer) = fixture.send_json("DELETE", path, None).await;
    let expected = json!({ "revoked": 1, "not_before": "2027-01-15T08:00:30.000Z" });
    assert_eq!(answer, expected);
    let id = later["session"]["id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(
        fixture.send_json("GET", &path, None).await.1["state"],
        "live"
    );
    for before in ["yesterday", "2027-01-15T08:01:00.001Z"] {
        let refused = format!("/api/v1/sessions?subject=alice&before={before}");
        let detail = fixture.assert_refused(400, "DELETE", &refused, None).await;
        assert!(detail.starts_with("before: "), "{detail}");
    }
}

#[tokio::test]
async fn ageing_moves_a_session_into_the_past_if_enabled() {
    let fixture = Fixture::new();
    let created = fixture.create(json!({ "subject": "alice" })).await;
    let id = created["session"]["id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}/age");
    let (status, session) = fixture
        .send_json("POST", &path, Some(json!({ "by": "14m 59s" })))
        .await;
    assert_eq!(
        (status, &session["idle_remaining"]),
        (StatusCode::OK, &json!(1))
    );
    let (_, session) = fixture
        .send_json("POST", &path, Some(json!({ "by": "1s" })))
        .await;
    assert_eq!(session["end_reason"], "idle_timeout");
    for by in ["", "soon", "-1s", "1001days", "99999999999999999999s"] {
        let detail = fixture
            .assert_refused(400, "POST", &path, Some(json!({ "by": by })))
            .await;
        assert!(detail.starts_with("by: "), "{by}: {detail}");
    }
    let unknown_path = format!("/api/v1/sessions/{}/age", "0".repeat(32));
    fixture
        .assert_refused(404, "POST", &unknown_path, Some(json!({ "by": "1s" })))
        .await;

    let fixture = Fixture::with_ageing(TestService::new(), false);
    let detail = fixture
        .assert_refused(403, "POST", &path, Some(json!({ "by": "1s" })))
        .await;
    assert!(detail.contains("admin.allow_ageing"), "{detail}");
}

#[tokio::test]
async fn policies_are_shown() {
    let fixture = Fixture::new();
    let (status, list) = fixture.send_json("GET", "/api/v1/policies", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        list["policies"][0],
        json!({
            "name": "default", "default": true, "idle": 900.0, "absolute": 28800.0,
            "touch_interval": 15.0, "activity": "any",
        })
    );
    assert_eq!(list["policies"][1]["store_failure_grace"], 120.0);
    assert_eq!(list["policies"][2]["max_auth_age"], 1800.0);
}

#[tokio::test]
async fn a_store_failure_is_answered_with_503() {
    let fixture = Fixture::new();
    fixture.bench.store.all_fail.store(true, Ordering::SeqCst);
    let one = format!("/api/v1/sessions/{}", "0".repeat(32));
    for (method, path, body) in [
        (
            "POST",
            "/api/v1/sessions",
            Some(json!({ "subject": "alice" })),
        ),
        ("GET", "/api/v1/sessions?subject=alice", None),
        ("DELETE", "/api/v1/sessions?subject=alice", None),
        ("GET", &*one, None),
        ("DELETE", &*one, None),
    ] {
        fixture.assert_refused(503, method, path, body).await;
    }
}

#[tokio::test]
async fn a_full_store_is_answered_with_503() {
    let fixture = Fixture::new();
    let limit = 10_000;
    for _ in 0..limit {
        fixture.bench.sign_in("default").await;
    }
    let body = Some(json!({ "subject": "one too many" }));
    fixture
        .assert_refused(503, "POST", "/api/v1/sessions", body.clone())
        .await;
    fixture.bench.set_time_after_start(10 * HOUR);
    fixture.send_json("POST", "/api/v1/sessions", body).await;
    assert_eq!(
        fixture.bench.store.memory.len(),
        1,
        "expired records should be deleted"
    );
}
