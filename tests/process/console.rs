//! Tests the console on two replicas.

use reqwest::StatusCode;

use super::*;
use crate::support::curfew::Curfew;

/// Posts a form with a cookie, as a page of the console does. Returns the status and the first cookie of the answer.
async fn post_form(curfew: &Curfew, path: &str, cookie: &str, form: &str) -> (StatusCode, String) {
    let url = format!("http://{}{path}", curfew.admin);
    let request = client().post(url);
    let response = request
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("cookie", cookie)
        .body(form.to_owned())
        .send()
        .await
        .unwrap();
    let cookie = response.headers().get("set-cookie");
    let cookie = cookie.map_or("", |line| line.to_str().unwrap());
    let cookie = cookie.split(';').next().unwrap().to_owned();
    (response.status(), cookie)
}

/// Requests the first page of the console, and returns the status: 200, or 303 without a session.
async fn open_console(curfew: &Curfew, cookie: &str) -> u16 {
    let url = format!("http://{}/console/", curfew.admin);
    let request = client().get(url).header("cookie", cookie);
    request.send().await.unwrap().status().as_u16()
}

/// Waits for an audit event with this name, and returns the first one. Waiting is necessary, because Curfew writes the
/// log a moment after the answer.
async fn first_audit_event(curfew: &Curfew, event: &str) -> Value {
    eventually("the audit event is logged", async || {
        !curfew.audit_events(event).is_empty()
    })
    .await;
    curfew.audit_events(event).remove(0)
}

#[tokio::test]
async fn a_console_sign_out_on_one_replica_holds_on_the_other() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url()).set("ADMIN__CONSOLE__IDLE", "2s");
    let (one, two) = (setup.start(), setup.start());
    for replica in [&one, &two] {
        eventually("the replica is ready", async || {
            replica.get_ops("/readyz").await.0 == 200
        })
        .await;
    }
    let form = format!("token={}", setup.admin_token);
    let (status, cookie) = post_form(&one, "/console/sign-in", "", &form).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(
        (
            open_console(&one, &cookie).await,
            open_console(&two, &cookie).await
        ),
        (200, 200)
    );
    // A check does not accept the value of the console cookie, neither in the console cookie nor in the session cookie.
    let (_, value) = cookie.split_once('=').unwrap();
    for cookie_line in [format!("__Host-session={value}"), cookie.clone()] {
        assert_eq!(
            one.check_with_cookie(&cookie_line).await.0,
            401,
            "{cookie_line}"
        );
    }
    let (status, cleared_cookie) = post_form(&one, "/console/sign-out", &cookie, "").await;
    assert_eq!(
        (status, &*cleared_cookie),
        (StatusCode::SEE_OTHER, "curfew-console=")
    );
    assert_eq!(
        (
            open_console(&two, &cookie).await,
            open_console(&one, &cookie).await
        ),
        (303, 303)
    );
    let other_session = two.sign_in("alice").await;
    let end_path = format!("/console/sessions/{}/end", other_session.id);
    post_form(&two, &end_path, &cookie, "").await;
    assert_eq!(
        two.check(&other_session).await,
        ALLOWED,
        "a copy of the cookie should end no session after the sign-out"
    );

    // An unused operator session ends at its idle limit without any request, because a background task of the replicas
    // ends it.
    let (_, cookie) = post_form(&two, "/console/sign-in", "", &form).await;
    let list_path = "/api/v1/sessions?subject=curfew-operator";
    eventually("the session is timed out", async || {
        let sessions = one.call("GET", list_path, None).await.1["sessions"].clone();
        let sessions = sessions.as_array().unwrap().clone();
        sessions
            .iter()
            .any(|session| session["end_reason"] == "idle_timeout")
    })
    .await;
    assert_eq!(open_console(&two, &cookie).await, 303);
    eventually("both ends are audited", async || {
        one.audit_events("session.ended").len() + two.audit_events("session.ended").len() == 2
    })
    .await;
    let ended = one.audit_events("session.ended").into_iter();
    let ended: Vec<Value> = ended.chain(two.audit_events("session.ended")).collect();
    let event_with_reason = |reason: &str| {
        ended
            .iter()
            .find(|event| event["event.reason"] == reason)
            .unwrap()
    };
    assert_eq!(
        event_with_reason("signed_out")["curfew.actor.kind"],
        "operator"
    );
    assert_eq!(event_with_reason("signed_out")["source.ip"], "127.0.0.1");
    assert_eq!(
        event_with_reason("idle_timeout")["curfew.actor.name"],
        "curfew-console"
    );
    for event in &ended {
        let name = event["user.id"].as_str().unwrap();
        assert!(name.starts_with("token:") && name.len() == 14, "{name}");
    }
    let entry_event = first_audit_event(&one, "console.entered").await;
    assert_eq!(entry_event["curfew.actor.name"], ended[0]["user.id"]);
    for replica in [&one, &two] {
        assert!(!replica.log().contains(value), "no credential is logged");
        assert!(!replica.log().contains(&setup.admin_token));
    }
}

/// If an admin token is removed from the configuration, the console sessions that were started with it end.
#[tokio::test]
async fn a_console_session_ends_when_its_token_is_removed() {
    let hashes = tempfile::NamedTempFile::new().unwrap();
    let [first, second] = [(); 2].map(|()| curfew::AdminToken::generate().unwrap());
    let hash_line = |token: &curfew::AdminToken, name: &str| {
        format!("{} {name} read,revoke\n", token.hash_text())
    };
    let two_lines = hash_line(&first, "first") + &hash_line(&second, "second");
    std::fs::write(hashes.path(), two_lines).unwrap();
    let curfew = Setup::memory()
        .unset("ADMIN__TOKEN_HASHES")
        .set("ADMIN__TOKEN_HASHES_FILE", hashes.path().to_str().unwrap())
        .start();
    let mut cookies = Vec::new();
    for token in [&first, &second] {
        let form = format!("token={}", token.token.expose());
        cookies.push(post_form(&curfew, "/console/sign-in", "", &form).await.1);
    }
    for cookie in &cookies {
        assert_eq!(open_console(&curfew, cookie).await, 200);
    }
    std::fs::write(hashes.path(), hash_line(&second, "second")).unwrap();
    curfew.signal("HUP");
    eventually("the session has ended", async || {
        open_console(&curfew, &cookies[0]).await == 303
    })
    .await;
    assert_eq!(open_console(&curfew, &cookies[1]).await, 200);
    // The answer and the audit log contain the name of the token and the missing right.
    let answer = client()
        .post(format!("http://{}/api/v1/sessions", curfew.admin))
        .bearer_auth(second.token.expose())
        .json(&json!({ "subject": "alice" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("second") && text.contains("`create`"),
        "{text}"
    );
    let refused = first_audit_event(&curfew, "admin.refused").await;
    assert_eq!(refused["curfew.actor.name"], "second");
    assert_eq!(refused["curfew.admin.verb"], "create");
    let unauthenticated = client()
        .get(format!("http://{}/api/v1/policies", curfew.admin))
        .bearer_auth(first.token.expose())
        .send()
        .await;
    assert_eq!(unauthenticated.unwrap().status(), StatusCode::UNAUTHORIZED);
    let refused = first_audit_event(&curfew, "admin.unauthenticated").await;
    assert_eq!(refused["source.ip"], "127.0.0.1");
    assert_eq!(refused["event.reason"], "wrong_credential");
    assert!(!curfew.log().contains(first.token.expose()));
}
