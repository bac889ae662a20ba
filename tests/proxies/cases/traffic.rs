//! Ordinary traffic works: methods, bodies, large headers and many clients.

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::Bench;
use crate::support::curfew::CreatedSession;

pub async fn every_request_is_checked(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let before = bench.checks().await;
    bench.tap.take();
    for number in 1..=5 {
        let seen = bench.assert_allowed(&bench.get(&session, "/same").await, "alice");
        for name in [
            "content-type",
            "content-length",
            "cache-control",
            "date",
            "set-cookie",
        ] {
            assert!(!seen.headers.contains_key(name), "{name} in {seen:?}");
        }
        assert_eq!(bench.checks().await, before + number);
    }
    // The proxy does not cache denials.
    for number in 1..=3 {
        bench.assert_denied(&bench.send("GET", "/same", &[]).await, "no_credential");
        assert_eq!(bench.checks().await, before + 5 + number);
    }
}

pub async fn json_post(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let body = format!(
        r#"{{"marker":"only for the application","long":"{}"}}"#,
        "x".repeat(9000)
    );
    let cookie = session.cookie();
    let lines = [("cookie", &*cookie), ("content-type", "application/json")];
    bench.tap.take();
    let answer = bench
        .send_body("POST", "/", &lines, Bytes::from(body.clone()))
        .await;
    let seen = bench.assert_allowed(&answer, "alice");
    assert_eq!(seen.header_values("content-type"), ["application/json"]);
    assert_eq!(seen.body, body);
    let length = seen
        .headers
        .get("content-length")
        .map(|length| length.to_str().unwrap().to_owned());
    assert!(length.is_none_or(|length| length == body.len().to_string()));
    let (asked, _) = bench.tap.take();
    assert!(!asked.is_empty(), "the proxy should have sent a check");
    let marker = b"only for the application";
    assert!(!asked.windows(marker.len()).any(|window| window == marker));

    let answer = bench
        .send_body("POST", "/", &lines[1..], Bytes::from(body))
        .await;
    bench.assert_denied(&answer, "no_credential");
}

pub async fn methods(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
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
        let lines = conditions;
        let seen = bench.assert_allowed(&bench.send(method, "/", &lines).await, "alice");
        assert_eq!(seen.method.as_str(), method);
        assert_eq!(seen.header_values("if-none-match"), ["*"]);
        assert_eq!(seen.header_values("range"), ["bytes=0-0"]);
        let answer = bench.send(method, "/", &lines[..lines.len() - 1]).await;
        bench.assert_denied(&answer, "no_credential");
    }
}

pub async fn large_headers(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for size in [8_000, 8_192, 16_000, 16_384, 60_000] {
        let large = "x".repeat(size);
        let padded = format!("{cookie}; pad={}", "y".repeat(size));
        for lines in [
            vec![("x-large", &*large), ("cookie", &*cookie)],
            vec![("cookie", &*padded)],
        ] {
            let answer = bench.send("GET", "/", &lines).await;
            match answer.status {
                200 => {
                    let seen = bench.assert_allowed(&answer, "alice");
                    for (name, value) in &lines {
                        assert_eq!(seen.header_values(name), [*value], "{size}");
                    }
                }
                400 | 401 | 413 | 414 | 431 | 494 => bench.assert_application_not_reached(),
                status => panic!("status {status} for a header of {size} bytes"),
            }
        }
        let answer = bench.send("GET", "/", &[("x-large", &large)]).await;
        assert!((400..500).contains(&answer.status), "{size}: {answer:?}");
        bench.assert_application_not_reached();
    }
}

pub async fn header_of_60_kilobytes(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    let large = "x".repeat(60_000);
    let answer = bench
        .send("GET", "/", &[("x-large", &large), ("cookie", &cookie)])
        .await;
    bench.assert_allowed(&answer, "alice");
}

pub async fn many_clients(bench: &mut Bench) {
    let subjects: Vec<String> = (0..12).map(|number| format!("user-{number}")).collect();
    let sessions: Vec<CreatedSession> =
        join_all(subjects.iter().map(|subject| bench.curfew.sign_in(subject))).await;
    let ended = bench.curfew.sign_in("ended").await;
    bench.curfew.revoke(&ended).await;
    for _ in 0..4 {
        let bench = &*bench;
        let asked = sessions
            .iter()
            .zip(&subjects)
            .map(|(session, subject)| async move {
                let cookie = session.cookie();
                let lines = [("cookie", &*cookie), ("x-asked-by", &**subject)];
                bench.send("GET", "/", &lines).await.status
            });
        let refused = bench.get(&ended, "/");
        let (statuses, refused) = tokio::join!(join_all(asked), refused);
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(refused.status, 401);
        let seen = bench.backend.take();
        assert_eq!(seen.len(), sessions.len());
        for seen in seen {
            assert_eq!(seen.header_values("x-session-user"), seen.header_values("x-asked-by"));
        }
    }
}

pub async fn no_smuggling(bench: &mut Bench) {
    let hidden = "GET /sign-in HTTP/1.1\r\nHost: app.example.com\r\nX-Hidden: 1\r\n\r\n";
    for framing in [
        format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        ),
    ] {
        let mut stream = bench.connect().await;
        let denied = format!("POST /private HTTP/1.1\r\nHost: app.example.com\r\n{framing}");
        let then = "GET /sign-in HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n";
        stream.write_all(denied.as_bytes()).await.unwrap();
        // The server may have closed the connection already.
        let _ = stream.write_all(then.as_bytes()).await;
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers).await;
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 401 "), "{answers}");
        for seen in bench.backend.take() {
            assert!(!seen.headers.contains_key("x-hidden"), "{seen:?}");
        }
    }
}

/// The check adds no limit for the size of uploads.
pub async fn upload(bench: &mut Bench) {
    let session = bench.curfew.sign_in("alice").await;
    let cookie = session.cookie();
    for size in [50_000, 900_000] {
        let body = Bytes::from("x".repeat(size));
        let lines = [("cookie", &*cookie), ("content-type", "text/plain")];
        let answer = bench.send_body("POST", "/", &lines, body.clone()).await;
        let seen = bench.assert_allowed(&answer, "alice");
        assert_eq!(seen.body.len(), size);
        let answer = bench.send_body("POST", "/", &lines[1..], body).await;
        bench.assert_denied(&answer, "no_credential");
    }
}

pub async fn large_identity(bench: &mut Bench) {
    let groups: Vec<String> = (0..38).map(|number| format!("{number:0>100}")).collect();
    let subject = "a".repeat(200);
    let session = bench
        .curfew
        .sign_in_with(&subject, serde_json::json!({ "groups": groups }))
        .await;
    let seen = bench.assert_allowed(&bench.get(&session, "/").await, &subject);
    let groups = seen.header_values("x-session-groups").join(",");
    assert!(groups.len() + subject.len() > 4_000);
}
