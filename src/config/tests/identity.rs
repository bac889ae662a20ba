//! Delegated authorization services, identity headers and assertions.

use super::*;
use crate::credential::delegated::SessionKey;
use crate::policy::MaxAge;

/// Loads `text` with the policies `default` and `apps`.
fn load_with_policies(text: &str) -> Loaded {
    load_yaml(&format!("policies: {{default: {{}}, apps: {{}}}}\n{text}")).unwrap()
}

/// Returns the problems of `text`, without the file name.
fn problems_without_file(text: &str) -> String {
    problems(text).replace("curfew.yaml: ", "")
}

#[test]
fn a_preset_fills_unset_keys() {
    let loaded = load_with_policies(
        "delegated: {services: {proxy: {preset: oauth2-proxy, url: 'http://p:4180/oauth2/auth', \
         lifetime: 1d, policy: apps, hosts: ['*.example.com']}, \
         authelia: {preset: authelia, url: 'http://a/api/authz/auth-request'}}}",
    );
    let [authelia, proxy] = &loaded.config.delegates[..] else {
        panic!("there should be two delegated services");
    };
    let key = SessionKey::Cookie {
        name: "_oauth2_proxy".to_owned(),
        delimiter: Some('|'),
    };
    assert_eq!(proxy.service.key, key);
    assert_eq!(proxy.service.user, "x-auth-request-user");
    assert_eq!(proxy.service.lifetime, Duration::from_secs(86_400));
    assert_eq!(proxy.policy.as_ref().unwrap().as_str(), "apps");
    assert_eq!(
        proxy.service.cleared_cookie.as_ref().unwrap(),
        "_oauth2_proxy=; HttpOnly; Path=/; Max-Age=0"
    );
    assert_eq!(authelia.service.user, "remote-user");
    // The effective configuration shows the values of the preset.
    let effective = serde_json::to_value(&loaded.effective).unwrap();
    let effective = &effective["delegated"]["services"]["proxy"];
    assert_eq!(effective["session_cookie_delimiter"], "|");
    assert_eq!(effective["user_header"], "x-auth-request-user");
}

#[test]
fn max_age_is_idle_if_the_service_reports_the_authentication_time() {
    let max_age = |more: &str| {
        let text =
            format!("delegated: {{services: {{s: {{preset: authelia, url: 'http://a/'{more}}}}}}}");
        load_with_policies(&text).config.delegates[0]
            .service
            .max_age
    };
    assert_eq!(max_age(""), MaxAge::Any);
    assert_eq!(max_age(", max_age: off"), MaxAge::Any);
    assert_eq!(max_age(", auth_time_header: x-time"), MaxAge::Idle);
    assert_eq!(max_age(", token_header: authorization"), MaxAge::Idle);
    assert_eq!(
        max_age(", token_header: authorization, max_age: off"),
        MaxAge::Any
    );
    let hours = max_age(", token_header: authorization, max_age: 8h");
    assert_eq!(hours, MaxAge::Of(Duration::from_secs(8 * 3600)));
}

#[test]
fn identity_headers_follow_presets_and_names() {
    let load_headers = |text: &str| load_with_policies(text).config.identity;
    let default_headers = load_headers("");
    assert_eq!(
        default_headers,
        crate::identity::IdentityHeaders::default_names()
    );
    let several = load_headers("identity: {presets: [remote, impersonate], user: X-WebAuth-User}");
    assert_eq!(
        several.user,
        ["remote-user", "impersonate-user", "x-webauth-user"]
    );
    assert_eq!(several.groups, ["remote-groups"]);
    assert_eq!(several.group_lines, ["impersonate-group"]);
    assert!(several.id.is_empty());
    for preset in [
        "x-session",
        "x-auth-request",
        "remote",
        "x-forwarded",
        "kubernetes",
        "impersonate",
    ] {
        let one = load_headers(&format!("identity: {{presets: {preset}}}"));
        assert_eq!(one.user.len(), 1, "{preset}");
        assert_eq!(one.groups.len() + one.group_lines.len(), 1, "{preset}");
    }
    let relayed = load_headers(
        "delegated: {services: {a: {preset: authelia, url: 'http://a/', pass_headers: [X-Token, Authorization]}}}",
    );
    assert_eq!(relayed.relayed, ["authorization", "x-token"]);
}

#[test]
fn mistakes_in_identity_settings_are_reported() {
    let service = |rest: &str| {
        format!("delegated: {{services: {{s: {{preset: authelia, url: 'http://a/'{rest}}}}}}}")
    };
    for (text, expected) in [
        (
            "delegated: {services: {s: {}}}".to_owned(),
            "delegated.services.s.url: not an absolute address",
        ),
        (
            "delegated: {services: {s: {url: 'http://a/'}}}".to_owned(),
            "delegated.services.s.session_cookie: set exactly one of",
        ),
        (
            "delegated: {services: {s: {url: 'http://a/'}}}".to_owned(),
            "delegated.services.s.user_header: is missing",
        ),
        (
            "delegated: {services: {s: {url: 'http://a/'}}}".to_owned(),
            "delegated.services.s.lifetime: is missing",
        ),
        (
            service(", preset: authentik").replace("preset: authelia, ", ""),
            "delegated.services.s.preset = \"authentik\": must be oauth2-proxy or authelia",
        ),
        (
            service(", session_claim: sid"),
            "delegated.services.s.session_claim = \"sid\": needs token_header",
        ),
        (
            service(", session_header: x-a, session_cookie: b"),
            "delegated.services.s.session_cookie = \"b\": set exactly one of",
        ),
        (
            service(", max_age: idle"),
            "delegated.services.s.max_age = \"idle\": needs token_header or auth_time_header",
        ),
        (
            service(", token_header: x-token, max_age: soon"),
            "delegated.services.s.max_age = \"soon\": must be `idle`, `off` or a duration such as 8h",
        ),
        (
            service(", auth_time_header: cookie"),
            "delegated.services.s.auth_time_header = \"cookie\": `cookie` is a reserved header",
        ),
        (
            service(", user_header: cookie"),
            "delegated.services.s.user_header = \"cookie\": `cookie` is a reserved header",
        ),
        (
            service(", user_header: 'a b'"),
            "delegated.services.s.user_header = \"a b\": not the name of a header",
        ),
        (
            service(", pass_headers: [set-cookie]"),
            "delegated.services.s.pass_headers: `set-cookie` is a reserved header",
        ),
        (
            service(", session_cookie_path: 'a;b'"),
            "delegated.services.s.session_cookie_path = \"a;b\": a cookie with this name",
        ),
        (
            service(", lifetime: 1s"),
            "delegated.services.s.lifetime = \"1s\": must be between",
        ),
        (
            service(", policy: x"),
            "delegated.services.s.policy = \"x\": is not one of the policies",
        ),
        (
            service(", hosts: 'https://a'"),
            "delegated.services.s.hosts = \"https://a\": must be a host",
        ),
        (
            "delegated: {services: {a: {preset: authelia, url: 'http://a/'}, b: {preset: authelia, url: 'http://a/'}}}".to_owned(),
            "delegated.services.b.hosts: is missing here and in delegated.services.a",
        ),
        (
            "delegated: {services: {a: {preset: authelia, url: 'http://a/', hosts: x.y}, b: {preset: authelia, url: 'http://a/', hosts: x.y}}}".to_owned(),
            "delegated.services.b.hosts = \"x.y\": x.y is also in delegated.services.a.hosts",
        ),
        ("identity: {presets: x}".to_owned(), "identity.presets = \"x\": must be one of x-session, "),
        (
            "identity: {user: set-cookie}".to_owned(),
            "identity.user = \"set-cookie\": `set-cookie` is a reserved header",
        ),
        (
            "identity: {groups: X-Session-User}".to_owned(),
            "identity.groups = \"X-Session-User\": `x-session-user` is also in identity.user",
        ),
        (
            "assertion: {key_files: /nowhere}".to_owned(),
            "assertion.key_files = \"/nowhere\": can't be read",
        ),
        (
            "assertion: {key_files: Cargo.toml}".to_owned(),
            "not a private key in PEM (PKCS #8) for Ed25519 or P-256",
        ),
        ("assertion: {lifetime: 2h}".to_owned(), "assertion.lifetime = \"2h\": must be between"),
    ] {
        let errors = problems_without_file(&text);
        assert!(errors.contains(expected), "{text}: {errors}");
    }
}

#[test]
fn assertions_are_signed_by_the_first_key() {
    let key = "crates/core/src/identity/assertion/p256-for-tests.pem";
    let other = "crates/core/src/identity/assertion/ed25519-for-tests.pem";
    assert!(load_with_policies("").config.assertion.is_none());
    let signer = load_with_policies(&format!("assertion: {{key_files: [{key}, {other}]}}"))
        .config
        .assertion;
    let signer = signer.unwrap();
    assert_eq!(signer.key.algorithm(), "ES256");
    assert_eq!(signer.other_keys.len(), 1);
    assert_eq!(signer.lifetime, Duration::from_secs(60));
}
