//! Tests the output of the commands, and the errors for invalid input.

use super::*;

/// The test configures only the addresses of the listeners.
#[tokio::test]
async fn serve_needs_no_configuration_and_prints_the_first_steps() {
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
    // The output ends with the curl line and an empty line.
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
async fn check_config_validates_and_prints_without_secrets() {
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
async fn the_output_of_check_config_is_a_valid_configuration() {
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
async fn an_invalid_configuration_prevents_the_start() {
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
async fn an_address_in_use_is_named() {
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
async fn generated_keys_and_tokens_work() {
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

/// `keygen` writes the key files and token files for a first start, and never overwrites them. Curfew reads these
/// files again after a change.
#[tokio::test]
async fn generated_files_work_and_are_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let setup = Setup::memory();
    let written = text(&run(&setup, &["keygen", "--directory", place]).stdout);
    assert_eq!(written.lines().count(), 3, "{written}");
    let again = run(&setup, &["keygen", "--directory", place]);
    assert!(again.status.success() && again.stdout.is_empty());
    let path = |name: &str| directory.path().join(name);
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let curfew = setup
        .unset("TOKEN__KEYS")
        .unset("ADMIN__TOKEN_HASHES")
        .set("TOKEN__KEYS_FILE", path("keys").to_str().unwrap())
        .set(
            "ADMIN__TOKEN_HASHES_FILE",
            path("admin-token-hashes").to_str().unwrap(),
        )
        .start();
    let url = format!("http://{}/api/v1/policies", curfew.admin);
    let status = async |token: &str| {
        let request = client().get(&url).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let token = read("admin-token");
    assert_eq!(status(token.trim()).await, 200);
    std::fs::remove_file(path("admin-token")).unwrap();
    assert!(
        run(&Setup::memory(), &["keygen", "--directory", place])
            .status
            .success()
    );
    let other = read("admin-token");
    eventually("the new token is accepted", async || {
        status(other.trim()).await == 200
    })
    .await;
    // The lines above may have sent too many wrong tokens, so the status 429 is possible.
    let refused = status(token.trim()).await;
    assert!(matches!(refused, 401 | 429), "{refused}");
}
