//! Rules, and other settings that apply to requests.

use http::Method;

use super::*;
use crate::policy::{Access, Contract, RequestTarget, RuleActivity, Rules};

/// Loads the rules of `text`, with an additional policy `payments`.
fn load_rules(text: &str) -> Rules {
    let loaded = load_yaml(&with_payments(text)).unwrap();
    loaded.config.rulebook.rules
}

/// Adds the policies `default` and `payments` to `text`.
fn with_payments(text: &str) -> String {
    format!("policies: {{default: {{}}, payments: {{}}}}\n{text}\n")
}

/// Returns the problems of a configuration with these rules, without the file name.
fn problems_of_rules(text: &str) -> String {
    problems(&with_payments(text)).replace("curfew.yaml: ", "")
}

#[test]
fn all_keys_of_a_rule_are_read() {
    let rules = load_rules(
        "rules:
  - host: [app.example.com, '*.shop.example.com']
    path: /a
    path_prefix: /b/
    path_glob: /c/**/d
    method: [GET, PROPFIND]
    contract: spoe
    policy: payments
    activity: passive
    groups: [x, y, 'z, w']
    cors_preflight: public
  - path_ambiguous: true
  - path: '/with, comma'
    access: public",
    );
    let [first, ambiguous, comma] = rules.as_slice() else {
        panic!("there should be three rules");
    };
    assert_eq!(
        first.conditions.to_string(),
        "host app.example.com, *.shop.example.com; path /a, /b/…, /c/**/d; method GET, PROPFIND; contract spoe"
    );
    let terms = &first.terms;
    assert_eq!(terms.policy.as_ref().unwrap().as_str(), "payments");
    assert_eq!(terms.access, Access::Protected);
    assert_eq!(terms.activity, RuleActivity::Passive);
    assert_eq!(
        terms.groups,
        ["x", "y", "z, w"],
        "a comma is part of a name here"
    );
    assert_eq!(terms.cors_preflight, Access::Public);
    assert_eq!(ambiguous.index, 1);
    assert_eq!(ambiguous.terms.cors_preflight, Access::Protected);
    assert_eq!(comma.conditions.to_string(), "path /with, comma");
    assert_eq!(comma.terms.access, Access::Public);
}

#[test]
fn preflights_follow_the_rule_or_the_global_setting() {
    let rules = load_rules(
        "cors_preflight: public
rules:
  - {path: /a, cors_preflight: protected}
  - {path: /b}",
    );
    let preflight = |path: &str| {
        let target = RequestTarget {
            host: "a",
            path: path.as_bytes(),
            method: &Method::OPTIONS,
            contract: Contract::Spoe,
        };
        rules
            .find(&target.normalize())
            .unwrap()
            .terms
            .cors_preflight
    };
    assert_eq!(preflight("/a"), Access::Protected);
    assert_eq!(preflight("/b"), Access::Public);
    assert_eq!(preflight("/c"), Access::Public);
}

#[test]
fn known_pollers_are_passive_on_their_polling_paths() {
    let rules = load_rules("rules: [{host: grafana.example.com, pollers: grafana}]");
    let is_passive = |host: &str, method: Method, path: &str| {
        let target = RequestTarget {
            host,
            path: path.as_bytes(),
            method: &method,
            contract: Contract::AuthRequest,
        };
        rules.find(&target.normalize()).unwrap().terms.activity == RuleActivity::Passive
    };
    assert!(is_passive(
        "grafana.example.com",
        Method::GET,
        "/api/live/ws"
    ));
    assert!(!is_passive(
        "grafana.example.com",
        Method::POST,
        "/api/live/ws"
    ));
    assert!(!is_passive("grafana.example.com", Method::GET, "/d/abc"));
    assert!(!is_passive(
        "other.example.com",
        Method::GET,
        "/api/live/ws"
    ));
    assert!(rules.as_slice().iter().all(|rule| rule.index == 0));
    let with_prefix = load_rules("rules: [{path_prefix: '/ci/', pollers: jenkins}]");
    let paths: Vec<String> = with_prefix
        .as_slice()
        .iter()
        .map(|rule| rule.conditions.to_string())
        .collect();
    assert_eq!(paths[0], "path /ci/**/ajaxBuildQueue; method GET");
}

#[test]
fn mistakes_in_rules_are_reported_with_their_key() {
    for (text, expected) in [
        (
            "rules: [{hosts: a}]",
            "rules.0.hosts = \"a\": unknown key; did you mean `host`?",
        ),
        ("rules: [{host: 'https://a'}]", "rules.0.host"),
        (
            "rules: [{}, {path: /}]",
            "rules.1: is never reached: rules.0 matches every request",
        ),
        (
            "rules: [{host: [good.example, 'bad:80']}]",
            "rules.0.host.1 = \"bad:80\": must be a host such as app.example.com",
        ),
        (
            "rules: [{path: /}, {path: /a/../b}]",
            "rules.1.path = \"/a/../b\": no request can match this pattern: segment . or ..",
        ),
        (
            "rules: [{path_prefix: a}]",
            "rules.0.path_prefix = \"a\": no request can match this pattern: no leading slash",
        ),
        (
            "rules: [{path_glob: '/[a'}]",
            "rules.0.path_glob = \"/[a\": invalid glob: unclosed",
        ),
        (
            "rules: [{method: get}]",
            "rules.0.method = \"get\": must be a method in capitals",
        ),
        (
            "rules: [{contract: nginx}]",
            "rules.0.contract = \"nginx\": must be one of auth-request, forward-auth, ext-authz, ext-authz-grpc, spoe",
        ),
        (
            "rules: [{policy: pay}]",
            "rules.0.policy = \"pay\": is not one of the policies: default, payments",
        ),
        (
            "rules: [{access: open}]",
            "rules.0.access = \"open\": must be `protected` or `public`",
        ),
        (
            "rules: [{activity: navigation}]",
            "rules.0.activity = \"navigation\": must be `touch` or `passive`",
        ),
        (
            "rules: [{path: /a, access: public, groups: x}]",
            "rules.0.groups = \"x\": has no effect where access is public",
        ),
        (
            "rules: [{path: /a, access: public, policy: payments}]",
            "rules.0.policy = \"payments\": has no effect where access is public",
        ),
        (
            "rules: [{path_ambiguous: true, access: public}]",
            "rules.0.access = \"public\": must not be public for ambiguous paths",
        ),
        (
            "rules: [{path_ambiguous: true, path: /a}]",
            "rules.0.path_ambiguous = \"true\": cannot be combined with other path conditions",
        ),
        (
            "rules: [{pollers: [grafana, graphana]}]",
            "rules.0.pollers.1 = \"graphana\": is not a known application: ",
        ),
        (
            "rules: [{pollers: grafana, path: /a}, {pollers: grafana, path_prefix: [/a, /b]}]",
            "rules.0.pollers = \"grafana\": sets paths and methods itself",
        ),
        (
            "rules: [{pollers: grafana, activity: touch}]",
            "rules.0.pollers = \"grafana\": makes requests protected and passive",
        ),
        (
            "cors_preflight: maybe",
            "cors_preflight = \"maybe\": must be `protected` or `public`",
        ),
        (
            "client_address: {header: 'a b'}",
            "client_address.header = \"a b\": must be the name of a header",
        ),
        (
            "client_address: {trusted_proxies: 0}",
            "client_address.trusted_proxies = \"0\": must be between 1 and 100",
        ),
        (
            "activity: {background_headers: {'x y': '1'}}",
            "is not the name of a header",
        ),
        (
            "activity: {background_headers: {x-poll: ''}}",
            "activity.background_headers.x-poll = \"\": must be a value of this header",
        ),
    ] {
        let errors = problems_of_rules(text);
        assert!(errors.contains(expected), "{text}: {errors}");
    }
    let all = problems_of_rules("rules: [{method: get, host: 'a b'}, {policy: pay}]");
    assert_eq!(
        all.lines().count(),
        3,
        "every mistake must be reported: {all}"
    );
}

#[test]
fn rules_in_a_toml_file_are_read() {
    let file = write_file(
        "curfew.toml",
        "[[rules]]\npath = \"/open\"\naccess = \"public\"\n\n[[rules]]\nhost = [\"a\", \"b\"]\n",
    );
    let loaded = load(Some(&file.path), &Environment::new()).unwrap();
    assert_eq!(loaded.config.rulebook.rules.as_slice().len(), 2);
    let text = toml::to_string(&loaded.effective).unwrap();
    assert!(
        text.contains("[[rules]]\npath = [\"/open\"]\naccess = \"public\"\n"),
        "{text}"
    );
}

/// Checks that the example in `deploy/` is valid, and that Curfew can read its own output of the example.
#[test]
fn the_example_is_a_valid_configuration() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/curfew/curfew.yaml");
    let loaded = load(Some(&PathBuf::from(path)), &Environment::new()).unwrap();
    let text = toml::to_string(&loaded.effective).unwrap();
    let again = load(
        Some(&write_file("again.toml", &text).path),
        &Environment::new(),
    )
    .unwrap();
    assert_eq!(toml::to_string(&again.effective).unwrap(), text);
    assert!(loaded.config.rulebook.rules.as_slice().len() >= 7);
}

#[test]
fn a_named_host_denies_all_unknown_hosts() {
    let provider =
        "providers: {main: {issuer: 'https://id.example.com', client_id: a, client_secret: b}}";
    for (text, named) in [
        ("rules: [{path: /a, access: public}]".to_owned(), &[][..]),
        ("hosts: [app.example.com, '*.shop.example.com']".to_owned(), &["app.example.com", "*.shop.example.com"]),
        ("rules: [{host: a.example.com, access: public}]".to_owned(), &["a.example.com"]),
        (
            "sign_in: {url: 'https://login.example.com/', allowed_hosts: ['b.example.com:8443', '*.c.example.com']}"
                .to_owned(),
            &["b.example.com", "*.c.example.com"],
        ),
        (
            format!("login: {{url: 'https://d.example.com', {provider}}}"),
            &["d.example.com"],
        ),
        (
            "delegated: {services: {it: {preset: authelia, url: 'http://e/', hosts: [f.example.com], lifetime: 1d}}}"
                .to_owned(),
            &["f.example.com"],
        ),
    ] {
        let loaded = load_yaml(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let hosts = loaded.config.rulebook.hosts;
        let found: Vec<String> = hosts.patterns().collect();
        assert_eq!(found, named, "{text}");
        assert_eq!(hosts.admit("other.example"), named.is_empty(), "{text}");
        let allowing = load_yaml(&format!("{text}\nunknown_hosts: allow")).unwrap();
        assert!(allowing.config.rulebook.hosts.admit("other.example"), "{text}");
    }
    assert_eq!(
        problems("unknown_hosts: never"),
        "curfew.yaml: unknown_hosts = \"never\": must be `deny` or `allow`"
    );
    let wrong = problems("hosts: ['https://app.example.com']");
    assert!(wrong.starts_with("curfew.yaml: hosts.0"), "{wrong}");
}
