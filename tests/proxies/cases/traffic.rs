//! Ordinary traffic works: methods, bodies, large headers and many clients.

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::Harness;
use crate::support::curfew::CreatedSession;

pub async fn every_request_is_checked(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let before = harness.check_count().await;
    harness.tap.take();
    for number in 1..=5 {
        let backend_request =
            harness.assert_allowed(&harness.get(&session, "/same").await, "alice");
        for name in [
            "content-type",
            "content-length",
            "cache-control",
            "date",
            "set-cookie",
        ] {
            assert!(
                !backend_request.headers.contains_key(name),
                "{name} in {backend_request:?}"
            );
        }
        assert_eq!(harness.check_count().await, before + number);
    }
    // The proxy does not cache denials.
    for number in 1..=3 {
        harness.assert_denied(&harness.send("GET", "/same", &[]).await, "no_credential");
        assert_eq!(harness.check_count().await, before + 5 + number);
    }
}

pub async fn json_post(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let body = format!(
        r#"{{"marker":"only for the application","long":"{}"}}"#,
        "x".repeat(9000)
    );
    let cookie = session.cookie();
    let header_pairs = [("cookie", &*cookie), ("content-type", "application/json")];
    harness.tap.take();
    let answer = harness
        .send_body("POST", "/", &header_pairs, Bytes::from(body.clone()))
        .await;
    let backend_request = harness.assert_allowed(&answer, "alice");
    assert_eq!(
        backend_request.header_values("content-type"),
        ["application/json"]
    );
    assert_eq!(backend_request.body, body);
    let length = backend_request
        .headers
        .get("content-length")
        .map(|length| length.to_str().unwrap().to_owned());
    assert!(length.is_none_or(|length| length == body.len().to_string()));
    let (check_bytes, _) = harness.tap.take();
    assert!(
        !check_bytes.is_empty(),
        "the proxy should have sent a check"
    );
    let marker = b"only for the application";
    assert!(
        !check_bytes
            .windows(marker.len())
            .any(|window| window == marker)
    );

    let answer = harness
        .send_body("POST", "/", &header_pairs[1..], Bytes::from(body))
        .await;
    harness.assert_denied(&answer, "no_credential");
}

pub async fn methods(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let conditions = [
        ("if-none-match", "*"),
        ("if-modified-since", "Tue, 24 Nov 2026 00:00:00 GMT"),
        ("range", "bytes=0-0"),
        ("cookie", &*cookie),
    ];
    for method in [
        "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "REPORT",
    ] {
        let header_pairs = conditions;
        let backend_request =
            harness.assert_allowed(&harness.send(method, "/", &header_pairs).await, "alice");
        assert_eq!(backend_request.method.as_str(), method);
        assert_eq!(backend_request.header_values("if-none-match"), ["*"]);
        assert_eq!(backend_request.header_values("range"), ["bytes=0-0"]);
        let answer = harness
            .send(method, "/", &header_pairs[..header_pairs.len() - 1])
            .await;
        harness.assert_denied(&answer, "no_credential");
    }
}

pub async fn large_headers(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for size in [8_000, 8_192, 16_000, 16_384, 60_000] {
        let large_value = "x".repeat(size);
        let padded = format!("{cookie}; pad={}", "y".repeat(size));
        for header_pairs in [
            vec![("x-large", &*large_value), ("cookie", &*cookie)],
            vec![("cookie", &*padded)],
        ] {
            let answer = harness.send("GET", "/", &header_pairs).await;
            match answer.status {
                200 => {
                    let backend_request = harness.assert_allowed(&answer, "alice");
                    for (name, value) in &header_pairs {
                        assert_eq!(backend_request.header_values(name), [*value], "{size}");
                    }
                }
                400 | 401 | 413 | 414 | 431 | 494 => harness.assert_application_not_reached(),
                status => panic!("status {status} for a header of {size} bytes"),
            }
        }
        let answer = harness.send("GET", "/", &[("x-large", &large_value)]).await;
        assert!((400..500).contains(&answer.status), "{size}: {answer:?}");
        harness.assert_application_not_reached();
    }
}

pub async fn header_of_60_kilobytes(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let large_value = "x".repeat(60_000);
    let answer = harness
        .send(
            "GET",
            "/",
            &[("x-large", &large_value), ("cookie", &cookie)],
        )
        .await;
    harness.assert_allowed(&answer, "alice");
}

pub async fn many_clients(harness: &mut Harness) {
    let subjects: Vec<String> = (0..12).map(|number| format!("user-{number}")).collect();
    let sessions: Vec<CreatedSession> = join_all(
        subjects
            .iter()
            .map(|subject| harness.curfew.sign_in(subject)),
    )
    .await;
    let ended = harness.curfew.sign_in("ended").await;
    harness.curfew.revoke(&ended).await;
    for _ in 0..4 {
        let harness = &*harness;
        let requests = sessions
            .iter()
            .zip(&subjects)
            .map(|(session, subject)| async move {
                let cookie = session.cookie();
                let header_pairs = [("cookie", &*cookie), ("x-asked-by", &**subject)];
                harness.send("GET", "/", &header_pairs).await.status
            });
        let refused = harness.get(&ended, "/");
        let (statuses, refused) = tokio::join!(join_all(requests), refused);
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(refused.status, 401);
        let backend_requests = harness.backend.take();
        assert_eq!(backend_requests.len(), sessions.len());
        for backend_request in backend_requests {
            assert_eq!(
                backend_request.header_values("x-session-user"),
                backend_request.header_values("x-asked-by")
            );
        }
    }
}

pub async fn no_smuggling(harness: &mut Harness) {
    let hidden_request = "GET /sign-in HTTP/1.1\r\nHost: app.example.com\r\nX-Hidden: 1\r\n\r\n";
    for framing in [
        format!(
            "Content-Length: {}\r\n\r\n{hidden_request}",
            hidden_request.len()
        ),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden_request}\r\n0\r\n\r\n",
            hidden_request.len()
        ),
    ] {
        let mut stream = harness.connect().await;
        let denied_request =
            format!("POST /private HTTP/1.1\r\nHost: app.example.com\r\n{framing}");
        let next_request =
            "GET /sign-in HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n";
        stream.write_all(denied_request.as_bytes()).await.unwrap();
        // The proxy may have closed the connection already, so an error of this write is no failure.
        let _ = stream.write_all(next_request.as_bytes()).await;
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers).await;
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 401 "), "{answers}");
        for backend_request in harness.backend.take() {
            assert!(
                !backend_request.headers.contains_key("x-hidden"),
                "{backend_request:?}"
            );
        }
    }
}

/// The check adds no limit for the size of uploads.
pub async fn upload(harness: &mut Harness) {
    let session = harness.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for size in [50_000, 900_000] {
        let body = Bytes::from("x".repeat(size));
        let header_pairs = [("cookie", &*cookie), ("content-type", "text/plain")];
        let answer = harness
            .send_body("POST", "/", &header_pairs, body.clone())
            .await;
        let backend_request = harness.assert_allowed(&answer, "alice");
        assert_eq!(backend_request.body.len(), size);
        let answer = harness
            .send_body("POST", "/", &header_pairs[1..], body)
            .await;
        harness.assert_denied(&answer, "no_credential");
    }
}

pub async fn large_identity(harness: &mut Harness) {
    let groups: Vec<String> = (0..38).map(|number| format!("{number:0>100}")).collect();
    let subject = "a".repeat(200);
    let session = harness
        .curfew
        .sign_in_with(&subject, serde_json::json!({ "groups": groups }))
        .await;
    let backend_request = harness.assert_allowed(&harness.get(&session, "/").await, &subject);
    let groups = backend_request.header_values("x-session-groups").join(",");
    assert!(groups.len() + subject.len() > 4_000);
}
