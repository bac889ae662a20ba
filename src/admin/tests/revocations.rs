//! Emergency revocation over the admin API.

use super::*;

#[tokio::test]
async fn an_emergency_revocation_is_counted_and_executed() {
    let fixture = Fixture::new();
    let path = "/api/v1/revocations";
    for (subject, groups) in [("alice", json!(["staff"])), ("bob", json!(["guests"]))] {
        let body = json!({ "subject": subject, "attributes": { "groups": groups } });
        fixture.create(body).await;
    }
    fixture.bench.set_time_after_start(MINUTE);
    for (body, expected) in [
        (json!({}), "name a condition"),
        (json!({ "everybody": true, "group": "staff" }), "not both"),
        (json!({ "policy": "No Policy" }), "policy: "),
        (json!({ "source": "guess" }), "source: must be one of"),
        (json!({ "group": "" }), "1 to 512 bytes"),
        (json!({ "host": "a\u{1b}b" }), "control characters"),
        (
            json!({ "everybody": true, "before": "tomorrow" }),
            "before: must be a time",
        ),
        (
            json!({ "everybody": true, "before": "2999-01-01T00:00:00Z" }),
            "before: must be a time",
        ),
        (json!({ "everyone": true }), "unknown field"),
    ] {
        let detail = fixture.assert_refused(400, "POST", path, Some(body)).await;
        assert!(detail.contains(expected), "{detail}");
    }
    let (status, counted) = fixture
        .send_json(
            "POST",
            path,
            Some(json!({ "group": "staff", "dry_run": true })),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(counted["dry_run"], true);
    let count = &counted["count"];
    assert_eq!(
        (&count["live"], &count["exact"], &count["checked"]),
        (&json!(1), &json!(true), &json!(2))
    );
    assert!(counted.get("in_force").is_none());
    let (_, listed) = fixture.send_json("GET", path, None).await;
    assert_eq!(listed, json!({ "revocations": [] }));
    let (status, revoked) = fixture
        .send_json("POST", path, Some(json!({ "group": "staff" })))
        .await;
    assert_eq!(status, StatusCode::OK, "{revoked}");
    assert_eq!(revoked["conditions"], "group=staff");
    assert_eq!(revoked["in_force"]["everywhere"], true);
    assert_eq!(revoked["in_force"]["replicas"][0]["state"], "in_force");
    let (_, listed) = fixture.send_json("GET", path, None).await;
    let rule = json!({ "conditions": "group=staff", "before": revoked["before"] });
    assert_eq!(listed, json!({ "revocations": [rule] }));
    for (subject, live) in [("alice", 0), ("bob", 1)] {
        let path = format!("/api/v1/sessions/count?subject={subject}");
        let (_, count) = fixture.send_json("GET", &path, None).await;
        assert_eq!(count["live"], live, "{subject}");
    }
    for number in 1..crate::store::MAX_REVOCATION_RULES {
        let body = json!({ "group": format!("group-{number}") });
        let (status, _) = fixture.send_json("POST", path, Some(body)).await;
        assert_eq!(status, StatusCode::OK);
    }
    let detail = fixture
        .assert_refused(409, "POST", path, Some(json!({ "group": "one more" })))
        .await;
    assert!(detail.contains("100 revocations"), "{detail}");
    let (status, _) = fixture
        .send_json("POST", path, Some(json!({ "everybody": true })))
        .await;
    assert_eq!(status, StatusCode::OK);
    let (_, count) = fixture
        .send_json("GET", "/api/v1/sessions/count?subject=bob", None)
        .await;
    assert_eq!(count["live"], 0);
}
