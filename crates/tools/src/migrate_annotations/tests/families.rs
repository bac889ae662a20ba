//! A table over the annotations of all controllers.

use yaml_rust2::YamlLoader;

use super::*;

/// Returns the fields `idle` and `requireGroups` of the policy, or `None` without a policy.
fn fields(yaml: &str) -> Option<(Option<String>, Vec<String>)> {
    let documents = YamlLoader::load_from_str(yaml).unwrap();
    let policy = documents.iter().find(|it| !it["spec"].is_badvalue())?;
    let groups = policy["spec"]["requireGroups"].as_vec();
    let groups = groups.into_iter().flatten();
    let groups = groups.map(|group| group.as_str().unwrap().to_owned());
    let idle = policy["spec"]["idle"].as_str().map(str::to_owned);
    Some((idle, groups.collect()))
}

/// Each row has the annotations, the groups of the policy (`None` without a policy), and a part of each note.
#[test]
fn the_annotations_of_each_controller() {
    const NGINX: &str = "nginx.ingress.kubernetes.io";
    const HAPROXY: &str = "haproxy-ingress.github.io";
    const TRAEFIK: &str = "traefik.ingress.kubernetes.io";
    let row = |prefix: &str, annotations: &[(&str, &str)]| {
        let lines = annotations
            .iter()
            .map(|(name, value)| format!("    {prefix}/{name}: {value:?}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    type Row<'a> = (String, Option<&'a [&'a str]>, &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (
            row(NGINX, &[("auth-url", "http://sso/check")]),
            Some(&[]),
            &[],
        ),
        (
            row(
                NGINX,
                &[("auth-url", "http://o/oauth2/auth?allowed_groups=a,b")],
            ),
            Some(&["a", "b"]),
            &["cookie_expire"],
        ),
        (
            row(NGINX, &[("auth-url", "http://a/api/authz/auth-request")]),
            Some(&[]),
            &["--authelia-config"],
        ),
        (row(NGINX, &[("auth-url", "")]), None, &["is empty"]),
        (
            row(NGINX, &[("auth-signin", "https://x")]),
            None,
            &["auth-signin"],
        ),
        (
            row(
                NGINX,
                &[
                    ("auth-url", "http://sso/check"),
                    ("auth-cache-key", "$cookie_a"),
                    ("auth-cache-duration", "200 5m"),
                    ("auth-snippet", "proxy_set_header A b;"),
                    ("auth-new", "x"),
                    ("auth-tls-secret", "x"),
                    ("auth-type", "basic"),
                    ("satisfy", "any"),
                    ("configuration-snippet", "auth_request off;"),
                    ("enable-global-auth", "false"),
                ],
            ),
            Some(&[]),
            &[
                "auth-cache-key is not taken over: remove it",
                "auth-cache-duration is not taken over: remove it",
                "auth-snippet is not read",
                "auth-new is not read",
                "satisfy is not taken over",
                "configuration-snippet is not read",
                "enable-global-auth has no effect",
            ],
        ),
        (
            row(NGINX, &[("enable-global-auth", "false")]),
            None,
            &["without a check"],
        ),
        (
            row(NGINX, &[("enable-global-auth", "true")]),
            Some(&[]),
            &["global-auth-url"],
        ),
        (
            row(
                TRAEFIK,
                &[("router.middlewares", "auth-authelia@kubernetescrd")],
            ),
            Some(&[]),
            &["names a Middleware, which this command does not read"],
        ),
        (
            row(
                TRAEFIK,
                &[("router.middlewares", "x-redirect@kubernetescrd")],
            ),
            None,
            &[],
        ),
        (
            row(
                HAPROXY,
                &[
                    (
                        "auth-url",
                        "svc://auth/oauth2-proxy:4180/oauth2/auth?allowed_groups=a",
                    ),
                    ("auth-headers-succeed", "x-a"),
                ],
            ),
            Some(&["a"]),
            &["auth-headers-succeed", "cookie_expire"],
        ),
        (
            row(
                "ingress.kubernetes.io",
                &[("oauth", "oauth2_proxy"), ("oauth-headers", "x")],
            ),
            Some(&[]),
            &["oauth-headers", "cookie_expire"],
        ),
        (
            row(HAPROXY, &[("oauth", "other")]),
            None,
            &["the value is unknown"],
        ),
        (
            row(NGINX, &[("auth-url", "http://sso/check")])
                + "\n"
                + &row(
                    HAPROXY,
                    &[("auth-url", "http://o/oauth2/auth?allowed_groups=a")],
                ),
            Some(&[]),
            &["the Ingress has another check"],
        ),
        (
            row("example.com", &[("auth-url", "http://sso/check")]),
            None,
            &[],
        ),
    ];
    for (annotations, groups, notes) in rows {
        let migration = migrate(flags("15m", "8h"), &ingress(annotations));
        let yaml = migration.to_yaml();
        let found = fields(&yaml);
        let groups = groups.map(|groups| groups.iter().map(|it| (*it).to_owned()).collect());
        let idle = Some("15m".to_owned());
        assert_eq!(found, groups.map(|groups| (idle, groups)), "{yaml}");
        let mut summary = migration
            .summary()
            .filter(|line| !line.starts_with("next: "));
        // An Ingress without a policy has one more note: the reason, if it has a check.
        for note in *notes {
            let line = summary.next().unwrap_or_default();
            assert!(line.contains(note), "{note:?} is not in {line:?}\n{yaml}");
        }
        assert_eq!(summary.next(), None, "{yaml}");
        for line in migration.summary() {
            let (_, message) = line.split_once("next: ").unwrap_or(("", &line));
            assert!(
                yaml.contains(message.rsplit("app: ").next().unwrap()),
                "{line}\n{yaml}"
            );
        }
        let is_known = !yaml.is_empty();
        assert_eq!(
            migration.counts().without_annotation,
            usize::from(!is_known)
        );
    }
}

/// Without any source of limits and without groups, there is no policy, because it would change nothing.
#[test]
fn an_empty_policy_is_not_printed() {
    for url in [
        "http://sso/check",
        "http://a/api/verify",
        "http://o/oauth2/auth",
    ] {
        let annotation = format!("    nginx.ingress.kubernetes.io/auth-url: {url}");
        let migration = migrate(LimitSources::default(), &ingress(&annotation));
        let yaml = migration.to_yaml();
        assert_eq!(fields(&yaml), None, "{yaml}");
        for note in [
            "idle is unknown",
            "absolute is unknown",
            "no policy: without a limit",
        ] {
            assert!(yaml.contains(note), "{note}: {yaml}");
        }
    }
    // Groups alone are a policy.
    let annotation =
        "    nginx.ingress.kubernetes.io/auth-url: http://o/oauth2/auth?allowed_groups=a";
    let yaml = migrate(LimitSources::default(), &ingress(annotation)).to_yaml();
    assert_eq!(fields(&yaml), Some((None, vec!["a".to_owned()])));
}

#[test]
fn an_ingress_without_a_name_gets_no_policy() {
    let annotation = "    nginx.ingress.kubernetes.io/auth-url: http://sso/check";
    let yaml = ingress(annotation).replace("name: app", "generateName: app-");
    let migration = migrate(flags("15m", "8h"), &yaml);
    assert_eq!(migration.counts().policies, 0);
    assert!(migration.to_yaml().contains("the Ingress has no name"));
    let yaml = ingress(annotation).replace("  namespace: team\n", "");
    let yaml = migrate(flags("15m", "8h"), &yaml).to_yaml();
    assert!(
        yaml.contains("the file has no namespace") && !yaml.contains("namespace: \""),
        "{yaml}"
    );
}
