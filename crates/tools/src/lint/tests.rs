use std::path::Path;

use super::*;

const LIMITS: LintLimits = LintLimits {
    idle: Some(Duration::from_secs(900)),
    absolute: Duration::from_secs(12 * 3600),
    touch_interval: Duration::from_secs(15),
};

fn read_file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

type LineRules = Vec<(usize, &'static str)>;

/// Returns the errors and notices for a file of tests/lint: line number and rule ID of each.
fn errors_and_notices(name: &str) -> (LineRules, LineRules) {
    let findings = lint(&read_file(&format!("tests/lint/{name}")), &LIMITS).unwrap();
    for finding in &findings {
        assert!(!finding.message.is_empty() && !finding.remedy.is_empty());
    }
    let with_severity = |severity| {
        let matching = findings.iter().filter(|it| it.severity == severity);
        matching.map(|it| (it.line, it.rule)).collect()
    };
    (
        with_severity(Severity::Error),
        with_severity(Severity::Notice),
    )
}

#[test]
fn finds_bypasses_at_their_lines() {
    for (name, errors, notices) in [
        (
            "ingress.yaml",
            &[
                (3, "missing-auth"),
                (19, "other-host"),
                (21, "cached-auth"),
                (22, "stream-outlives-idle"),
                (24, "swallowed-denial"),
                (27, "missing-auth"),
                (45, "missing-auth"),
            ][..],
            &[][..],
        ),
        (
            "traefik.yaml",
            &[
                (4, "trusted-forward-header"),
                (24, "no-contract"),
                (26, "trusted-forward-header"),
                (28, "credential-withheld"),
            ],
            &[(13, "public")],
        ),
        ("traefik-open.yaml", &[(3, "missing-auth")], &[]),
        (
            "middleware.yaml",
            &[(8, "trusted-forward-header"), (16, "missing-auth")],
            &[],
        ),
        (
            "compose.yaml",
            &[
                (7, "trusted-forward-header"),
                (11, "silent-sign-in"),
                (12, "cookie-outlives-session"),
                (13, "nameless-session"),
            ],
            &[(14, "public")],
        ),
        (
            "envoy.yaml",
            &[
                (8, "stream-outlives-idle"),
                (20, "stream-outlives-idle"),
                (24, "fail-open"),
                (25, "fail-open"),
                (32, "missing-auth"),
            ],
            &[(16, "public")],
        ),
        ("mesh.yaml", &[(13, "fail-open"), (21, "fail-open")], &[]),
        (
            "nginx.conf",
            &[
                (7, "forgeable-original"),
                (10, "cached-auth"),
                (12, "other-host"),
                (16, "fail-open"),
                (18, "stream-outlives-idle"),
                (19, "fail-open"),
                (20, "fail-open"),
                (42, "missing-auth"),
            ],
            &[
                (7, "foreign-input"),
                (7, "foreign-input"),
                (29, "public"),
                (35, "shared-cache"),
            ],
        ),
        (
            "oauth2-proxy.cfg",
            &[
                (1, "silent-sign-in"),
                (2, "cookie-outlives-session"),
                (4, "nameless-session"),
            ],
            &[(5, "public")],
        ),
    ] {
        let (found, noticed) = errors_and_notices(name);
        assert_eq!(found, errors, "{name}");
        assert_eq!(noticed, notices, "{name}");
    }
}

#[test]
fn deployed_files_have_no_errors() {
    for name in [
        "nginx/curfew.conf",
        "nginx/ingress.yaml",
        "nginx/ingress-streams.yaml",
        "traefik/curfew.yaml",
        "traefik/traefik.yaml",
        "traefik/kubernetes.yaml",
        "traefik/ingress.yaml",
        "traefik/gateway-api.yaml",
        "traefik/docker-compose.yaml",
        "envoy/http.yaml",
        "envoy/grpc.yaml",
        "gateway-api/envoy-gateway.yaml",
        "gateway-api/external-auth.yaml",
        "istio/authorization-policy.yaml",
        "istio/mesh-config.yaml",
        "haproxy/ingress.yaml",
        "oauth2-proxy/oauth2-proxy.cfg",
    ] {
        let findings = lint(&read_file(&format!("deploy/{name}")), &LIMITS);
        let findings = findings.unwrap_or_else(|error| panic!("{name}: {error}"));
        let errors = findings.iter().filter(|it| it.severity == Severity::Error);
        assert_eq!(errors.collect::<Vec<_>>(), Vec::<&Finding>::new(), "{name}");
    }
}

#[test]
fn unreadable_files_are_reported() {
    let error_text = |text: &str| lint(text, &LIMITS).unwrap_err().to_string();
    assert!(error_text("a: [1\nb: 2").starts_with("line "));
    assert!(error_text("server {\n location / {\n").starts_with("line 3"));
    assert!(error_text("server {\n}\n}\n").starts_with("line 3"));
    assert!(error_text("server {\n \"x\n").contains("quotes"));
    for text in ["", "hello: world", "just text"] {
        assert!(error_text(text).starts_with("unknown format"), "{text}");
    }
}

/// The linter must reject deep nesting before the recursion overflows the stack.
#[test]
fn rejects_deep_nesting() {
    let nginx = "server {\n".repeat(50_000);
    let yaml: String = (0..2000)
        .map(|level| format!("{}a:\n", " ".repeat(level)))
        .collect();
    for text in [&nginx, &yaml, &"- ".repeat(100_000)] {
        let error = lint(text, &LIMITS).unwrap_err().to_string();
        assert!(
            error.contains("nested more than 100 levels deep"),
            "{error}"
        );
    }
}

#[test]
fn aliases_are_followed_up_to_a_limit() {
    let aliased = "base: &base {forwardAuth: {address: x, trustForwardHeader: true}}\nown: *base\n";
    assert_eq!(
        lint(aliased, &LIMITS).unwrap().len(),
        1,
        "the finding should be reported once, at the line of the anchor"
    );
    let mut billion_laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        let items = vec![alias; 10].join(", ");
        billion_laughs += &format!("a{level}: &a{level} [{items}]\n");
    }
    let error = lint(&billion_laughs, &LIMITS).unwrap_err().to_string();
    assert!(
        error.contains("after the expansion of its aliases"),
        "{error}"
    );
}

#[test]
fn without_an_idle_limit_streams_are_not_reported() {
    let no_idle_limit = LintLimits {
        idle: None,
        ..LIMITS
    };
    let text = read_file("tests/lint/envoy.yaml");
    let findings = lint(&text, &no_idle_limit).unwrap();
    assert!(findings.iter().all(|it| it.rule != "stream-outlives-idle"));
}

proptest::proptest! {
    /// The linter must not panic for any input.
    #[test]
    fn random_input_causes_no_panic(text in "(server|location|http_filters|kind|[a-z{}\\[\\]:;#\"'$ \n*&-]){0,60}") {
        let _ = lint(&text, &LIMITS);
    }
}

/// Traefik does not need the annotation `auth-proxy-set-headers`. With ingress-nginx, Curfew denies every request if
/// the annotation is missing, so no request bypasses a limit. Therefore the finding is a notice and not an error.
#[test]
fn an_ingress_without_auth_proxy_set_headers_causes_a_notice() {
    let ingress = read_file("deploy/nginx/ingress.yaml");
    let notices = |text: &str| -> Vec<(usize, &str)> {
        let findings = lint(text, &LIMITS).unwrap();
        let matching = findings.iter().filter(|it| it.rule == "foreign-input");
        matching.map(|it| (it.line, it.rule)).collect()
    };
    assert_eq!(notices(&ingress), []);
    let without_annotation = ingress.replace("auth-proxy-set-headers:", "other-annotation:");
    assert_eq!(notices(&without_annotation), [(14, "foreign-input")]);
}

/// With each of the reported settings, Curfew checks a request that differs from the request that the proxy routes, or
/// the proxy does not call Curfew.
#[test]
fn finds_check_inputs_that_differ_from_router_inputs() {
    let nginx_config = |url: &str| {
        format!(
            "server {{\n  location = /check {{\n    internal;\n    proxy_pass http://curfew/auth-request;\n    \
             proxy_set_header X-Original-URL {url};\n    proxy_set_header X-Original-Method $request_method;\n    \
             proxy_set_header X-Forwarded-Method \"\";\n    proxy_set_header X-Forwarded-Uri \"\";\n  }}\n  \
             location / {{\n    auth_request /check;\n    proxy_pass http://app;\n  }}\n}}\n"
        )
    };
    for (text, rule) in [
        (nginx_config("$scheme://$http_host$request_uri"), Some("other-host")),
        (nginx_config("$scheme://$host$request_uri"), None),
        (
            "providers:\n  kubernetesCRD: {}\n".to_owned(),
            Some("shared-names"),
        ),
        (
            "providers:\n  kubernetesCRD:\n    safeNaming: true\nentryPoints: {}\n".to_owned(),
            None,
        ),
        (
            "entryPoints: {}\nargs:\n  - --providers.kubernetescrd\n".to_owned(),
            Some("shared-names"),
        ),
        (
            "entryPoints: {}\nargs:\n  - --providers.kubernetescrd\n  - --providers.kubernetescrd.safenaming=true\n"
                .to_owned(),
            None,
        ),
        (
            "static_resources:\n  http_service: { path_prefix: /ext-authz/ }\n".to_owned(),
            Some("prefix-slash"),
        ),
        (
            "static_resources:\n  http_service: { path_prefix: /ext-authz }\n".to_owned(),
            None,
        ),
    ] {
        let findings = lint(&text, &LIMITS).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut errors = findings.iter().filter(|it| it.severity == Severity::Error);
        assert_eq!(errors.next().map(|it| it.rule), rule, "{text}");
    }
}

/// A canary Ingress has the check of the main Ingress.
#[test]
fn a_canary_for_streams_must_compare_without_case() {
    let file = read_file("deploy/nginx/ingress-streams.yaml");
    let pattern = "canary-by-header-pattern: (?i)^websocket$";
    for (annotation, is_safe) in [
        (pattern, true),
        ("canary-by-header-pattern: (?i)websocket", true),
        ("canary-by-header-pattern: ^websocket$", false),
        ("canary-by-header-value: websocket", false),
    ] {
        let file = file.replacen(pattern, annotation, 1);
        let findings = lint(&file, &LIMITS).unwrap();
        let rules: Vec<_> = findings.iter().map(|it| it.rule).collect();
        let expected: &[&str] = if is_safe {
            &[]
        } else {
            &["stream-outlives-idle"]
        };
        assert_eq!(rules, expected, "{annotation}");
    }
}
