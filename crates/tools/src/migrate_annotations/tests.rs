use std::path::Path;

use super::*;

mod families;
mod round_trip;

/// Reads one file, and returns the migration.
fn migrate(sources: LimitSources, yaml: &str) -> Migration {
    let mut migration = Migration::new(sources);
    migration.read("ingress.yaml", yaml).unwrap();
    migration
}

/// Returns an Ingress with these annotations, as flow YAML.
fn ingress(annotations: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: app\n  namespace: team\n  annotations:\n{annotations}\n\
         spec: {{ingressClassName: nginx, rules: [{{host: app.example.com}}]}}\n"
    )
}

/// The limits of the command line.
fn flags(idle: &str, absolute: &str) -> LimitSources {
    LimitSources {
        idle: Some(parse_limit(idle).unwrap()),
        absolute: Some(parse_limit(absolute).unwrap()),
        ..LimitSources::default()
    }
}

fn authelia(config: &str) -> LimitSources {
    LimitSources {
        authelia: Some(AutheliaConfig::parse(config).unwrap()),
        ..LimitSources::default()
    }
}

#[test]
fn the_output_has_each_note_above_its_policy() {
    let config = "session: {inactivity: 5m, expiration: 1h, remember_me: -1, cookies: [{domain: example.com}]}";
    let yaml = ingress(
        "    nginx.ingress.kubernetes.io/auth-url: http://authelia.auth.svc/api/authz/auth-request
    nginx.ingress.kubernetes.io/auth-method: GET",
    );
    let migration = migrate(authelia(config), &yaml);
    let expected = r#"# next: a SessionPolicy applies only to requests that the proxy checks with Curfew. See docs/migrating-annotations.md and docs/kubernetes-policies.md
# next: ingress-nginx: set nginx.ingress.kubernetes.io/auth-url to http://curfew.curfew.svc.cluster.local:9180/forward-auth, and nginx.ingress.kubernetes.io/auth-proxy-set-headers as in deploy/nginx/ingress.yaml
---
# Ingress team/app (ingress.yaml:2)
# note: line 8: nginx.ingress.kubernetes.io/auth-method is a setting of the proxy, and not of the policy: keep it
apiVersion: curfew.dev/v1alpha1
kind: SessionPolicy
metadata:
  name: "app"
  namespace: "team"
spec:
  targetRefs:
    - group: networking.k8s.io
      kind: Ingress
      name: "app"
  idle: 5m
  absolute: 1h
"#;
    assert_eq!(migration.to_yaml(), expected);
    let summary: Vec<String> = migration.summary().collect();
    assert!(summary[0].starts_with("ingress.yaml:8: note: Ingress team/app: nginx.ingress"));
    assert_eq!(
        migration.counts().to_string(),
        "1 Ingress read, 1 policy printed, 1 note; 0 Ingresses without a known annotation, 0 other objects skipped"
    );
}

/// The annotations in the documentation of Authelia and oauth2-proxy.
#[test]
fn the_documented_annotations_are_taken_over() {
    for (file, sources, expected) in [
        (
            "authelia-ingress-nginx.yaml",
            authelia(""),
            "  idle: 5m\n  absolute: 1h\n",
        ),
        (
            "oauth2-proxy-ingress-nginx.yaml",
            LimitSources {
                oauth2_proxy: Some(Oauth2ProxyConfig::parse("").unwrap()),
                ..flags("30m", "8h")
            },
            "  idle: 30m\n  absolute: 168h\n",
        ),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/migration/snippets");
        let text = std::fs::read_to_string(path.join(file)).unwrap();
        let yaml = migrate(sources, &text).to_yaml();
        assert!(yaml.ends_with(expected), "{yaml}");
        assert!(yaml.contains("auth-signin is not taken over"), "{yaml}");
        assert!(
            yaml.contains("auth-response-headers is not taken over"),
            "{yaml}"
        );
    }
}

#[test]
fn an_unreadable_file_gives_nothing_and_the_next_file_is_read() {
    let valid = ingress("    nginx.ingress.kubernetes.io/auth-url: http://sso/check");
    let mut migration = Migration::new(flags("15m", "8h"));
    let error = migration
        .read("bad.yaml", &format!("{valid}---\na: [\n"))
        .unwrap_err();
    assert!(error.to_string().starts_with("line "), "{error}");
    assert_eq!(migration.counts(), Counts::default());
    migration.read("good.yaml", &valid).unwrap();
    assert_eq!(migration.counts().policies, 1);
}

#[test]
fn every_ingress_and_every_other_object_is_counted() {
    let checked = ingress("    nginx.ingress.kubernetes.io/auth-url: http://sso/check");
    let unchecked =
        ingress("    nginx.ingress.kubernetes.io/rewrite-target: /").replace("app", "b");
    let yaml =
        format!("{checked}---\n{unchecked}---\n{{apiVersion: v1, kind: Service}}\n---\n{checked}");
    let migration = migrate(flags("15m", "8h"), &yaml);
    let counts = Counts {
        ingresses: 3,
        policies: 1,
        notes: 1,
        without_annotation: 1,
        other_objects: 1,
    };
    assert_eq!(migration.counts(), counts);
    let summary: Vec<String> = migration.summary().collect();
    assert!(
        summary[0].contains("also at ingress.yaml:2"),
        "{summary:#?}"
    );
}

#[test]
fn limits_that_a_session_policy_rejects_are_changed_and_noted() {
    let url = "    nginx.ingress.kubernetes.io/auth-url: http://authelia/api/verify";
    for (config, expected, note) in [
        (
            "session: {inactivity: 2h, expiration: 1h}",
            "  idle: 1h\n  absolute: 1h\n",
            "idle is shortened from 2h to 1h",
        ),
        (
            "session: {expiration: 2y}",
            "  idle: 5m\n  absolute: 9600h\n",
            "absolute is shortened to 9600h",
        ),
        (
            "session: {inactivity: 5us}",
            "  absolute: 1h\n",
            "idle is shorter than a millisecond",
        ),
    ] {
        let yaml = migrate(authelia(config), &ingress(url)).to_yaml();
        assert!(yaml.ends_with(expected) && yaml.contains(note), "{yaml}");
    }
}

#[test]
fn an_ingress_with_several_hosts_gets_the_shorter_limits() {
    let config = "
session:
  cookies:
  - {domain: a.com, inactivity: 10m, expiration: 2h}
  - {domain: b.com, inactivity: 20m, expiration: 1h}
";
    let url = "    nginx.ingress.kubernetes.io/auth-url: http://authelia/api/verify";
    let yaml = ingress(url).replace(
        "{host: app.example.com}",
        "{host: x.a.com}, {host: x.b.com}, {host: c.com}, {http: {}}",
    );
    let yaml = migrate(authelia(config), &yaml).to_yaml();
    assert!(yaml.ends_with("  idle: 10m\n  absolute: 1h\n"), "{yaml}");
    for note in [
        "different limits for the hosts",
        "no session cookie for the host c.com",
        "does not apply to a rule without a host",
    ] {
        assert!(yaml.contains(note), "{note}: {yaml}");
    }
}

#[test]
fn a_configuration_that_no_ingress_needs_is_noted() {
    let migration = migrate(authelia(""), "");
    let summary: Vec<String> = migration.summary().collect();
    assert_eq!(
        summary,
        ["note: --authelia-config is not used: no Ingress asks Authelia"]
    );
    assert_eq!(migration.counts().notes, 1);
}
