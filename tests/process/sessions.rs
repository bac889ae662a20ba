//! Runs `curfew sessions` against a running process. Also tests completions, manual pages and other commands.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::*;

/// Returns the settings of a shell that runs `curfew sessions` against this process.
fn operator_shell(setup: &Setup, curfew: &support::curfew::Curfew) -> Setup {
    let admin = format!("http://{}", curfew.admin);
    Setup::memory()
        .set_variable("CURFEW_ADMIN_URL", &admin)
        .set_variable("CURFEW_ADMIN_TOKEN", &setup.admin_token)
}

/// Asserts that the command succeeded, and returns its output.
fn stdout_of_success(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Asserts that the command failed, and returns its errors.
fn stderr_of_failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[tokio::test]
async fn sessions_are_listed_shown_and_ended() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let shell = operator_shell(&setup, &curfew);
    let sessions = |arguments: &[&str]| run(&shell, &[&["sessions"], arguments].concat());
    let (alice, bob) = (curfew.sign_in("alice").await, curfew.sign_in("bob").await);
    // Some characters of this name take two columns in a terminal.
    let wide = curfew.sign_in("zoë 世界").await;
    let listed = stdout_of_success(&sessions(&["list"]));
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    assert!(lines[0].starts_with("SESSION  "), "{listed}");
    for session in [&alice, &bob, &wide] {
        assert!(listed.contains(&session.id), "{listed}");
    }
    let listed = stdout_of_success(&sessions(&["list", "bob"]));
    assert!(listed.contains(&bob.id) && !listed.contains(&alice.id));
    assert!(
        listed.contains("live") && listed.contains("14m "),
        "{listed}"
    );
    let json = stdout_of_success(&sessions(&["list", "bob", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["id"], *bob.id);
    assert_eq!(
        stdout_of_success(&sessions(&["list", "-n", "1"]))
            .lines()
            .count(),
        2
    );
    let shown = stdout_of_success(&sessions(&["show", &alice.id]));
    assert!(shown.contains("subject              alice\n"), "{shown}");
    let ended = stdout_of_success(&sessions(&["revoke", &alice.id]));
    assert_eq!(ended, "session of alice ended: revoked\n");
    assert_eq!(curfew.check(&alice).await.0, 401);
    let ended = stdout_of_success(&sessions(&["revoke", "--subject", "bob"]));
    assert_eq!(ended, "1 session of bob ended\n");
    assert_eq!(curfew.check(&bob).await.0, 401);
    for (arguments, complaint) in [
        (&["show", "xyz"][..], "error: xyz: a session ID is"),
        (
            &["show", &"0".repeat(32)],
            "error: there is no session with this ID\n",
        ),
        (&["list", ""], "error: subject: a subject is"),
    ] {
        let told = stderr_of_failure(&sessions(arguments));
        assert!(told.starts_with(complaint), "{told}");
    }
    let stranger = shell.clone().set_variable("CURFEW_ADMIN_TOKEN", "guess");
    let told = stderr_of_failure(&run(&stranger, &["sessions", "list"]));
    assert!(told.contains("does not accept this admin token"), "{told}");
    let nowhere = shell
        .clone()
        .set_variable("CURFEW_ADMIN_URL", "http://127.0.0.1:1");
    let told = stderr_of_failure(&run(&nowhere, &["sessions", "list"]));
    assert!(
        told.contains("could not reach the admin API at http://127.0.0.1:1/"),
        "{told}"
    );
    let told = stderr_of_failure(&run(&Setup::memory(), &["sessions", "list"]));
    assert!(told.contains("set CURFEW_ADMIN_TOKEN"), "{told}");
    assert!(!curfew.log().contains(&setup.admin_token));
}

#[tokio::test]
async fn watch_shows_each_start_and_end() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let early = curfew.sign_in("alice").await;
    let shell = operator_shell(&setup, &curfew);
    let mut watching = shell
        .command(&["sessions", "watch", "--every", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(watching.stdout.take().unwrap());
    let mut line = move || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(line(), ["live", &early.id, "alice"]);
    let late = curfew.sign_in("bob").await;
    let (line, told) = tokio::task::spawn_blocking(move || {
        let told = line();
        (line, told)
    })
    .await
    .unwrap();
    assert_eq!(told, ["live", &late.id, "bob"]);
    curfew.revoke(&early).await;
    let told = tokio::task::spawn_blocking(line).await.unwrap();
    assert_eq!(told, ["revoked", &early.id, "alice"]);
    support::signal(&watching, "INT");
    assert!(watching.wait().unwrap().success());
}

#[test]
fn completions_and_manual_pages_work() {
    let setup = Setup::memory();
    for (shell, sign) in [
        ("bash", "complete -F _curfew"),
        ("zsh", "#compdef curfew"),
        ("fish", "complete -c curfew"),
    ] {
        let script = stdout_of_success(&run(&setup, &["completions", shell]));
        assert!(
            script.contains(sign) && script.contains("revoke"),
            "{shell}"
        );
    }
    assert!(stdout_of_success(&run(&setup, &["man"])).contains(".TH curfew 1"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    stdout_of_success(&run(&setup, &["man", "--directory", path]));
    for page in ["curfew.1", "curfew-serve.1", "curfew-sessions-revoke.1"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn the_help_lists_the_commands() {
    let help = stdout_of_success(&run(&Setup::memory(), &["--help"]));
    assert_eq!(
        help,
        "\
Sessions that end on time, enforced at the edge: the idle and absolute limits behind NGINX auth_request and its relatives

Usage: curfew <COMMAND>

Commands:
  demo          Run a demo on this machine: an application behind Curfew, with limits of a few seconds
  serve         Run the service. Without a configuration, it keeps sessions in memory
  healthcheck   Check whether the service on this machine is ready, for a container's health check
  check-config  Check the configuration and print its effective values, without secrets
  compliance    Report which requirements of standards each policy meets, and why
  explain       Explain how a request would be evaluated: rule, policies, activity and limits
  schema        Print the JSON Schema of the configuration file, for editors
  migrate       Upgrade the records in Redis to the version of this program, while the service runs
  clock         Compare the clocks of Redis, the replicas and this machine; choose the correct one with --accept
  keygen        Generate a key for token.keys, or an admin token
  sessions      List, show, end and watch sessions through the admin API
  revoke        Emergency revocation: end all sessions that meet conditions, on every replica
  probe         Black-box test: check that an idle session is rejected behind your proxy
  lint          Check proxy configuration for settings that bypass session limits
  render        Print the configuration of a proxy, with addresses and time limits that match Curfew's
  completions   Print completions for a shell
  man           Print the manual page, or write one page per command
  help          Print this message or the help of the given subcommand(s)

Options:
  -h, --help     Print help
  -V, --version  Print version
"
    );
}

/// The output shows a location and a fix for each finding. If all findings are notices, the command succeeds.
#[test]
fn lint_reports_findings_in_proxy_files() {
    let setup = Setup::memory();
    let file = |name: &str| format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    let (bad, good) = (
        file("tests/lint/oauth2-proxy.cfg"),
        file("deploy/traefik/curfew.yaml"),
    );
    let output = run(&setup, &["lint", &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        format!(
            "\
{bad}:1: error[silent-sign-in]: oauth2-proxy does not ask the identity provider to authenticate people again: after a timeout, the provider's session signs people in without credentials
    set prompt = \"login\" and set_authorization_header, and token_header: authorization in Curfew
{bad}:2: error[cookie-outlives-session]: cookie-expire is longer than the absolute limit (12h): oauth2-proxy keeps a session that Curfew has ended
    set cookie-expire to at most 12h
{bad}:4: error[nameless-session]: each refresh changes the whole cookie, so it cannot identify a session
    set session-store-type to redis, see docs/logins/oauth2-proxy.md
{bad}:5: notice[public]: skip-auth-routes [\"^/health\"] is forwarded without a check, but other requests are checked
    keep it if it is public; a rule with `access: public` documents this in one place
"
        )
    );
    assert_eq!(
        text(&output.stderr),
        "error: 3 settings bypass the limits of sessions\n"
    );
    // `lint` reads the limits from the configuration.
    let patient = setup.clone().limits("15m", "168h");
    let output = run(&patient, &["lint", &bad]);
    assert!(!text(&output.stdout).contains("cookie-outlives-session"));
    let json = text(&run(&setup, &["lint", "--json", &bad]).stdout);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["finding"]["line"], 1);
    let output = run(&setup, &["lint", &good]);
    assert!(
        stdout_of_success(&output)
            .ends_with("no setting bypasses the limits of sessions; 1 notice\n")
    );
    let told = stderr_of_failure(&run(&setup, &["lint", "/nonesuch"]));
    assert!(told.starts_with("error: /nonesuch: No such file"), "{told}");
    let told = stderr_of_failure(&run(&setup, &["lint", &file("README.md")]));
    assert!(told.contains("README.md: "), "{told}");
}

#[test]
fn rendered_files_are_not_overwritten() {
    let setup = Setup::memory().limits("7m", "1h");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let arguments = [
        "render",
        "haproxy",
        "--directory",
        path,
        "--application",
        "shop:80",
    ];
    let listed = stdout_of_success(&run(&setup, &arguments));
    assert_eq!(
        listed,
        format!("{path}/haproxy.cfg\n{path}/curfew-spoe.conf\n")
    );
    let file = std::fs::read_to_string(directory.path().join("haproxy.cfg")).unwrap();
    assert!(file.contains("timeout tunnel 420s") && file.contains("server application shop:80"));
    let told = stderr_of_failure(&run(&setup, &arguments));
    assert!(
        told.contains("existing files are not overwritten"),
        "{told}"
    );
    let printed = stdout_of_success(&run(&setup, &["render", "traefik"]));
    assert!(printed.starts_with("# ---- traefik.yaml\n"), "{printed}");
    let printed = stdout_of_success(&run(&setup, &["render", "oauth2-proxy"]));
    assert!(printed.contains("cookie_expire = \"3600s\""), "{printed}");
    for wrong in ["shop", "shop:x", "shop:80; evil", ":80"] {
        let output = run(&setup, &["render", "nginx", "--application", wrong]);
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(
            told.contains("must be HOST:PORT, such as curfew:9180"),
            "{told}"
        );
    }
    let told = stderr_of_failure(&run(&setup, &["render", "nginx", "--policy", "none"]));
    assert!(told.contains("no policy of this name"), "{told}");
}

/// The output has colours only on a terminal, or when the user asks for them.
#[test]
fn colours_are_only_for_terminals() {
    let bad = format!("{}/tests/lint/oauth2-proxy.cfg", env!("CARGO_MANIFEST_DIR"));
    let coloured = |setup: &Setup| {
        let output = run(setup, &["lint", &bad]);
        output.stdout.contains(&0x1b)
    };
    let setup = Setup::memory();
    assert!(!coloured(&setup), "output to a pipe should have no colours");
    let forced = setup.set_variable("CLICOLOR_FORCE", "1");
    assert!(coloured(&forced));
    assert!(!coloured(&forced.clone().set_variable("NO_COLOR", "1")));
}
