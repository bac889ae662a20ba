//! Tests the commands that explain a configuration.

use std::path::Path;

use super::*;

/// Returns a setup with the example configuration.
fn example_setup() -> Setup {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/curfew/curfew.yaml");
    Setup::memory().config_file(&file)
}

/// Runs a command with the example configuration.
fn run_with_example(command: &str, arguments: &[&str]) -> Output {
    run_command(&example_setup(), &[&[command], arguments].concat())
}

/// Runs a command that must succeed, and returns its output.
fn stdout_of_success(command: &str, arguments: &[&str]) -> String {
    let output = run_with_example(command, arguments);
    assert!(output.status.success(), "{}", to_text(&output.stderr));
    to_text(&output.stdout)
}

/// Runs a command that must fail, and returns its errors.
fn stderr_of_failure(command: &str, arguments: &[&str]) -> String {
    let output = run_with_example(command, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", to_text(&output.stdout));
    to_text(&output.stderr)
}

#[test]
fn explain_names_the_cause() {
    let url = "https://shop.example.com/payments/cards?page=2";
    let navigation = ["--header", "Sec-Fetch-Mode: navigate"];
    let groups = ["--groups", "staff,cluster-admins"];
    let arguments = [&["--url", url][..], &navigation, &groups].concat();
    assert_eq!(
        stdout_of_success("explain", &arguments),
        "\
hosts      grafana.example.com, intranet.example.com, shop.example.com, *.example.com; others are denied (unknown_host)
path       /payments/cards
rule       rules.5 (host shop.example.com; path /payments/…)
access     protected
policies   staff (home policy), payments (by the rule)
activity   touch
ends       10m without activity (policies.staff.variants.0.idle), 4h after sign-in (policies.staff.variants.0.absolute)
needs      10m without activity (policies.staff.variants.0.idle), 4h after sign-in (policies.payments.absolute), sign-in within the last 1h (policies.payments.max_auth_age)
verdict    allow, for a new session
"
    );
    let remembered = ["--policy", "customers", "--remembered", "--method", "HEAD"];
    let arguments = [&["--url", "https://shop.example.com/"][..], &remembered].concat();
    assert_eq!(
        stdout_of_success("explain", &arguments),
        "\
hosts      grafana.example.com, intranet.example.com, shop.example.com, *.example.com; others are denied (unknown_host)
path       /
rule       none
access     protected
policies   customers (home policy)
activity   passive: HEAD request
ends       14days without activity (policies.customers.remember.idle), 30days after sign-in (policies.customers.remember.absolute)
verdict    allow, for a new session
"
    );
    for (arguments, expected) in [
        (
            &["https://shop.example.com/assets/%2e%2e/x"][..],
            "verdict    malformed_request: a rule depends on the path, and the path is ambiguous: segment . or ..\n",
        ),
        (
            &["https://a.example.com/admin/users"],
            "groups     one of cluster-admins, shop-admins\n",
        ),
        (
            &["https://a.example.com/admin/users"],
            "verdict    forbidden, for a new session\n",
        ),
        (
            &["https://a.example.com/", "--proxy-policy", "payments"],
            "payments (by the proxy)",
        ),
        (&["https://a.example.com/healthz"], "access     public\n"),
        (
            &["https://a.example.com/", "--proxy-policy", "nothing"],
            "verdict    malformed_request: the policy that the proxy names is not configured\n",
        ),
    ] {
        let output_text = stdout_of_success("explain", &[&["--url"], arguments].concat());
        assert!(output_text.contains(expected), "{output_text}");
    }
}

#[test]
fn explain_answers_in_json() {
    let output_text = stdout_of_success(
        "explain",
        &["--json", "--url", "https://a.example.com/admin"],
    );
    let output_text: Value = serde_json::from_str(&output_text).unwrap();
    assert_eq!(output_text["verdict"], "forbidden");
    assert_eq!(output_text["rule"], "rules.4");
    assert_eq!(
        output_text["session_limits"]["idle"]["from"],
        "policies.staff.idle"
    );
}

#[test]
fn explain_reports_invalid_arguments() {
    let url = ["--url", "https://a.example.com/"];
    for (arguments, expected) in [
        (&["--url", "/orders"][..], "--url: not an absolute address"),
        (
            &["--url", url[1], "--contract", "nginx"],
            "--contract: must be one of auth-request, forward-auth",
        ),
        (
            &["--url", url[1], "--policy", "none"],
            "--policy none: the configuration has no policy of this name",
        ),
        (
            &["--url", url[1], "--remembered"],
            "--remembered: policies.staff has no `remember`",
        ),
        (
            &["--url", url[1], "--header", "Sec-Fetch-Mode"],
            "--header: must be a name and a value such as \"Sec-Fetch-Mode: navigate\"",
        ),
    ] {
        let output_text = stderr_of_failure("explain", arguments);
        assert!(output_text.contains(expected), "{output_text}");
    }
}

#[test]
fn compliance_reports_the_limits_and_fails_if_a_required_standard_is_not_met() {
    let documented = include_str!("../../docs/compliance-example.md");
    assert_eq!(stdout_of_success("compliance", &[]), documented);
    let json: Value = serde_json::from_str(&stdout_of_success("compliance", &["--json"])).unwrap();
    let policies = json["policies"].as_array().unwrap();
    let names: Vec<&str> = policies
        .iter()
        .map(|policy| policy["policy"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["customers", "payments", "staff", "wallboard"]);

    let output_text = stderr_of_failure(
        "compliance",
        &["--require", "pci-dss", "--require", "asvs5"],
    );
    assert_eq!(
        output_text,
        "error: pci-dss (PCI DSS 4.0.1, 8.2.8) is not met by: customers, staff, wallboard; it requires a new \
         authentication after a timeout, which is not ensured for: payments\n\
         error: asvs5 (OWASP ASVS 5.0.0, level 2, 7.3.1, 7.3.2) requires a new authentication after a timeout, which is not \
         ensured for: customers, payments, staff, wallboard\n"
    );
    let output_text = stderr_of_failure("compliance", &["--require", "iso"]);
    assert!(
        output_text.contains("--require iso: must be one of nist-rev4-aal1, "),
        "{output_text}"
    );
    let strict_setup = Setup::memory().set("POLICIES__DEFAULT__PRESET", "pci-dss");
    let arguments = ["compliance", "--require", "pci-dss", "--limits-only"];
    let result = run_command(&strict_setup, &arguments);
    assert!(result.status.success(), "{}", to_text(&result.stderr));
    let service_key = |key: &str| format!("DELEGATED__SERVICES__PROXY__{key}");
    let behind_oauth2_proxy = strict_setup
        .set(&service_key("PRESET"), "oauth2-proxy")
        .set(&service_key("URL"), "http://oauth2-proxy:4180/oauth2/auth");
    let result = run_command(&behind_oauth2_proxy, &arguments[..3]);
    let output_text = to_text(&result.stderr);
    assert!(
        !result.status.success() && output_text.contains("not ensured for: default"),
        "{output_text}"
    );
    let output_text = to_text(&result.stdout);
    assert!(
        output_text.contains("`delegated.services.proxy` does not say when"),
        "{output_text}"
    );
    let behind_oauth2_proxy =
        behind_oauth2_proxy.set(&service_key("TOKEN_HEADER"), "authorization");
    let result = run_command(&behind_oauth2_proxy, &arguments[..3]);
    assert!(result.status.success(), "{}", to_text(&result.stderr));
}

/// A CI pipeline has the configuration, but not its secrets.
#[test]
fn policies_and_rules_can_be_explained_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("curfew.yaml");
    let text = "store: {url: 'redis://redis/0', password_file: /nowhere/password}
token: {keys_file: /nowhere/keys}
policies: {default: {preset: pci-dss}}
";
    std::fs::write(&path, text).unwrap();
    let setup = Setup::memory().unset("TOKEN__KEYS").config_file(&path);
    assert!(!run_command(&setup, &["check-config"]).status.success());
    let url = "https://a.example.com/";
    for arguments in [
        &["explain", "--url", url][..],
        &["compliance", "--require", "pci-dss", "--limits-only"],
    ] {
        let output = run_command(&setup, arguments);
        assert!(output.status.success(), "{}", stderr_of(&output));
    }
    std::fs::write(&path, format!("{text}rules: [{{policy: none}}]\n")).unwrap();
    let output = run_command(&setup, &["explain", "--url", url]);
    assert!(
        stderr_of(&output).contains("rules.0.policy"),
        "{}",
        stderr_of(&output)
    );
}

fn stderr_of(output: &Output) -> String {
    to_text(&output.stderr)
}

#[test]
fn check_config_names_the_source_of_each_preset() {
    let setup = example_setup();
    let output_text = to_text(&run_command(&setup, &["check-config"]).stdout);
    assert!(
        output_text.contains("# policies.payments has the preset pci-dss: PCI DSS 4.0.1, 8.2.8: idle 15 minutes; absolute: convention.\n"),
        "{output_text}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("again.toml");
    std::fs::write(&path, &output_text).unwrap();
    let second_output = to_text(&run_command(&setup.config_file(&path), &["check-config"]).stdout);
    assert!(
        second_output == output_text,
        "the printed configuration should give the same output again: {second_output}"
    );
}

#[test]
fn the_schema_in_the_repository_is_current() {
    let schema = include_str!("../../deploy/curfew/curfew.schema.json");
    let output = run_command(&Setup::memory(), &["schema"]);
    assert_eq!(to_text(&output.stdout), schema);
}
