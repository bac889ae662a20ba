//! The program as a process: what it prints, when it refuses to start, how it stops, and what
//! survives it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::process::Output;
use std::time::Duration;

use curfew::clock::Stopwatch;
use serde_json::{Value, json};
use support::curfew::{Setup, client};
use support::eventually;
use support::redis::RedisServer;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(setup: &Setup, arguments: &[&str]) -> Output {
    setup.command(arguments).output().unwrap()
}

const ALLOWED: (u16, String) = (200, String::new());

fn denied(reason: &str) -> (u16, String) {
    (401, reason.to_owned())
}

/// With nothing configured but where to listen.
#[tokio::test]
async fn serving_needs_no_configuration_and_says_how_to_begin() {
    use std::io::Read;
    let setup = Setup::memory()
        .unset("TOKEN__KEYS")
        .unset("ADMIN__TOKEN_HASHES")
        .unset("ADMIN__ALLOW_AGEING")
        .unset("LOG__FILTER")
        .unset("LOG__FORMAT");
    let mut process = setup
        .command(&["serve"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The last thing printed is the curl line and an empty one.
    let mut out = process.stdout.take().unwrap();
    let mut banner = String::new();
    while !banner.ends_with("'{\"subject\":\"alice\"}'\n\n") {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).unwrap(), 1, "{banner}");
        banner.push(char::from(byte[0]));
    }
    assert!(
        banner.starts_with("curfew 0.1.0 is listening\n"),
        "{banner}"
    );
    let line = banner
        .lines()
        .find(|line| line.starts_with("  curl "))
        .unwrap();
    let words: Vec<&str> = line.split('\'').collect();
    let url = words[0]
        .split_whitespace()
        .find(|word| word.starts_with("http"))
        .unwrap();
    let header = |words: &str| words.split_once(": ").unwrap().1.to_owned();
    let response = client()
        .post(url)
        .header("authorization", header(words[1]))
        .header("content-type", header(words[3]))
        .body(words[5].to_owned())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    let created: Value = response.json().await.unwrap();
    assert_eq!(created["session"]["subject"], "alice");
    support::signal(&process, "INT");
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = text(&output.stderr);
    assert!(
        log.contains("WARN") && log.contains("token.keys is not set"),
        "{log}"
    );
    let admin_token = header(words[1]);
    assert!(
        !log.contains(admin_token.trim_start_matches("Bearer ")),
        "{log}"
    );
}

#[tokio::test]
async fn a_configuration_is_checked_and_shown_without_its_secrets() {
    let setup = Setup::redis("redis://someone:s3cret@127.0.0.1/").limits("20m", "8h");
    let output = run(&setup, &["check-config"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for line in [
        "[policies.default]",
        "idle = \"20m\"",
        "absolute = \"8h\"",
        "[redacted]",
    ] {
        assert!(shown.contains(line), "{line}\nis not in\n{shown}");
    }
    for secret in ["s3cret", &setup.key, &setup.admin_token] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn what_is_shown_is_a_configuration_again() {
    let setup = Setup::memory().unset("TOKEN__KEYS");
    let shown = run(&setup, &["check-config"]).stdout;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("curfew.toml");
    std::fs::write(&path, &shown).unwrap();
    let arguments = ["check-config", "--config", path.to_str().unwrap()];
    let again = run(&setup, &arguments);
    assert_eq!(text(&again.stdout), text(&shown), "{}", text(&again.stderr));
}

#[tokio::test]
async fn a_bad_configuration_starts_nothing() {
    let redis = || Setup::redis("redis://127.0.0.1/");
    let sections = [
        "policies.default.idle",
        "\"1d\"",
        "policies.default.absolute",
    ];
    for (setup, hints) in [
        (
            redis().unset("TOKEN__KEYS"),
            &["token.keys", "curfew keygen"][..],
        ),
        (
            redis().unset("ADMIN__TOKEN_HASHES"),
            &["admin.token_hashes", "curfew keygen --admin"],
        ),
        (
            Setup::memory().set("STORE__URLL", "x"),
            &["CURFEW__STORE__URLL", "did you mean `url`?"],
        ),
        (
            Setup::memory().set("STORE__URL", "mysql://x"),
            &["CURFEW__STORE__URL", "mysql://x", "redis://"],
        ),
        (Setup::memory().limits("1d", "12h"), &sections),
        (Setup::memory().limits("soon", "12h"), &["\"soon\"", "15m"]),
        (
            Setup::memory().set("TOKEN__KEYS", "hunter2"),
            &["token.keys", "[redacted]", "curfew keygen"],
        ),
        (
            Setup::memory().set("LISTEN__OPS", "localhost"),
            &["listen.ops", "localhost"],
        ),
    ] {
        for command in ["check-config", "serve"] {
            let output = run(&setup, &[command]);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command}: {errors}");
            assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
            for hint in hints {
                assert!(errors.contains(hint), "{hint}\nis not in\n{errors}");
            }
            assert!(!errors.contains("hunter2"), "{errors}");
        }
    }
    let output = run(&Setup::memory(), &["serve", "--config", "/nonesuch.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nonesuch.yaml"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&Setup::memory().set("LISTEN__ADMIN", &address), &["serve"]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("listen.admin") && errors.contains(&address),
        "{errors}"
    );
}

#[tokio::test]
async fn generated_keys_and_tokens_are_good() {
    let setup = Setup::memory();
    let key = text(&run(&setup, &["keygen"]).stdout);
    let pair = text(&run(&setup, &["keygen", "--admin"]).stdout);
    let field = |name: &str| {
        let line = pair.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    let (token, hash) = (field("token:"), field("hash:"));
    let curfew = setup
        .set("TOKEN__KEYS", key.trim())
        .set("ADMIN__TOKEN_HASHES", &hash)
        .start();
    let url = format!("http://{}/api/v1/policies", curfew.admin);
    let status = async |token: &str| {
        let request = client().get(&url).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&token).await, 200);
    assert_eq!(status(&hash).await, 401);
}

#[tokio::test]
async fn metrics_and_probes() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    curfew.check(&session).await;
    curfew.revoke(&session).await;
    curfew.check(&session).await;
    assert_eq!(curfew.ops("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(curfew.ops("/readyz").await, (200, "ok\n".to_owned()));
    let (status, metrics) = curfew.ops("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"curfew_checks_total{contract="auth-request",policy="default",verdict="allow"} 1"#,
        r#"curfew_checks_total{contract="auth-request",policy="default",verdict="revoked"} 1"#,
        r#"curfew_check_duration_seconds_count{contract="auth-request"} 2"#,
        r#"curfew_sessions_created_total{policy="default"} 1"#,
        r#"curfew_sessions_ended_total{policy="default",reason="revoked"} 1"#,
        r#"curfew_store_operations_total{operation="load",result="ok"} 2"#,
        r#"curfew_store_operations_total{operation="create",result="ok"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\nis not in\n{metrics}");
    }
    for path in ["/auth-request", "/api/v1/sessions"] {
        assert_eq!(curfew.ops(path).await.0, 404, "{path} is served elsewhere");
    }
}

/// Every metric has its line in the documentation, and the other way round.
#[tokio::test]
async fn every_metric_is_documented() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    curfew.check(&session).await;
    curfew.revoke(&session).await;
    let (_, metrics) = curfew.ops("/metrics").await;
    let served: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("curfew_"))
        .collect();
    let page = include_str!("../docs/configuration.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `curfew_")?.split(['`', '{']).next())
        .collect();
    assert!(served.len() >= 10, "{served:?}");
    for name in &served {
        let short = name.trim_start_matches("curfew_");
        assert!(
            documented.contains(&short),
            "{name} is not in docs/configuration.md"
        );
    }
    assert_eq!(served.len(), documented.len(), "{documented:?}");
}

#[tokio::test]
async fn audit_events_tell_who_and_why() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    curfew.revoke(&session).await;
    curfew.check(&session).await;
    curfew.age(&curfew.sign_in("bob").await, "1h").await;
    eventually("the log is written", async || {
        !curfew.audited("session.denied").is_empty()
    })
    .await;
    let created = curfew.audited("session.created");
    assert_eq!(created.len(), 2);
    assert_eq!(
        (&created[0]["subject"], &created[0]["session"]),
        (&json!("alice"), &json!(session.id))
    );
    let revoked = &curfew.audited("session.revoked")[0];
    assert_eq!(
        (&revoked["subject"], &revoked["reason"]),
        (&json!("alice"), &json!("revoked"))
    );
    let denied = &curfew.audited("session.denied")[0];
    for (field, value) in [
        ("reason", "revoked"),
        ("subject", "alice"),
        ("contract", "auth-request"),
        ("host", "app.example.com"),
        ("peer", "127.0.0.1"),
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
    eventually("ready", async || curfew.ops("/readyz").await.0 == 200).await;
    let session = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
    curfew.revoke(&session).await;
    curfew.check(&session).await;
    let mut written = vec![curfew.log(), curfew.ops("/metrics").await.1];
    written.push(curfew.show(&session).await.to_string());
    for key in redis.command::<Vec<Vec<u8>>>(&[b"KEYS", b"*"]) {
        let dump: Vec<u8> = redis.command(&[b"DUMP", &key]);
        written.push(format!("{} {}", key.escape_ascii(), dump.escape_ascii()));
    }
    curfew.signal("TERM");
    // Parts of the token too: the random bytes are in the middle.
    let middle = &session.token[20..60];
    for text in &written {
        for secret in [
            &*session.token,
            middle,
            &setup.admin_token,
            &setup.key,
            "s3cret",
        ] {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
    }
}

/// The request waits for a Redis that hangs; the process is told to stop; Redis goes on.
#[tokio::test]
async fn what_is_in_flight_is_finished_when_the_process_stops() {
    let redis = RedisServer::start();
    let mut curfew = Setup::redis(&redis.url())
        .set("STORE__COMMAND_TIMEOUT", "20s")
        .start();
    let session = curfew.sign_in("alice").await;
    redis.freeze();
    let check = async { curfew.check(&session).await };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        curfew.signal("TERM");
        eventually("nothing more is accepted", async || {
            tokio::net::TcpStream::connect(curfew.check).await.is_err()
        })
        .await;
        redis.thaw();
    };
    let (answer, ()) = tokio::join!(check, stop);
    assert_eq!(answer, ALLOWED);
    assert!(curfew.ended().await.success(), "{}", curfew.log());
}

#[tokio::test]
async fn stopping_is_bounded() {
    let redis = RedisServer::start();
    let mut curfew = Setup::redis(&redis.url())
        .set("STORE__COMMAND_TIMEOUT", "60s")
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
    let waiting = tokio::spawn(request.send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waited = Stopwatch::start();
    curfew.signal("TERM");
    assert!(curfew.ended().await.success(), "{}", curfew.log());
    assert!(waited.seconds() < 10.0, "{} s", waited.seconds());
    assert!(waiting.await.unwrap().is_err(), "the request was cut off");
    assert!(curfew.log().contains("did not finish in time"));
}

#[tokio::test]
async fn a_restart_on_redis_loses_nothing() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let curfew = setup.start();
    let (live, ended) = (curfew.sign_in("alice").await, curfew.sign_in("alice").await);
    curfew.revoke(&ended).await;
    // Activity that is only gathered so far: the interval is 15 s.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(curfew.check(&live).await, ALLOWED);
    let before = curfew.show(&live).await;
    assert_ne!(before["last_seen"], before["started"]);
    curfew.stop().await;

    let curfew = setup.start();
    eventually("ready", async || curfew.ops("/readyz").await.0 == 200).await;
    let after = curfew.show(&live).await;
    for field in [
        "last_seen",
        "started",
        "absolute_deadline",
        "subject",
        "attributes",
        "policy",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(curfew.check(&live).await, ALLOWED);
    assert_eq!(curfew.check(&ended).await, denied("revoked"));
}

/// Killed without warning, it loses no session, and of the activity at most one interval.
#[tokio::test]
async fn a_crash_on_redis_loses_no_session() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    curfew.age(&session, "14m").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
    let seen = curfew.show(&session).await["last_seen"].clone();
    eventually(
        "the first activity after a pause is written at once",
        async || {
            curfew
                .ops("/metrics")
                .await
                .1
                .contains("curfew_touches_written_total 1\n")
        },
    )
    .await;
    curfew.signal("KILL");
    let curfew = setup.start();
    eventually("ready", async || curfew.ops("/readyz").await.0 == 200).await;
    assert_eq!(curfew.show(&session).await["last_seen"], seen);
    curfew.age(&session, "14m").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
}

#[tokio::test]
async fn two_processes_on_one_redis_agree() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let (one, two) = (setup.start(), setup.start());
    for curfew in [&one, &two] {
        eventually("ready", async || curfew.ops("/readyz").await.0 == 200).await;
    }
    // Activity on one keeps the session alive on the other.
    let session = one.sign_in("alice").await;
    for _ in 0..3 {
        one.age(&session, "14m").await;
        assert_eq!(one.check(&session).await, ALLOWED);
        let seen = one.show(&session).await["last_seen"].clone();
        eventually("the other sees it too", async || {
            two.show(&session).await["last_seen"] == seen
        })
        .await;
        assert_eq!(two.check(&session).await, ALLOWED);
    }
    // An end on one is an end on the other, for the same reason.
    two.age(&session, "15m").await;
    assert_eq!(two.check(&session).await, denied("idle_timeout"));
    assert_eq!(one.check(&session).await, denied("idle_timeout"));
    let session = two.sign_in("alice").await;
    assert_eq!(one.check(&session).await, ALLOWED);
    two.revoke(&session).await;
    assert_eq!(one.check(&session).await, denied("revoked"));
    // Both see every session of a subject.
    for curfew in [&one, &two] {
        let (_, page) = curfew
            .call("GET", "/api/v1/sessions?subject=alice", None)
            .await;
        assert_eq!(page["sessions"].as_array().unwrap().len(), 2, "{page}");
    }
    // The end is told once, by the one that found out.
    let told = one.audited("session.ended").len() + two.audited("session.ended").len();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_changed_policy_applies_as_the_rules_say() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url()).limits("15m", "1h");
    let curfew = setup.start();
    let session = curfew.sign_in("alice").await;
    curfew.age(&session, "10m").await;
    let deadline = curfew.show(&session).await["absolute_deadline"].clone();
    curfew.stop().await;
    let longer = setup.clone().limits("15m", "12h").start();
    eventually("ready", async || longer.ops("/readyz").await.0 == 200).await;
    assert_eq!(
        longer.show(&session).await["absolute_deadline"],
        deadline,
        "never extended"
    );
    longer.stop().await;
    let shorter = setup.limits("5m", "1h").start();
    eventually("ready", async || shorter.ops("/readyz").await.0 == 200).await;
    assert_eq!(
        shorter.check(&session).await,
        denied("idle_timeout"),
        "at once"
    );
}

#[tokio::test]
async fn rotating_the_key_logs_nobody_out() {
    let redis = RedisServer::start();
    let setup = Setup::redis(&redis.url());
    let old_key = setup.key.clone();
    let curfew = setup.start();
    let old = curfew.sign_in("alice").await;
    curfew.stop().await;
    let new_key = text(&run(&setup, &["keygen"]).stdout).trim().to_owned();
    let both = setup
        .clone()
        .set("TOKEN__KEYS", &format!("{new_key},{old_key}"));
    let curfew = both.start();
    eventually("ready", async || curfew.ops("/readyz").await.0 == 200).await;
    let new = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&old).await, ALLOWED);
    assert_eq!(curfew.check(&new).await, ALLOWED);
    curfew.stop().await;
    let curfew = both.set("TOKEN__KEYS", &new_key).start();
    eventually("ready", async || curfew.ops("/readyz").await.0 == 200).await;
    assert_eq!(
        curfew.check(&old).await,
        denied("invalid_credential"),
        "its key is retired"
    );
    assert_eq!(curfew.check(&new).await, ALLOWED);
}

#[tokio::test]
async fn redis_may_come_later() {
    let mut redis = RedisServer::start();
    redis.stop();
    let curfew = Setup::redis(&redis.url()).start();
    let (status, reason) = curfew.ops("/readyz").await;
    assert_eq!(status, 503, "{reason}");
    redis.start_again();
    eventually("ready", async || curfew.ops("/readyz").await.0 == 200).await;
    let session = curfew.sign_in("alice").await;
    assert_eq!(curfew.check(&session).await, ALLOWED);
}

#[tokio::test]
async fn a_newer_schema_stops_the_process() {
    let redis = RedisServer::start();
    redis.command::<()>(&[b"SET", b"curfew:schema", b"99"]);
    let mut curfew = Setup::redis(&redis.url()).start();
    assert_eq!(curfew.ended().await.code(), Some(1));
    eventually("it says why", async || curfew.log().contains("schema 99")).await;
}
