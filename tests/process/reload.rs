//! A running process reloads its configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use curfew::credential::SigningKey;
use tempfile::TempDir;

use super::*;
use crate::support::curfew::{CreatedSession, Curfew};

/// A configuration file that tests can replace.
struct ConfigFile {
    dir: TempDir,
    path: PathBuf,
}

impl ConfigFile {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curfew.yaml");
        fs::write(&path, text).unwrap();
        Self { dir, path }
    }

    /// Replaces the file as an editor does.
    fn replace(&self, text: &str) {
        let temporary_path = self.dir.path().join("next");
        fs::write(&temporary_path, text).unwrap();
        fs::rename(temporary_path, &self.path).unwrap();
    }

    fn setup(&self) -> Setup {
        Setup::memory().config_file(&self.path)
    }
}

const WITHOUT_RULES: &str = "policies: {default: {idle: 15m}}\n";
const WITH_PUBLIC_RULE: &str =
    "policies: {default: {idle: 15m}}\nrules: [{path: /open, access: public}]\n";

/// Returns whether `/open` is allowed without a session.
async fn is_public_path_allowed(curfew: &Curfew) -> bool {
    let response = client()
        .get(format!("http://{}/auth-request", curfew.check))
        .header("x-original-url", "https://app.example.com/open")
        .header("x-original-method", "GET")
        .send()
        .await
        .unwrap();
    response.status() == 200
}

/// Returns the number of reloads with this result.
async fn reload_count(curfew: &Curfew, result: &str) -> usize {
    let (_, metrics) = curfew.get_ops("/metrics").await;
    let name = format!("curfew_config_reloads_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_changed_file_applies_soon() {
    let file = ConfigFile::new(WITHOUT_RULES);
    let curfew = file.setup().start();
    assert!(!is_public_path_allowed(&curfew).await);
    file.replace(WITH_PUBLIC_RULE);
    eventually("the rule applies", async || {
        is_public_path_allowed(&curfew).await
    })
    .await;
    assert_eq!(reload_count(&curfew, "ok").await, 1);
    file.replace(WITHOUT_RULES);
    eventually("the rule is removed", async || {
        !is_public_path_allowed(&curfew).await
    })
    .await;
}

/// In a mounted ConfigMap, the file is a link into `..data`, and `..data` is a link to a folder. On an update, the
/// kubelet replaces the link `..data`.
#[tokio::test]
async fn a_replaced_config_map_is_detected() {
    let volume = tempfile::tempdir().unwrap();
    let publish_version = |version: &str, text: &str| {
        let folder = volume.path().join(version);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("curfew.yaml"), text).unwrap();
        let temporary_path = volume.path().join("..data_tmp");
        symlink(version, &temporary_path).unwrap();
        fs::rename(temporary_path, volume.path().join("..data")).unwrap();
    };
    publish_version("..2026_1", WITHOUT_RULES);
    let path = volume.path().join("curfew.yaml");
    symlink("..data/curfew.yaml", &path).unwrap();
    let curfew = Setup::memory().config_file(&path).start();
    assert!(!is_public_path_allowed(&curfew).await);
    publish_version("..2026_2", WITH_PUBLIC_RULE);
    fs::remove_dir_all(volume.path().join("..2026_1")).unwrap();
    eventually("the rule applies", async || {
        is_public_path_allowed(&curfew).await
    })
    .await;
}

#[tokio::test]
async fn an_invalid_configuration_is_rejected_and_reported() {
    let file = ConfigFile::new(WITH_PUBLIC_RULE);
    let curfew = file.setup().start();
    let session = curfew.sign_in("alice").await;
    file.replace("policies: {default: {idle: 15 parsecs}}\n");
    eventually("the configuration is rejected", async || {
        reload_count(&curfew, "refused").await == 1
    })
    .await;
    assert!(
        is_public_path_allowed(&curfew).await,
        "the previous configuration stays active"
    );
    assert_eq!(curfew.check(&session).await, ALLOWED);
    let problem = "policies.default.idle = \"15 parsecs\": not a duration";
    let (status, readiness) = curfew.get_ops("/readyz?verbose").await;
    assert_eq!(status, 200, "the process stays ready");
    assert!(
        readiness
            .contains("advice: configuration: rejected, previous configuration still active: ")
            && readiness.contains(problem),
        "{readiness}"
    );
    let log = curfew.log().replace("\\\"", "\"");
    assert!(log.contains(problem), "{log}");
    let success_metric = "curfew_config_last_reload_successful";
    let (_, metrics) = curfew.get_ops("/metrics").await;
    assert!(metrics.contains(&format!("{success_metric} 0\n")));

    file.replace(WITHOUT_RULES);
    eventually("the next configuration applies", async || {
        !is_public_path_allowed(&curfew).await
    })
    .await;
    assert_eq!(
        curfew.get_ops("/readyz?verbose").await,
        (200, "ok\n".to_owned())
    );
    let (_, metrics) = curfew.get_ops("/metrics").await;
    assert!(metrics.contains(&format!("{success_metric} 1\n")));
}

#[tokio::test]
async fn sighup_reloads_at_once_even_without_a_file() {
    let file = ConfigFile::new(WITH_PUBLIC_RULE);
    let curfew = file.setup().start();
    curfew.signal("HUP");
    eventually("the configuration is reloaded", async || {
        reload_count(&curfew, "ok").await == 1
    })
    .await;
    fs::remove_file(&file.path).unwrap();
    curfew.signal("HUP");
    eventually("the failed reload is counted", async || {
        reload_count(&curfew, "refused").await >= 1
    })
    .await;
    assert!(
        is_public_path_allowed(&curfew).await,
        "the failed reload should change nothing else"
    );
    fs::write(&file.path, WITHOUT_RULES).unwrap();
    eventually("the file is read again", async || {
        !is_public_path_allowed(&curfew).await
    })
    .await;
}

#[tokio::test]
async fn keys_that_need_a_restart_are_reported() {
    let file = ConfigFile::new(WITHOUT_RULES);
    let curfew = file.setup().unset("LOG__FORMAT").start();
    file.replace(&format!(
        "{WITH_PUBLIC_RULE}log: {{format: json}}\nstore: {{max_sessions: 5}}\n"
    ));
    eventually("the other keys apply", async || {
        is_public_path_allowed(&curfew).await
    })
    .await;
    eventually("readyz reports the restart", async || {
        let (_, readiness) = curfew.get_ops("/readyz?verbose").await;
        ["store", "log.format"].iter().all(|key| {
            let line = format!("advice: configuration: {key} has changed: restart required");
            readiness.contains(&line)
        })
    })
    .await;
}

/// A shorter limit applies to existing sessions at once. If a key is removed, only the sessions whose tokens it signed
/// lose access.
#[tokio::test]
async fn sessions_live_on_under_the_new_configuration() {
    let keys = tempfile::tempdir().unwrap();
    let keys = keys.path().join("keys");
    let (old, new) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    fs::write(&keys, &old).unwrap();
    let file = ConfigFile::new(WITHOUT_RULES);
    let setup = file.setup().unset("TOKEN__KEYS");
    let curfew = setup
        .set("TOKEN__KEYS_FILE", keys.to_str().unwrap())
        .start();
    let [first, second] = [curfew.sign_in("alice").await, curfew.sign_in("bob").await];
    curfew.age(&first, "10m").await;

    fs::write(&keys, format!("{new}\n{old}\n")).unwrap();
    eventually("the keys are reloaded", async || {
        reload_count(&curfew, "ok").await == 1
    })
    .await;
    let third = curfew.sign_in("carol").await;
    for session in [&first, &second, &third] {
        assert_eq!(curfew.check(session).await, ALLOWED);
    }
    curfew.age(&first, "10m").await;
    file.replace("policies: {default: {idle: 5m}}\n");
    eventually("the configuration is reloaded", async || {
        reload_count(&curfew, "ok").await == 2
    })
    .await;
    let idle_timeout = denied("idle_timeout");
    assert_eq!(
        curfew.check(&first).await,
        idle_timeout,
        "the shorter limit applies at once"
    );
    assert_eq!(curfew.check(&second).await, ALLOWED);

    fs::write(&keys, &new).unwrap();
    eventually("the replica no longer accepts the old key", async || {
        curfew.check(&second).await == denied("invalid_credential")
    })
    .await;
    assert_eq!(curfew.check(&third).await, ALLOWED);
}

/// A stricter policy ends sessions even if they receive no requests.
#[tokio::test]
async fn a_stricter_policy_ends_sessions_without_requests() {
    let redis = RedisServer::start();
    for store in ["memory:", &redis.url()] {
        let file = ConfigFile::new(WITHOUT_RULES);
        let curfew = file.setup().set("STORE__URL", store).start();
        eventually("Curfew is ready", async || {
            curfew.get_ops("/readyz").await.0 == 200
        })
        .await;
        let session = curfew.sign_in("alice").await;
        curfew.age(&session, "10m").await;
        file.replace("policies: {default: {idle: 5m}}\n");
        eventually("the session has ended", async || {
            curfew.audit_events("session.ended").len() == 1
        })
        .await;
        assert_eq!(
            curfew.audit_events("session.ended")[0]["event.reason"],
            "idle_timeout"
        );
    }
}

/// Clients send requests while the file changes and the process receives SIGHUP.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loses_no_request_and_no_session() {
    let redis = RedisServer::start();
    let file = ConfigFile::new(WITHOUT_RULES);
    let curfew = Arc::new(
        file.setup()
            .set("STORE__URL", &redis.url())
            .set("STORE__COMMAND_TIMEOUT", "500ms")
            .set("STORE__CHECK_TIMEOUT", "500ms")
            .start(),
    );
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let mut sessions: Vec<CreatedSession> = Vec::new();
    for number in 0..8 {
        sessions.push(curfew.sign_in(&format!("user-{number}")).await);
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let check_count = Arc::new(AtomicUsize::new(0));
    let clients = sessions.clone().into_iter().map(|session| {
        let (curfew, is_done, check_count) = (
            Arc::clone(&curfew),
            Arc::clone(&is_done),
            Arc::clone(&check_count),
        );
        tokio::spawn(async move {
            while !is_done.load(Ordering::Relaxed) {
                assert_eq!(curfew.check(&session).await, ALLOWED);
                check_count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    for round in 0..6 {
        let before = reload_count(&curfew, "ok").await + reload_count(&curfew, "refused").await;
        match round % 3 {
            0 => file.replace(WITH_PUBLIC_RULE),
            1 => file.replace("policies: 7\n"),
            _ => {
                file.replace(WITHOUT_RULES);
                curfew.signal("HUP");
            }
        }
        eventually("the configuration is reloaded", async || {
            reload_count(&curfew, "ok").await + reload_count(&curfew, "refused").await > before
        })
        .await;
    }
    is_done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let check_count = check_count.load(Ordering::Relaxed);
    assert!(
        check_count > 500,
        "too few requests for a test under load: {check_count}"
    );
    for session in &sessions {
        assert_eq!(curfew.check(session).await, ALLOWED);
    }
    println!("{check_count} requests during 6 reloads of the configuration, and none failed");
}

/// A reload changes the log level, but not the log format.
#[tokio::test]
async fn the_log_level_can_change_and_change_back() {
    let file = ConfigFile::new("log: {filter: \"warn,curfew::cli::serve=info\"}\n");
    let curfew = file.setup().unset("LOG__FILTER").start();
    let has_debug_lines = |curfew: &Curfew| curfew.log().contains(r#""level":"DEBUG""#);
    curfew.check_with_cookie("").await;
    assert!(!has_debug_lines(&curfew), "{}", curfew.log());
    file.replace("log: {filter: debug}\n");
    eventually("the configuration is reloaded", async || {
        reload_count(&curfew, "ok").await == 1
    })
    .await;
    curfew.check_with_cookie("").await;
    eventually("debug lines are logged", async || has_debug_lines(&curfew)).await;
    file.replace("log: {filter: loud}\n");
    eventually("the configuration is rejected", async || {
        reload_count(&curfew, "refused").await == 1
    })
    .await;
    file.replace("log: {filter: error}\n");
    eventually("the configuration is reloaded", async || {
        reload_count(&curfew, "ok").await == 2
    })
    .await;
    let before = curfew.log();
    curfew.check_with_cookie("").await;
    assert_eq!(curfew.log(), before);
    let (_, readiness) = curfew.get_ops("/readyz?verbose").await;
    assert_eq!(readiness, "ok\n", "no restart is needed");
}
