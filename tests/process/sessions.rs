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
    assert!(output.status.success(), "{}", to_text(&output.stderr));
    to_text(&output.stdout)
}

/// Asserts that the command failed, and returns its errors.
fn stderr_of_failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", to_text(&output.stdout));
    to_text(&output.stderr)
}

#[tokio::test]
async fn sessions_are_listed_shown_and_ended() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let shell = operator_shell(&setup, &curfew);
    let sessions = |arguments: &[&str]| run_command(&shell, &[&["sessions"], arguments].concat());
    let (alice, bob) = (curfew.sign_in("alice").await, curfew.sign_in("bob").await);
    // Some characters of this name take two columns in a terminal.
    let wide_name_session = curfew.sign_in("zoë 世界").await;
    let list_output = stdout_of_success(&sessions(&["list"]));
    let lines: Vec<&str> = list_output.lines().collect();
    assert_eq!(lines.len(), 4, "{list_output}");
    assert!(lines[0].starts_with("SESSION  "), "{list_output}");
    for session in [&alice, &bob, &wide_name_session] {
        assert!(list_output.contains(&session.id), "{list_output}");
    }
    let list_output = stdout_of_success(&sessions(&["list", "bob"]));
    assert!(list_output.contains(&bob.id) && !list_output.contains(&alice.id));
    assert!(
        list_output.contains("live") && list_output.contains("14m "),
        "{list_output}"
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
    let show_output = stdout_of_success(&sessions(&["show", &alice.id]));
    assert!(
        show_output.contains("subject              alice\n"),
        "{show_output}"
    );
    let end_output = stdout_of_success(&sessions(&["revoke", &alice.id]));
    assert_eq!(end_output, "session of alice ended: revoked\n");
    assert_eq!(curfew.check(&alice).await.0, 401);
    let end_output = stdout_of_success(&sessions(&["revoke", "--subject", "bob"]));
    assert_eq!(end_output, "1 session of bob ended\n");
    assert_eq!(curfew.check(&bob).await.0, 401);
    for (arguments, expected_error) in [
        (&["show", "xyz"][..], "error: xyz: a session ID must have"),
        (
            &["show", &"0".repeat(32)],
            "error: there is no session with this ID\n",
        ),
        (&["list", ""], "error: subject: a subject must have"),
    ] {
        let errors = stderr_of_failure(&sessions(arguments));
        assert!(errors.starts_with(expected_error), "{errors}");
    }
    let wrong_token_shell = shell.clone().set_variable("CURFEW_ADMIN_TOKEN", "guess");
    let errors = stderr_of_failure(&run_command(&wrong_token_shell, &["sessions", "list"]));
    assert!(
        errors.contains("does not accept this admin token"),
        "{errors}"
    );
    let wrong_url_shell = shell
        .clone()
        .set_variable("CURFEW_ADMIN_URL", "http://127.0.0.1:1");
    let errors = stderr_of_failure(&run_command(&wrong_url_shell, &["sessions", "list"]));
    assert!(
        errors.contains("could not reach the admin API at http://127.0.0.1:1/"),
        "{errors}"
    );
    let errors = stderr_of_failure(&run_command(&Setup::memory(), &["sessions", "list"]));
    assert!(errors.contains("set CURFEW_ADMIN_TOKEN"), "{errors}");
    assert!(!curfew.log().contains(&setup.admin_token));
}

#[tokio::test]
async fn watch_shows_each_start_and_end() {
    let setup = Setup::memory();
    let curfew = setup.start();
    let first_session = curfew.sign_in("alice").await;
    let shell = operator_shell(&setup, &curfew);
    let mut watch_process = shell
        .command(&["sessions", "watch", "--every", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(watch_process.stdout.take().unwrap());
    let mut line = move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(line(), ["live", &first_session.id, "alice"]);
    let second_session = curfew.sign_in("bob").await;
    let (line, words) = tokio::task::spawn_blocking(move || {
        let words = line();
        (line, words)
    })
    .await
    .unwrap();
    assert_eq!(words, ["live", &second_session.id, "bob"]);
    curfew.revoke(&first_session).await;
    let words = tokio::task::spawn_blocking(line).await.unwrap();
    assert_eq!(words, ["revoked", &first_session.id, "alice"]);
    support::signal(&watch_process, "INT");
    assert!(watch_process.wait().unwrap().success());
}

#[test]
fn completions_and_manual_pages_work() {
    let setup = Setup::memory();
    for (shell, marker) in [
        ("bash", "complete -F _curfew"),
        ("zsh", "#compdef curfew"),
        ("fish", "complete -c curfew"),
    ] {
        let script = stdout_of_success(&run_command(&setup, &["completions", shell]));
        assert!(
            script.contains(marker) && script.contains("revoke"),
            "{shell}"
        );
    }
    assert!(stdout_of_success(&run_command(&setup, &["man"])).contains(".TH curfew 1"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    stdout_of_success(&run_command(&setup, &["man", "--directory", path]));
    for page in ["curfew.1", "curfew-serve.1", "curfew-sessions-revoke.1"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn the_help_lists_the_commands() {
    let help = stdout_of_success(&run_command(&Setup::memory(), &["--help"]));
    assert_eq!(
        help,
        "\
Sessions that end on time, enforced at the edge: idle and absolute limits for applications behind NGINX, Traefik, Envoy or another proxy

Usage: curfew <COMMAND>

Commands:
  demo                 Run a demo on this machine: an application behind Curfew, with limits of a few seconds
  serve                Run the service. Without a configuration, it keeps sessions in memory
  healthcheck          Check whether the service on this machine is ready, for a container's health check
  check-config         Check the configuration and print its effective values, without secrets
  compliance           Report which requirements of standards each policy meets, and why
  audit                Report which routes of the Kubernetes cluster send no checks
  explain              Explain how a request would be evaluated: rule, policies, activity and limits
  schema               Print the JSON Schema of the configuration file, for editors
  migrate              Upgrade the records in Redis to the version of this program, while the service runs
  clock                Compare the clocks of Redis, the replicas and this machine; choose the correct one with --accept
  keygen               Generate a key for token.keys, or an admin token
  sessions             List, show, end and watch sessions through the admin API
  revoke               Emergency revocation: end all sessions that meet conditions, on every replica
  probe                Black-box test: check that an idle session is rejected behind your proxy
  lint                 Check proxy configuration for settings that bypass session limits
  render               Print the configuration of a proxy, with addresses and time limits that match Curfew's
  migrate-annotations  Print SessionPolicies for Ingresses whose annotations send a check to Authelia, oauth2-proxy or another service
  completions          Print completions for a shell
  man                  Print the manual page, or write one page per command
  help                 Print this message or the help of the given subcommand(s)

Options:
  -h, --help     Print help
  -V, --version  Print version
"
    );
}

/// The policies are on standard output, and the notes are on standard error. A file that could not be read makes the
/// command fail, and the policies for the other files are printed.
#[test]
fn annotations_become_policies_and_unreadable_files_are_errors() {
    let setup = Setup::memory();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let snippets = format!("{}/tests/migration/snippets", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(
        format!("{snippets}/authelia-ingress-nginx.yaml"),
        path("a.yaml"),
    )
    .unwrap();
    std::fs::write(path("authelia.cfg"), "session: {inactivity: 10m}\n").unwrap();
    let (config, folder) = (path("authelia.cfg"), path(""));
    let arguments = [
        "migrate-annotations",
        "--authelia-config",
        config.as_str(),
        folder.as_str(),
    ];
    let yaml = stdout_of_success(&run_command(&setup, &arguments));
    assert!(yaml.ends_with("  idle: 10m\n  absolute: 1h\n"), "{yaml}");
    std::fs::write(path("b.yml"), "a: [\n").unwrap();
    let output = run_command(&setup, &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(to_text(&output.stdout), yaml);
    let errors = to_text(&output.stderr);
    for part in [
        "b.yml: line 2: ",
        "1 Ingress read, 1 policy printed, ",
        "error: 1 file could not be read: its Ingresses are not in the output",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

/// The output shows a location and a fix for each finding. If no finding is an error, the command succeeds.
#[test]
fn lint_reports_findings_in_proxy_files() {
    let setup = Setup::memory();
    let file = |name: &str| format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    let (oauth2_proxy_file, traefik_file) = (
        file("tests/lint/oauth2-proxy.cfg"),
        file("deploy/traefik/curfew.yaml"),
    );
    let output = run_command(&setup, &["lint", &oauth2_proxy_file]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        to_text(&output.stdout),
        format!(
            "\
{oauth2_proxy_file}:1: error[silent-sign-in]: oauth2-proxy does not ask the identity provider to authenticate people again: after a timeout, the provider's session signs people in without credentials
    set prompt = \"login\" and set_authorization_header, and token_header: authorization in Curfew
{oauth2_proxy_file}:2: error[cookie-outlives-session]: cookie-expire is longer than the absolute limit (12h): oauth2-proxy keeps a session that Curfew has ended
    set cookie-expire to at most 12h
{oauth2_proxy_file}:4: error[nameless-session]: each refresh changes the whole cookie, so the cookie cannot identify a session
    set session-store-type to redis, see docs/logins/oauth2-proxy.md
{oauth2_proxy_file}:5: notice[public]: skip-auth-routes [\"^/health\"] is forwarded without a check, but other requests are checked
    keep the setting if the requests are public; a rule with `access: public` documents this in one place
"
        )
    );
    assert_eq!(
        to_text(&output.stderr),
        "error: 3 settings bypass the limits of sessions\n"
    );
    // `lint` reads the limits from the configuration.
    let long_limits = setup.clone().limits("15m", "168h");
    let output = run_command(&long_limits, &["lint", &oauth2_proxy_file]);
    assert!(!to_text(&output.stdout).contains("cookie-outlives-session"));
    let json = to_text(&run_command(&setup, &["lint", "--json", &oauth2_proxy_file]).stdout);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["finding"]["line"], 1);
    let output = run_command(&setup, &["lint", &traefik_file]);
    assert!(
        stdout_of_success(&output)
            .ends_with("no setting bypasses the limits of sessions; 2 notices\n")
    );
    let errors = stderr_of_failure(&run_command(&setup, &["lint", "/nonesuch"]));
    assert!(
        errors.starts_with("error: /nonesuch: No such file"),
        "{errors}"
    );
    let errors = stderr_of_failure(&run_command(&setup, &["lint", &file("README.md")]));
    assert!(errors.contains("README.md: "), "{errors}");
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
    let list_output = stdout_of_success(&run_command(&setup, &arguments));
    assert_eq!(
        list_output,
        format!("{path}/haproxy.cfg\n{path}/curfew-spoe.conf\n")
    );
    let file = std::fs::read_to_string(directory.path().join("haproxy.cfg")).unwrap();
    assert!(
        file.contains("timeout tunnel 420s")
            && file.contains("server-template application 4 shop:80 ")
    );
    let errors = stderr_of_failure(&run_command(&setup, &arguments));
    assert!(
        errors.contains("existing files are not overwritten"),
        "{errors}"
    );
    let rendered_files = stdout_of_success(&run_command(&setup, &["render", "traefik"]));
    assert!(
        rendered_files.starts_with("# ---- traefik.yaml\n"),
        "{rendered_files}"
    );
    let rendered_files = stdout_of_success(&run_command(&setup, &["render", "oauth2-proxy"]));
    assert!(
        rendered_files.contains("cookie_expire = \"3600s\""),
        "{rendered_files}"
    );
    for invalid_address in ["shop", "shop:x", "shop:80; evil", ":80"] {
        let output = run_command(
            &setup,
            &["render", "nginx", "--application", invalid_address],
        );
        assert_eq!(output.status.code(), Some(2));
        let errors = to_text(&output.stderr);
        assert!(
            errors.contains("must be HOST:PORT, such as curfew:9180"),
            "{errors}"
        );
    }
    let errors = stderr_of_failure(&run_command(
        &setup,
        &["render", "nginx", "--policy", "none"],
    ));
    assert!(errors.contains("no policy of this name"), "{errors}");
}

/// The program contains the files with the global settings, and rejects addresses and options that do not fit.
#[test]
fn global_settings_are_rendered() {
    let setup = Setup::memory().limits("7m", "1h");
    for (proxy, expected) in [
        ("traefik-global", "kind: ConfigMap\n"),
        ("ingress-nginx-global", "  proxy-read-timeout: \"420\"\n"),
        ("envoy-gateway-global", "      streamIdleTimeout: 7m\n"),
        ("istio-global", "# ---- authorization-policy-global.yaml\n"),
        ("haproxy-ingress-global", "  timeout-tunnel: 420s\n"),
    ] {
        let text = stdout_of_success(&run_command(&setup, &["render", proxy]));
        assert!(text.contains(expected), "{proxy}: {text}");
        let arguments = ["render", proxy, "--browser", "guard.auth:83"];
        let text = stdout_of_success(&run_command(&setup, &arguments));
        assert!(text.contains("  namespace: auth\n"), "{proxy}: {text}");
        let arguments = ["render", proxy, "--browser", "10.0.0.5:9183"];
        let errors = stderr_of_failure(&run_command(&setup, &arguments));
        assert!(
            errors.contains(
                "--browser 10.0.0.5:9183: the file needs a Service of the cluster; \
                 write NAME.NAMESPACE:PORT, such as curfew.curfew:9183"
            ),
            "{proxy}: {errors}"
        );
        let errors = stderr_of_failure(&run_command(&setup, &["render", proxy, "--streams"]));
        assert!(errors.contains("--streams: the global files"), "{errors}");
    }
    let arguments = ["render", "oauth2-proxy", "--streams"];
    let errors = stderr_of_failure(&run_command(&setup, &arguments));
    assert!(
        errors.contains("--streams: oauth2-proxy is not on the path of streams"),
        "{errors}"
    );
}

/// The output has colours only on a terminal, or when the user asks for them.
#[test]
fn colours_are_only_for_terminals() {
    let oauth2_proxy_file = format!("{}/tests/lint/oauth2-proxy.cfg", env!("CARGO_MANIFEST_DIR"));
    let is_coloured = |setup: &Setup| {
        let output = run_command(setup, &["lint", &oauth2_proxy_file]);
        output.stdout.contains(&0x1b)
    };
    let setup = Setup::memory();
    assert!(
        !is_coloured(&setup),
        "output to a pipe should have no colours"
    );
    let forced_setup = setup.set_variable("CLICOLOR_FORCE", "1");
    assert!(is_coloured(&forced_setup));
    assert!(!is_coloured(
        &forced_setup.clone().set_variable("NO_COLOR", "1")
    ));
}
