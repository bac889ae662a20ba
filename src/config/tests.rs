mod admin;
mod documentation;
mod identity;
mod jwt;
mod kubernetes;
mod listeners_and_sign_in;
mod login;
mod policies;
mod restart;
mod rules;
mod secrets;
mod store;

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::credential::NamedToken;

const SIGNING_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A file in a temporary directory, which is deleted when this value is dropped.
struct TempFile {
    directory: tempfile::TempDir,
    path: PathBuf,
}

/// Writes `text` to a new file.
fn write_file(name: &str, text: &str) -> TempFile {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    TempFile { directory, path }
}

/// Loads `text` as a YAML file.
fn load_yaml(text: &str) -> Result<Loaded, ConfigError> {
    load(
        Some(&write_file("curfew.yaml", text).path),
        &Environment::new(),
    )
}

/// Loads `text` as a YAML file and returns its problems, without the path of the directory.
fn problems(text: &str) -> String {
    let file = write_file("curfew.yaml", text);
    let error = load(Some(&file.path), &Environment::new()).unwrap_err();
    error
        .to_string()
        .replace(&format!("{}/", file.directory.path().display()), "")
}

#[test]
fn an_empty_configuration_is_valid() {
    let loaded = load(None, &Environment::new()).unwrap();
    let (_, policy) = loaded.config.rulebook.policies.get("default").unwrap();
    assert_eq!(policy.limits.idle, Some(Duration::from_secs(900)));
    assert_eq!(policy.limits.absolute, Duration::from_secs(43_200));
    assert_eq!(policy.touch_interval, Duration::from_secs(15));
    assert!(loaded.config.key_ring.is_none());
    assert_eq!(loaded.config.cookie.name, "__Host-session");
    let admin = loaded.config.listen.addresses.get(ListenerName::Admin);
    assert!(admin.iter().all(|address| address.ip().is_loopback()));
}

#[test]
fn the_environment_overrides_the_file_and_the_file_overrides_defaults() {
    let text = "listen:\n  check: 127.0.0.1:1\n  ops: 127.0.0.1:2\n";
    let file = write_file("curfew.yaml", text);
    let environment = environment(&[
        ("CURFEW__LISTEN__OPS", "127.0.0.1:3"),
        ("CURFEW__TOKEN__BEARER", "false"),
        ("CURFEW__STORE__MAX_SESSIONS", "7"),
        ("CURFEW__POLICIES__STRICT__IDLE", "5m"),
        ("CURFEW__DEFAULT_POLICY", "strict"),
        ("CURFEW_CONFIG", "not ours"),
        ("PATH", "/bin"),
    ]);
    let config = load(Some(&file.path), &environment).unwrap().config;
    let port = |name| config.listen.addresses.get(name)[0].port();
    assert_eq!(port(ListenerName::Check), 1);
    assert_eq!(port(ListenerName::Ops), 3);
    assert_eq!(port(ListenerName::Admin), 9188);
    assert!(!config.bearer);
    assert!(matches!(
        config.store,
        StoreConfig::Memory { max_sessions: 7 }
    ));
    assert_eq!(config.rulebook.policies.default_name().as_str(), "strict");
}

#[test]
fn a_toml_file_is_read() {
    let file = write_file(
        "curfew.toml",
        "[policies.default]\nidle = \"5m\"\nabsolute = \"1h\"\n",
    );
    let config = load(Some(&file.path), &Environment::new()).unwrap().config;
    let (_, policy) = config.rulebook.policies.get("default").unwrap();
    assert_eq!(policy.limits.idle, Some(Duration::from_secs(300)));
}

#[test]
fn an_unknown_key_is_reported_with_the_nearest_known_key() {
    assert_eq!(
        problems("policies:\n  default:\n    idel: 15m\n"),
        "curfew.yaml: policies.default.idel = \"15m\": unknown key; did you mean `idle`? \
         (known here: preset, deviation_reason, idle, absolute, max_auth_age, touch_interval, \
         activity, max_sessions, on_session_limit, bind, bind_ipv4_bits, bind_ipv6_bits, \
         on_store_failure, store_failure_grace, stream_activity, stream_heartbeats, stream_grace, \
         stream_end_event, remember, variants)"
    );
    assert!(
        problems("stroe: {}\n")
            .starts_with("curfew.yaml: stroe: unknown key; did you mean `store`?")
    );
    for (old, new) in [
        (
            "admin: {proxies: 1}",
            "admin.proxies = \"1\": is an old name of `admin.trusted_proxies`",
        ),
        (
            "client_address: {proxies: 1}",
            "is an old name of `client_address.trusted_proxies`",
        ),
        (
            "delegated: {services: {sso: {session_cookie_until: '|'}}}",
            "is an old name of `delegated.services.sso.session_cookie_delimiter`",
        ),
        (
            "jwt: {refresh: 1m}",
            "is an old name of `jwt.refresh_interval`",
        ),
        ("jwt: {stale: 1m}", "is an old name of `jwt.max_key_age`"),
        (
            "store: {end_journal: 1m}",
            "is an old name of `store.journal_retention`",
        ),
        (
            "policies: {default: {beyond_max_sessions: deny}}",
            "is an old name of `policies.default.on_session_limit`",
        ),
    ] {
        let found = problems(old);
        assert!(found.contains(new), "{old}: {found}");
    }
    let errors = problems("zzzzzzzzzzzz: 1\n");
    assert!(
        errors.contains("unknown key (known here: default_policy"),
        "{errors}"
    );
    let error = load(None, &environment(&[("CURFEW__STORE__URI", "secret")])).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "environment CURFEW__STORE__URI: store.uri = \"[redacted]\": unknown key; did you mean `url`?"
        ),
        "{error}"
    );
}

#[test]
fn a_wrong_value_is_reported_with_its_origin_and_a_hint() {
    for (text, expected) in [
        (
            "policies: {default: {idle: 15 parsecs}}",
            r#"curfew.yaml: policies.default.idle = "15 parsecs": not a duration; write one like "15m", "12h" or "1h 30m""#,
        ),
        (
            "policies: {default: {idle: 900}}",
            r#"curfew.yaml: policies.default.idle = "900": not a duration; write one like "15m", "12h" or "1h 30m""#,
        ),
        (
            "policies: {default: {idle: 0s}}",
            r#"curfew.yaml: policies.default.idle = "0s": must be between 1s and 1year 1month 4days 7h 26m 24s"#,
        ),
        (
            "policies: {default: {idle: 2h, absolute: 1h}}",
            r#"curfew.yaml: policies.default.idle = "2h": is longer than policies.default.absolute (1h), so it would never end a session"#,
        ),
        (
            "policies: {default: {max_auth_age: 13h}}",
            r#"curfew.yaml: policies.default.max_auth_age = "13h": is longer than policies.default.absolute (12h), so it would never be reached"#,
        ),
        (
            "policies: {default: {touch_interval: 8m}}",
            r#"curfew.yaml: policies.default.touch_interval = "8m": must be less than half of the shortest idle limit (7m 30s), because a session can end earlier than its idle limit by up to the touch interval"#,
        ),
        (
            "policies: {default: {activity: all}}",
            r#"curfew.yaml: policies.default.activity = "all": must be `any`, `navigation` or `explicit`"#,
        ),
        (
            "policies: {Strict: {}}",
            "curfew.yaml: policies.Strict: a policy name must have 1 to 64 characters from a-z, 0-9, `-` and `_`",
        ),
        (
            "{default_policy: strict, policies: {lax: {}}}",
            r#"curfew.yaml: default_policy = "strict": is not one of the policies: lax"#,
        ),
        (
            "listen: {check: localhost}",
            r#"curfew.yaml: listen.check = "localhost": not an address and port such as 127.0.0.1:9180 or [::]:9180"#,
        ),
        (
            "listen: {check: '127.0.0.1:1', ops: '127.0.0.1:1'}",
            r#"curfew.yaml: listen.ops = "127.0.0.1:1": another listener has the same address"#,
        ),
        (
            "log: {format: xml}",
            r#"curfew.yaml: log.format = "xml": must be `human` or `json`"#,
        ),
        (
            "log: {filter: 'loud!!'}",
            r#"curfew.yaml: log.filter = "loud!!": not a level (error, warn, info, debug, trace) or directives such as info,curfew=debug"#,
        ),
        (
            "token: {bearer: maybe}",
            r#"curfew.yaml: token.bearer = "maybe": expected a boolean"#,
        ),
        (
            "policies: 5",
            r#"curfew.yaml: policies = "5": expected a map"#,
        ),
        (
            "store: {max_sessions: 0}",
            r#"curfew.yaml: store.max_sessions = "0": must be at least 1"#,
        ),
        (
            "end_retention: 1s",
            r#"curfew.yaml: end_retention = "1s": must be between 1m and 30days"#,
        ),
        (
            "store: {url: 'postgres://localhost'}",
            r#"curfew.yaml: store.url = "postgres://localhost": must be `memory:`, `redis://host:6379/0`, `redis+sentinel://host:26379,host:26379/name`, `redis+cluster://host:6379,host:6379`, or one of these with `rediss` for TLS"#,
        ),
        (
            "store: {username: curfew}",
            r#"curfew.yaml: store.username = "curfew": needs Redis, but store.url is `memory:`"#,
        ),
        (
            "cookie: {same_site: none, secure: false, name: s}",
            r#"curfew.yaml: cookie.same_site = "none": `none` needs cookie.secure = true: otherwise browsers refuse the cookie"#,
        ),
        (
            "cookie: {name: 'a b'}",
            r#"curfew.yaml: cookie.name = "a b": must be 1 to 128 letters, digits or !#$%&'*+-.^_`|~ (RFC 6265 section 4.1.1)"#,
        ),
        (
            "admin: {token_hashes: [abc]}",
            "curfew.yaml: admin.token_hashes: must be SHA-256 hashes of 64 hexadecimal digits; `curfew keygen --admin` makes a token and its hash",
        ),
    ] {
        assert_eq!(problems(text), expected);
    }
}

#[test]
fn cookie_prefixes_follow_the_rules_of_browsers() {
    for text in [
        "cookie: {domain: example.com}",
        "cookie: {path: /app}",
        "cookie: {secure: false}",
        "cookie: {name: __hOST-x, secure: false}",
        "cookie: {name: __Secure-x, secure: false}",
    ] {
        assert!(problems(text).contains("cookie.name"), "{text}");
    }
    assert!(load_yaml("cookie: {name: __Secure-session, domain: example.com}").is_ok());
}

#[test]
fn one_error_reports_all_mistakes() {
    let errors =
        problems("{log: {format: xml}, end_retention: soon, policies: {default: {idle: x}}}");
    assert_eq!(errors.lines().count(), 3, "{errors}");
}

#[test]
fn sessions_in_redis_need_keys_and_an_admin_token() {
    let errors = problems("store: {url: 'redis://localhost'}");
    assert!(
        errors.contains("default: token.keys: is missing"),
        "{errors}"
    );
    assert!(errors.contains("curfew keygen"), "{errors}");
    assert!(errors.contains("admin.token_hashes"), "{errors}");
    let hash = "ab".repeat(32);
    let redis = format!(
        "{{store: {{url: 'redis://localhost'}}, admin: {{token_hashes: {hash}}}, token: {{keys: {SIGNING_KEY}}}}}"
    );
    assert!(matches!(
        load_yaml(&redis).unwrap().config.store,
        StoreConfig::Redis { .. }
    ));
}

#[test]
fn admin_tokens_come_from_a_list_and_a_file() {
    let (one, two) = ("0a".repeat(32), "1B".repeat(32));
    let hashes = write_file("hashes", &format!("# of the application\n{two} # new\n"));
    let path = hashes.path.display();
    let text = format!("admin: {{token_hashes: {one}, token_hashes_file: {path}}}");
    let loaded = load_yaml(&text).unwrap();
    let tokens = [[0x0a; 32], [0x1b; 32]].map(NamedToken::unnamed);
    assert_eq!(loaded.config.admin.tokens, tokens);
    assert_eq!(tokens[0].name, "0a0a0a0a");
    let wrong = write_file("wrong", "secret\n");
    let errors = problems(&format!(
        "admin: {{token_hashes_file: {}}}",
        wrong.path.display()
    ));
    assert!(
        errors.contains("admin.token_hashes_file") && errors.contains("must be SHA-256"),
        "{errors}"
    );
    assert!(!errors.contains("secret"), "{errors}");
}

#[test]
fn keys_come_from_a_list_the_environment_or_a_file() {
    let other = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";
    let names = |loaded: Loaded| {
        loaded
            .config
            .key_ring
            .unwrap()
            .public_ids()
            .collect::<Vec<_>>()
    };
    let from_list =
        names(load_yaml(&format!("token: {{keys: [{SIGNING_KEY}, {other}]}}")).unwrap());
    assert_eq!(from_list.len(), 2);
    let keys = format!("{SIGNING_KEY},{other}");
    let set = environment(&[("CURFEW__TOKEN__KEYS", &keys)]);
    assert_eq!(names(load(None, &set).unwrap()), from_list);
    let ring = write_file(
        "ring",
        &format!("# current\n{SIGNING_KEY}\n{other} # old\n\n"),
    );
    let path = ring.path.display();
    assert_eq!(
        names(load_yaml(&format!("token: {{keys_file: {path}}}")).unwrap()),
        from_list
    );
    assert!(
        problems("token: {keys_file: /nowhere}")
            .contains("token.keys_file = \"/nowhere\": can't be read")
    );
}

#[test]
fn files_that_cannot_be_read_are_reported_by_name() {
    let missing = load(
        Some(&PathBuf::from("/nowhere/curfew.yaml")),
        &Environment::new(),
    );
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("/nowhere/curfew.yaml: No such file")
    );
    let json_file = write_file("curfew.json", "{}");
    let error = load(Some(&json_file.path), &Environment::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the name of a configuration file must end in .yaml, .yml or .toml")
    );
    assert!(
        problems("a: [1\nb").contains("curfew.yaml"),
        "{}",
        problems("a: [1\nb")
    );
}

/// Checks that the error is reported, and the process does not crash.
#[test]
fn deeply_nested_and_huge_files_are_rejected() {
    let deep: String = (0..2000)
        .map(|level| format!("{}a:\n", " ".repeat(level)))
        .collect();
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        laughs += &format!("a{level}: &a{level} [{before}]\n");
    }
    for (text, expected) in [
        (deep, "line 101: the YAML is nested more than 100"),
        (
            laughs,
            "more than 64 MiB after the expansion of its aliases",
        ),
    ] {
        let error = load_text(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
