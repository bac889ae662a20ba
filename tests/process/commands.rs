//! Tests the output of the commands, and the errors for invalid input.

use super::*;

/// Returns settings with nothing but the addresses of the listeners.
fn only_addresses() -> Setup {
    Setup::memory()
        .unset("TOKEN__KEYS")
        .unset("ADMIN__TOKEN_HASHES")
        .unset("ADMIN__ALLOW_AGEING")
        .unset("LOG__FILTER")
        .unset("LOG__FORMAT")
}

#[tokio::test]
async fn serve_needs_no_configuration_and_shows_the_first_steps_on_a_terminal() {
    use std::io::Read;
    let mut process = only_addresses().command_on_a_terminal().spawn().unwrap();
    // The output ends with the curl line and an empty line.
    let mut stdout = process.stdout.take().unwrap();
    let mut banner = String::new();
    while !banner.ends_with("'{\"subject\":\"alice\"}'\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{banner}");
        banner.push(char::from(byte[0]));
    }
    assert!(banner.contains("curfew 0.1.0 is listening\r\n"), "{banner}");
    let line = banner
        .lines()
        .find(|line| line.starts_with("  curl "))
        .unwrap();
    let parts: Vec<&str> = line.split('\'').collect();
    let url = parts[0]
        .split_whitespace()
        .find(|word| word.starts_with("http"))
        .unwrap();
    let header_value = |parts: &str| parts.split_once(": ").unwrap().1.to_owned();
    let response = client()
        .post(url)
        .header("authorization", header_value(parts[1]))
        .header("content-type", header_value(parts[3]))
        .body(parts[5].to_owned())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    let created: Value = response.json().await.unwrap();
    assert_eq!(created["session"]["subject"], "alice");
    press_ctrl_c(process);
    let mut remaining = String::new();
    stdout.read_to_string(&mut remaining).unwrap();
    assert!(remaining.contains("stopped"), "{remaining}");
    // A terminal also shows the log.
    let token = header_value(parts[1]).replace("Bearer ", "");
    assert!(
        token.starts_with("cfwadmin_") && token.len() > 40,
        "{token}"
    );
    assert_eq!((banner + &remaining).matches(&token).count(), 2);
}

/// Without a terminal, the output of a process becomes a log: of systemd, of a container, of a shell's redirection. No
/// log contains an admin token.
#[test]
fn serve_shows_no_admin_token_without_a_terminal() {
    for (format, has_banner) in [(None, true), (Some("human"), true), (Some("json"), false)] {
        let mut setup = only_addresses();
        if let Some(format) = format {
            setup = setup.set("LOG__FORMAT", format);
        }
        let directory = tempfile::tempdir().unwrap();
        let [out, log] = ["out", "log"].map(|name| directory.path().join(name));
        let mut process = setup
            .command(&["serve"])
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
        while !read(&log).contains("started") {
            assert_eq!(process.try_wait().unwrap(), None, "{}", read(&log));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        support::signal(&process, "TERM");
        assert!(process.wait().unwrap().success());
        let (out, log) = (read(&out), read(&log));
        for text in ["token.keys is not set", "admin.token_hashes is not set"] {
            assert_eq!(log.matches(text).count(), 1, "{log}");
        }
        assert!(!format!("{out}{log}").contains("cfwadmin_"), "{out}{log}");
        assert_eq!(
            out.contains("curfew 0.1.0 is listening\n"),
            has_banner,
            "{out}"
        );
        assert_eq!(out.is_empty(), !has_banner, "{out}");
        assert_eq!(
            log.contains("\"message\":\"listening\""),
            !has_banner,
            "{log}"
        );
    }
}

/// Curfew names the addresses that it listens on, not addresses to connect to.
#[test]
fn serve_names_the_addresses_that_it_listens_on() {
    let setup = only_addresses()
        .set("LISTEN__CHECK", "0.0.0.0:0")
        .set("LISTEN__BROWSER", "[::]:0")
        .set("LISTEN__ADMIN", "127.0.0.1:0,[::1]:0")
        .set("LISTEN__SPOE", "127.0.0.1:0");
    let expected = [
        ("check", &["http://0.0.0.0:"][..]),
        ("spoe", &["127.0.0.1:"]),
        ("browser", &["http://[::]:"]),
        ("admin", &["http://127.0.0.1:", "http://[::1]:"]),
        ("ops", &["http://127.0.0.1:"]),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("output");
    for format in ["human", "json"] {
        let output = std::fs::File::create(&file).unwrap();
        let mut process = setup
            .clone()
            .set("LOG__FORMAT", format)
            .command(&["serve"])
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let read = || std::fs::read_to_string(&file).unwrap();
        while !read().contains("started") {
            assert_eq!(process.try_wait().unwrap(), None, "{}", read());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        support::signal(&process, "TERM");
        assert!(process.wait().unwrap().success());
        let output = read();
        for (name, urls) in expected {
            let found: Vec<String> = match format {
                "json" => output
                    .lines()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap())
                    .filter(|event| event["message"] == "listening" && event["listener"] == name)
                    .map(|event| {
                        assert_eq!(event["tls"], false);
                        event["address"].as_str().unwrap().to_owned()
                    })
                    .collect(),
                _ => {
                    let line = output.lines().find_map(|line| {
                        let (first, urls) = line.strip_prefix("  ")?.split_once(' ')?;
                        (first == name).then_some(urls.trim_start())
                    });
                    let (urls, _) = line.unwrap().split_once("  ").unwrap();
                    urls.split(", ").map(str::to_owned).collect()
                }
            };
            assert_eq!(found.len(), urls.len(), "{output}");
            for (found, url) in found.iter().zip(urls) {
                let url = match format {
                    "json" => url.trim_start_matches("http://"),
                    _ => url,
                };
                assert!(found.starts_with(url), "{found}: {output}");
                let port = found.rsplit(':').next().unwrap();
                assert_ne!(port.parse::<u16>().unwrap(), 0);
            }
        }
    }
}

#[tokio::test]
async fn check_config_validates_and_prints_without_secrets() {
    let setup = Setup::redis("redis://someone:s3cret@127.0.0.1/").limits("20m", "8h");
    let output = run_command(&setup, &["check-config"]);
    let printed_configuration = to_text(&output.stdout);
    assert!(output.status.success(), "{}", to_text(&output.stderr));
    for line in [
        "[policies.default]",
        "idle = \"20m\"",
        "absolute = \"8h\"",
        "[redacted]",
    ] {
        assert!(
            printed_configuration.contains(line),
            "{line}\nis not in\n{printed_configuration}"
        );
    }
    for secret in ["s3cret", &setup.key, &setup.admin_token] {
        assert!(
            !printed_configuration.contains(secret),
            "{printed_configuration}"
        );
    }
}

#[tokio::test]
async fn the_output_of_check_config_is_a_valid_configuration() {
    let setup = Setup::memory().unset("TOKEN__KEYS");
    let printed_configuration = run_command(&setup, &["check-config"]).stdout;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("curfew.toml");
    std::fs::write(&path, &printed_configuration).unwrap();
    let arguments = ["check-config", "--config", path.to_str().unwrap()];
    let second_output = run_command(&setup, &arguments);
    assert_eq!(
        to_text(&second_output.stdout),
        to_text(&printed_configuration),
        "{}",
        to_text(&second_output.stderr)
    );
}

#[tokio::test]
async fn an_invalid_configuration_prevents_the_start() {
    let redis_setup = || Setup::redis("redis://127.0.0.1/");
    let setting_names = [
        "policies.default.idle",
        "\"1d\"",
        "policies.default.absolute",
    ];
    for (setup, hints) in [
        (
            redis_setup().unset("TOKEN__KEYS"),
            &["token.keys", "curfew keygen"][..],
        ),
        (
            redis_setup().unset("ADMIN__TOKEN_HASHES"),
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
        (Setup::memory().limits("1d", "12h"), &setting_names),
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
            let output = run_command(&setup, &[command]);
            let errors = to_text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command}: {errors}");
            assert!(output.stdout.is_empty(), "{}", to_text(&output.stdout));
            for hint in hints {
                assert!(errors.contains(hint), "{hint}\nis not in\n{errors}");
            }
            assert!(!errors.contains("hunter2"), "{errors}");
        }
    }
    let output = run_command(&Setup::memory(), &["serve", "--config", "/nonesuch.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(to_text(&output.stderr).contains("/nonesuch.yaml"));
}

#[tokio::test]
async fn the_error_names_an_address_in_use() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = run_command(&Setup::memory().set("LISTEN__ADMIN", &address), &["serve"]);
    let errors = to_text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("listen.admin") && errors.contains(&address),
        "{errors}"
    );
}

#[tokio::test]
async fn generated_keys_and_tokens_work() {
    let setup = Setup::memory();
    let key = to_text(&run_command(&setup, &["keygen"]).stdout);
    let key_pair_text = to_text(&run_command(&setup, &["keygen", "--admin"]).stdout);
    let field = |name: &str| {
        let line = key_pair_text
            .lines()
            .find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    let (token, hash) = (field("token:"), field("hash:"));
    let curfew = setup
        .set("TOKEN__KEYS", key.trim())
        .set("ADMIN__TOKEN_HASHES", &hash)
        .start();
    let url = format!("http://{}/api/v1/policies", curfew.admin);
    let status_of = async |token: &str| {
        let request = client().get(&url).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status_of(&token).await, 200);
    assert_eq!(status_of(&hash).await, 401);
}

/// `keygen` writes the key files and token files for a first start, and never overwrites them. Curfew reads these
/// files again after a change.
#[tokio::test]
async fn generated_files_work_and_are_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let directory_path = directory.path().to_str().unwrap();
    let setup = Setup::memory();
    let written_files =
        to_text(&run_command(&setup, &["keygen", "--directory", directory_path]).stdout);
    assert_eq!(written_files.lines().count(), 3, "{written_files}");
    let second_output = run_command(&setup, &["keygen", "--directory", directory_path]);
    assert!(second_output.status.success() && second_output.stdout.is_empty());
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
    let status_of = async |token: &str| {
        let request = client().get(&url).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    let token = read("admin-token");
    assert_eq!(status_of(token.trim()).await, 200);
    std::fs::remove_file(path("admin-token")).unwrap();
    assert!(
        run_command(&Setup::memory(), &["keygen", "--directory", directory_path])
            .status
            .success()
    );
    let new_token = read("admin-token");
    eventually("the new token is accepted", async || {
        status_of(new_token.trim()).await == 200
    })
    .await;
    // The requests above may have used up the limit for wrong tokens, so the status 429 is possible.
    let old_token_status = status_of(token.trim()).await;
    assert!(matches!(old_token_status, 401 | 429), "{old_token_status}");
}
