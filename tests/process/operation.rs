//! Metrics, health and logs of a running process, and how the process stops.

use curfew::credential::{KeyRing, SigningKey};
use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn metrics_count_checks_and_probes_report_readiness() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    curfew.check(&session).await;
    curfew.revoke(&session).await;
    curfew.check(&session).await;
    assert_eq!(curfew.get_ops("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(curfew.get_ops("/readyz").await, (200, "ok\n".to_owned()));
    let (status, metrics) = curfew.get_ops("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"curfew_checks_total{contract="auth-request",policy="default",verdict="allow"} 1"#,
        r#"curfew_checks_total{contract="auth-request",policy="default",verdict="revoked"} 1"#,
        r#"curfew_check_duration_seconds_count{contract="auth-request"} 2"#,
        r#"curfew_sessions_created_total{policy="default"} 1"#,
        r#"curfew_sessions_ended_total{policy="default",reason="revoked",redelivered="false"} 1"#,
        r#"curfew_store_operations_total{operation="load",result="ok"} 1"#,
        r#"curfew_store_operations_total{operation="create",result="ok"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\nis not in\n{metrics}");
    }
    for path in ["/auth-request", "/api/v1/sessions"] {
        assert_eq!(
            curfew.get_ops(path).await.0,
            404,
            "{path} is not on this listener"
        );
    }
}

/// Curfew rejects a forged token because of its signature, without Redis.
#[tokio::test]
async fn forged_tokens_cause_no_redis_queries() {
    let redis = RedisServer::start();
    let curfew = Setup::redis(&redis.url()).start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let session = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
    let redis_read_count = || {
        let stats: String = redis.command(&[b"INFO", b"commandstats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_pexpiretime:calls="));
        let count = line.and_then(|line| line.split(',').next()).unwrap();
        count.parse::<u64>().unwrap()
    };
    let before = redis_read_count();
    assert!(
        before > 0,
        "a valid check should have sent this command before"
    );
    let key = SigningKey::parse(&SigningKey::generate().unwrap()).unwrap();
    let forging_key_ring = KeyRing::new(vec![key]).unwrap();
    for _ in 0..500 {
        let cookie = format!(
            "__Host-session={}",
            forging_key_ring.issue().unwrap().expose()
        );
        let (status, reason) = curfew.check_with_cookie(&cookie).await;
        assert_eq!((status, &*reason), (401, "invalid_credential"));
    }
    assert_eq!(redis_read_count(), before);
}

/// With one core, no other thread can do the work of a blocked thread.
#[tokio::test]
async fn concurrent_checks_are_answered_on_one_core() {
    let redis = RedisServer::start();
    for setup in [Setup::memory(), Setup::redis(&redis.url())] {
        let curfew = setup.on_a_single_core().start();
        let session = curfew.sign_in("alice").await;
        let checks = (0..200).map(|_| curfew.check(&session));
        let answers = join_all(checks).await;
        assert!(answers.into_iter().all(|answer| answer == ALLOWED));
        curfew.revoke(&session).await;
        assert_eq!(curfew.check(&session).await.0, 401);
        curfew.stop().await;
    }
}

/// A key set with a public key (RFC 8037, appendix A.2).
const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Every metric is documented, and every documented metric exists.
#[tokio::test]
async fn every_metric_is_documented() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&keys, KEY_SET).unwrap();
    let service = "DELEGATED__SERVICES__LOGIN";
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let application = "{host: '127.0.0.1', target: 'http://127.0.0.1:1', health_path: /}";
    std::fs::write(
        file.path(),
        format!("listen: {{proxy: '127.0.0.1:0'}}\nproxy: {{upstreams: [{application}]}}\n"),
    )
    .unwrap();
    let curfew = Setup::memory()
        .config_file(file.path())
        .set("POLICIES__DEFAULT__ON_STORE_FAILURE", "known")
        .set("JWT__ISSUERS__MAIN__ISSUER", "https://id.example.com")
        .set("JWT__ISSUERS__MAIN__AUDIENCE", "app")
        .set(
            "JWT__ISSUERS__MAIN__JWKS_FILE",
            keys.path().to_str().unwrap(),
        )
        .set("LOGIN__URL", "https://app.example.com")
        .set("LOGIN__REVALIDATE", "5m")
        .set("LOGIN__PROVIDERS__MAIN__ISSUER", "http://127.0.0.1:1")
        .set("LOGIN__PROVIDERS__MAIN__CLIENT_ID", "curfew")
        .set(&format!("{service}__PRESET"), "oauth2-proxy")
        .set(&format!("{service}__URL"), "http://127.0.0.1:1/")
        .start();
    let session = curfew.sign_in("alice").await;
    curfew.check(&session).await;
    curfew.revoke(&session).await;
    // The cookie is unknown, so Curfew asks the delegated service, which is not running.
    let answer = curfew.check_with_cookie("a=b").await;
    assert_eq!(answer, (503, "source_unavailable".to_owned()));
    let (_, metrics) = curfew.get_ops("/metrics").await;
    let served_metrics: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("curfew_"))
        .collect();
    let page = include_str!("../../docs/configuration.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `curfew_")?.split(['`', '{']).next())
        .collect();
    assert!(served_metrics.len() >= 10, "{served_metrics:?}");
    for name in &served_metrics {
        let metric_name = name.trim_start_matches("curfew_");
        assert!(
            documented.contains(&metric_name),
            "{name} is not in docs/configuration.md"
        );
    }
    assert_eq!(served_metrics.len(), documented.len(), "{documented:?}");
}

#[tokio::test]
async fn audit_events_name_the_actor_and_the_reason() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    curfew.revoke(&session).await;
    curfew.check(&session).await;
    curfew.age(&curfew.sign_in("bob").await, "1h").await;
    eventually("the log is written", async || {
        !curfew.audit_events("session.denied").is_empty()
    })
    .await;
    let created = curfew.audit_events("session.created");
    assert_eq!(created.len(), 2);
    assert_eq!(
        (&created[0]["user.id"], &created[0]["curfew.session.id"]),
        (&json!("alice"), &json!(session.id))
    );
    let revoked = &curfew.audit_events("session.ended")[0];
    assert_eq!(
        (&revoked["user.id"], &revoked["event.reason"]),
        (&json!("alice"), &json!("revoked"))
    );
    for event in [&created[0], revoked] {
        assert_eq!(event["curfew.actor.kind"], "admin_token", "{event}");
        assert_eq!(event["source.ip"], "127.0.0.1", "{event}");
        assert_eq!(
            event["curfew.actor.name"].as_str().unwrap().len(),
            8,
            "{event}"
        );
    }
    let denied = &curfew.audit_events("session.denied")[0];
    for (field, value) in [
        ("event.reason", "revoked"),
        ("user.id", "alice"),
        ("curfew.contract", "auth-request"),
        ("url.domain", "app.example.com"),
        ("url.path", "/"),
        ("http.request.method", "GET"),
        ("curfew.proxy.ip", "127.0.0.1"),
    ] {
        assert_eq!(denied[field], value, "{denied}");
    }
}

#[tokio::test]
async fn no_secret_is_written_anywhere() {
    let redis = RedisServer::start();
    redis.command::<()>(&[
        b"ACL", b"SETUSER", b"someone", b"on", b">s3cret", b"~*", b"&*", b"+@all",
    ]);
    let url = redis.url().replace("redis://", "redis://someone:s3cret@");
    let setup = Setup::redis(&url).set("LOG__FILTER", "trace");
    let curfew = setup.start();
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let session = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
    curfew.revoke(&session).await;
    curfew.check(&session).await;
    let mut outputs = vec![curfew.log(), curfew.get_ops("/metrics").await.1];
    outputs.push(curfew.fetch_session(&session).await.to_string());
    for key in redis.command::<Vec<Vec<u8>>>(&[b"KEYS", b"*"]) {
        let dump: Vec<u8> = redis.command(&[b"DUMP", &key]);
        outputs.push(format!("{} {}", key.escape_ascii(), dump.escape_ascii()));
    }
    curfew.signal("TERM");
    // Also looks for the middle of the token, which contains the random bytes.
    let token_middle = &session.token[20..60];
    for text in &outputs {
        for secret in [
            &*session.token,
            token_middle,
            &setup.admin_token,
            &setup.key,
            "s3cret",
        ] {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
    }
}

/// The process receives SIGTERM while Redis hangs and a request waits. When Redis continues, the request is answered.
#[tokio::test]
async fn open_requests_finish_when_the_process_stops() {
    let redis = RedisServer::start();
    let mut curfew = Setup::redis(&redis.url())
        .set("STORE__COMMAND_TIMEOUT", "20s")
        .set("STORE__CHECK_TIMEOUT", "20s")
        .start();
    let session = curfew.sign_in("alice").await;
    redis.freeze();
    let check = async { curfew.check(&session).await };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        curfew.signal("TERM");
        eventually("no connection is accepted", async || {
            tokio::net::TcpStream::connect(curfew.check).await.is_err()
        })
        .await;
        redis.thaw();
    };
    let (answer, ()) = tokio::join!(check, stop);
    assert_eq!(answer, ALLOWED);
    assert!(curfew.wait_for_exit().await.success(), "{}", curfew.log());
}

#[tokio::test]
async fn stopping_has_a_time_limit() {
    let redis = RedisServer::start();
    let mut curfew = Setup::redis(&redis.url())
        .set("STORE__COMMAND_TIMEOUT", "60s")
        .set("STORE__CHECK_TIMEOUT", "60s")
        .set("SHUTDOWN_TIMEOUT", "300ms")
        .start();
    let session = curfew.sign_in("alice").await;
    redis.freeze();
    let url = format!("http://{}/auth-request", curfew.check);
    let request = client()
        .get(url)
        .header("x-original-url", "https://app.example.com/")
        .header("x-original-method", "GET")
        .header("cookie", session.cookie());
    let pending_request = tokio::spawn(request.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stopwatch = Stopwatch::start();
    curfew.signal("TERM");
    assert!(curfew.wait_for_exit().await.success(), "{}", curfew.log());
    assert!(stopwatch.seconds() < 10.0, "{} s", stopwatch.seconds());
    assert!(
        pending_request.await.unwrap().is_err(),
        "the waiting request should fail when the process stops"
    );
    assert!(curfew.log().contains("did not finish in time"));
}
