//! The session store, and the webhook for session ends.

use super::*;
use crate::config::StoreConfig;
use crate::policy::OnStoreFailure;
use crate::store::redis::{Password, Topology};

const BASE64_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Adds the admin token and the key that a configuration with Redis needs.
fn with_redis_secrets(text: &str) -> String {
    let hash = "a".repeat(64);
    format!("{{admin: {{token_hashes: {hash}}}, token: {{keys: {BASE64_KEY}}}, {text}}}")
}

#[test]
fn topologies_and_their_secrets_are_read() {
    let text = with_redis_secrets(
        "store: {url: 'redis+sentinel://curfew:pw@a,b:2/main/1', sentinel_password: spw, \
         wait_replicas: 1}, events: {stream: true}",
    );
    let loaded = load_yaml(&text).unwrap();
    let StoreConfig::Redis { settings, .. } = &loaded.config.store else {
        panic!("unexpected store: {:?}", loaded.config.store)
    };
    assert!(matches!(&settings.topology, Topology::Sentinel { name, .. } if name == "main"));
    assert_eq!((settings.database, settings.wait_replicas), (1, 1));
    assert_eq!(settings.stream_length, Some(100_000));
    assert!(matches!(&settings.password, Password::Inline(password) if password.expose() == "pw"));
    let effective_text = toml::to_string(&loaded.effective).unwrap();
    assert!(
        effective_text.contains("redis+sentinel://curfew:redacted@a,b:2/main/1"),
        "{effective_text}"
    );
    assert!(!effective_text.contains("spw"), "{effective_text}");
}

#[test]
fn conflicting_settings_are_rejected() {
    for (text, expected) in [
        (
            "store: {url: 'redis://a', sentinel_password: x}",
            "store.sentinel_password = \"[redacted]\": needs a store.url with redis+sentinel://",
        ),
        (
            "store: {url: 'redis://a', cert_file: /x}",
            "store.cert_file = \"/x\": needs rediss:// (TLS)",
        ),
        (
            "store: {url: 'rediss://a', cert_file: /dev/null}",
            "store.cert_file = \"/dev/null\": needs the key of this certificate in store.key_file",
        ),
        (
            "store: {url: 'redis+cluster://a/3'}",
            "store.url = \"redis+cluster://a/3\": must contain no database",
        ),
        (
            "store: {url: 'redis://a', password: x, password_file: /dev/null}",
            "store.password_file = \"/dev/null\": conflicts with store.password",
        ),
        (
            "store: {url: 'redis://a', password_file: /nonexistent}",
            "store.password_file = \"/nonexistent\": can't be read",
        ),
        (
            "store: {wait_replicas: 1}",
            "store.wait_replicas = \"1\": needs Redis",
        ),
        (
            "events: {stream: true}",
            "events.stream = \"true\": needs Redis",
        ),
        (
            "store: {url: 'redis://a'}, events: {stream: true, stream_length: 0}",
            "events.stream_length = \"0\": must be at least 1",
        ),
        (
            "policies: {default: {on_store_failure: allow}}",
            "policies.default.on_store_failure = \"allow\": must be `deny` or `known`",
        ),
        (
            "policies: {default: {store_failure_grace: 1m}}",
            "policies.default.store_failure_grace = \"1m\": needs policies.default.on_store_failure",
        ),
    ] {
        let errors = problems(&with_redis_secrets(text));
        assert!(errors.contains(expected), "{text}: {errors}");
    }
}

#[test]
fn known_sessions_have_a_grace_period() {
    let policies = "policies: {default: {on_store_failure: known}, \
                    other: {on_store_failure: known, store_failure_grace: 5m}}";
    let loaded = load_yaml(policies).unwrap();
    for (name, minutes) in [("default", 1), ("other", 5)] {
        let (_, policy) = loaded.config.rulebook.policies.get(name).unwrap();
        let grace = Duration::from_secs(60 * minutes);
        assert_eq!(policy.on_store_failure, OnStoreFailure::Known { grace });
    }
}

#[test]
fn a_webhook_is_signed() {
    let text = format!(
        "events: {{webhook_url: 'https://siem.example.com/h?key=abc', webhook_secret: whsec_{BASE64_KEY}}}"
    );
    let loaded = load_yaml(&text).unwrap();
    let webhook = loaded.config.webhook.unwrap();
    assert_eq!(webhook.secret.expose(), b"0123456789abcdef0123456789abcdef");
    let effective_text = toml::to_string(&loaded.effective).unwrap();
    assert!(
        !effective_text.contains(BASE64_KEY) && !effective_text.contains("abc\""),
        "{effective_text}"
    );
    for (text, expected) in [
        (
            "{webhook_url: 'https://a/'}",
            "events.webhook_secret: is missing",
        ),
        (
            "{webhook_secret: x}",
            "events.webhook_secret = \"[redacted]\": needs events.webhook_url",
        ),
        (
            "{webhook_url: 'https://a/', webhook_secret: c2hvcnQ=}",
            "events.webhook_secret = \"[redacted]\": must be base64 of at least 24 bytes",
        ),
        (
            "{webhook_url: 'ftp://a/', webhook_secret: x}",
            "events.webhook_url = \"ftp://a/\": not an absolute address",
        ),
    ] {
        let errors = problems(&format!("events: {text}"));
        assert!(errors.contains(expected), "{text}: {errors}");
    }
}
