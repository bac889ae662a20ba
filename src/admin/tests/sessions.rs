//! The options of a sign-in, and explanations of requests.

use std::collections::BTreeMap;

use super::*;
use crate::actor::Actor;
use crate::policy::{BindSettings, MaxSessions, NetworkBits, OnSessionLimit, Policy};
use crate::session::Limits;
use crate::testing::policy_name;

/// Creates a fixture with the default policy that `change` returns.
fn fixture_with_policy(change: impl Fn(Policy) -> Policy) -> Fixture {
    let mut bench = TestService::new();
    let (_, default) = bench.parts.policies.get("default").unwrap();
    let changed = change(default.clone());
    bench.set_policies(BTreeMap::from([(policy_name("default"), changed)]));
    Fixture::with_bench(bench)
}

#[tokio::test]
async fn a_sign_in_can_ask_to_be_remembered() {
    let fixture = fixture_with_policy(|policy| Policy {
        remember: Some(Limits {
            idle: Some(100 * HOUR),
            absolute: 200 * HOUR,
            max_auth_age: None,
        }),
        ..policy
    });
    let body = json!({ "subject": "alice", "remember": true });
    let (status, created) = fixture
        .send_json("POST", "/api/v1/sessions", Some(body))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let session = &created["session"];
    assert_eq!(session["remembered"], true);
    assert_eq!(session["idle_remaining"], 360_000);
    assert_eq!(session["absolute_remaining"], 720_000);
    let (_, policies) = fixture.send_json("GET", "/api/v1/policies", None).await;
    let remember = &policies["policies"][0]["remember"];
    assert_eq!(
        *remember,
        json!({ "idle": 360_000.0, "absolute": 720_000.0 })
    );

    let detail = Fixture::new()
        .assert_refused(
            400,
            "POST",
            "/api/v1/sessions",
            Some(json!({ "subject": "alice", "remember": true })),
        )
        .await;
    assert_eq!(detail, "remember: the policy has no `remember`");
}

#[tokio::test]
async fn a_bound_session_is_started_with_its_client() {
    let fixture = fixture_with_policy(|policy| Policy {
        bind: BindSettings {
            network: Some(NetworkBits { ipv4: 24, ipv6: 64 }),
            user_agent: true,
        },
        ..policy
    });
    let create_body = |client: Option<Value>| {
        let mut body = json!({ "subject": "alice" });
        if let Some(client) = client {
            body["client"] = client;
        }
        Some(body)
    };
    for (client, expected) in [
        (
            None,
            "client: the policy binds sessions to the client's address",
        ),
        (
            Some(json!({ "address": "203.0.113.7" })),
            "client: the policy binds sessions to the client's user agent",
        ),
        (
            Some(json!({ "address": "localhost" })),
            "client.address: must be an IP address, such as 203.0.113.7",
        ),
    ] {
        let detail = fixture
            .assert_refused(400, "POST", "/api/v1/sessions", create_body(client))
            .await;
        assert!(detail.starts_with(expected), "{detail}");
    }
    let client = json!({ "address": "203.0.113.7", "user_agent": "Firefox" });
    let (status, created) = fixture
        .send_json(
            "POST",
            "/api/v1/sessions",
            create_body(Some(client.clone())),
        )
        .await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert_eq!(created["session"]["bound_to_network"], "203.0.113.0/24");
    assert_eq!(created["session"]["bound_to_user_agent"], true);
    let id = created["session"]["id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}/explain");
    for (client, verdict, mismatch) in [
        (client, "allow", Value::Null),
        (
            json!({ "address": "6.6.6.6", "user_agent": "Firefox" }),
            "reauthentication_required",
            json!("address"),
        ),
        (json!({}), "malformed_request", json!("address_unknown")),
    ] {
        let body = json!({ "url": "https://a.example/", "client": client });
        let (_, answer) = fixture.send_json("POST", &path, Some(body)).await;
        let explanation = &answer["explanation"];
        assert_eq!(explanation["verdict"], verdict);
        assert_eq!(explanation["binding_mismatch"], mismatch);
    }
}

#[tokio::test]
async fn a_sign_in_beyond_the_session_limit_is_refused() {
    let fixture = fixture_with_policy(|policy| Policy {
        max_sessions: Some(MaxSessions {
            count: 1,
            on_limit: OnSessionLimit::Deny,
        }),
        ..policy
    });
    let body = json!({ "subject": "alice" });
    fixture
        .send_json("POST", "/api/v1/sessions", Some(body.clone()))
        .await;
    let detail = fixture
        .assert_refused(409, "POST", "/api/v1/sessions", Some(body))
        .await;
    assert_eq!(detail, "session limit reached: the subject has 1 sessions");
}

#[tokio::test]
async fn a_request_with_a_live_session_is_explained() {
    let fixture = Fixture::new();
    let id = fixture.bench.sign_in("default").await.id;
    let path = format!("/api/v1/sessions/{id}/explain");
    let explain = async |body: Value| fixture.send_json("POST", &path, Some(body)).await.1;
    fixture.bench.set_time_after_start(14 * MINUTE);
    let body = json!({
        "url": "https://app.example.com/a%62c?x=1",
        "method": "POST",
        "headers": { "X-Session-Passive": "1" },
        "contract": "forward-auth",
        "policy": "strict",
    });
    let answer = explain(body).await;
    assert_eq!(
        answer["explanation"],
        json!({
            "verdict": "reauthentication_required",
            "path": "/abc",
            "access": "protected",
            "home_policy": "default",
            "requested_policies": [{ "name": "strict", "by": "proxy" }],
            "required_groups": [],
            "activity": "passive",
            "passive_reason": "a header marks the request as a background request",
            "session_limits": {
                "idle": { "seconds": 900.0, "from": "policies.default.idle" },
                "absolute": { "seconds": 28800.0, "from": "policies.default.absolute" },
            },
            "request_limits": {
                "idle": { "seconds": 300.0, "from": "policies.strict.idle" },
                "absolute": { "seconds": 3600.0, "from": "policies.strict.absolute" },
                "max_auth_age": { "seconds": 1800.0, "from": "policies.strict.max_auth_age" },
            },
        })
    );
    assert_eq!(answer["session"]["idle_remaining"], 60);
    fixture.bench.set_time_after_start(15 * MINUTE);
    let answer = explain(json!({ "url": "https://app.example.com/" })).await;
    assert_eq!(answer["explanation"]["verdict"], "idle_timeout");
    assert_eq!(answer["session"]["end_reason"], "idle_timeout");
    let stored = fixture.bench.load_record(id).await;
    assert_eq!(
        stored.state,
        crate::session::State::Live,
        "an explanation should not end the session"
    );
}

#[tokio::test]
async fn a_request_with_a_revoked_session_is_explained() {
    let fixture = Fixture::new();
    let id = fixture.bench.sign_in("default").await.id;
    fixture
        .bench
        .lifecycle
        .revoke(id, &Actor::CURFEW)
        .await
        .unwrap();
    let path = format!("/api/v1/sessions/{id}/explain");
    let body = json!({ "url": "https://app.example.com/" });
    let (_, answer) = fixture.send_json("POST", &path, Some(body)).await;
    assert_eq!(answer["explanation"]["verdict"], "revoked");
}

#[tokio::test]
async fn invalid_explain_requests_are_refused() {
    let fixture = Fixture::new();
    let id = fixture.bench.sign_in("default").await.id;
    let path = format!("/api/v1/sessions/{id}/explain");
    for (body, expected) in [
        (json!({ "url": "/x" }), "url: must be an absolute URL"),
        (
            json!({ "url": "https://a/", "method": "G T" }),
            "method: must be an HTTP method",
        ),
        (
            json!({ "url": "https://a/", "contract": "x" }),
            "contract: must be one of auth-request",
        ),
        (
            json!({ "url": "https://a/", "headers": { "a b": "c" } }),
            "headers: must have valid",
        ),
    ] {
        let detail = fixture.assert_refused(400, "POST", &path, Some(body)).await;
        assert!(detail.starts_with(expected), "{detail}");
    }
    let unknown_path = format!("/api/v1/sessions/{}/explain", "0".repeat(32));
    let body = json!({ "url": "https://a/" });
    fixture
        .assert_refused(404, "POST", &unknown_path, Some(body))
        .await;
}

/// Checks that session fixation is impossible: each sign-in gets a new session ID, even if the client sends an ID.
#[tokio::test]
async fn a_sign_in_always_gets_a_new_session_id() {
    let fixture = Fixture::new();
    let before = fixture.create(json!({ "subject": "alice" })).await;
    let again = fixture.create(json!({ "subject": "alice" })).await;
    assert_ne!(before["token"], again["token"]);
    assert_ne!(before["session"]["id"], again["session"]["id"]);
    for (name, value) in [
        ("token", &before["token"]),
        ("id", &before["session"]["id"]),
    ] {
        let body = json!({ "subject": "mallory", name: value });
        let detail = fixture
            .assert_refused(400, "POST", "/api/v1/sessions", Some(body))
            .await;
        assert!(detail.contains(name), "{detail}");
    }
}
