//! Errors and output show no secret.

use super::*;

#[test]
fn errors_and_output_contain_no_secret() {
    let secret = "hunter2hunter2";
    for text in [
        format!("token: {{keys: {secret}}}"),
        format!("token: {{keys: [{secret}]}}"),
        format!("store: {{password: {secret}}}"),
        format!("store: {{url: 'redis://user:{secret}@[::1'}}"),
        format!("store: {{url: 'redys://user:{secret}@localhost'}}"),
        format!("store: {{url: 'redis://user:{secret}@localhost', password: [{secret}]}}"),
        format!("store: {{passwort: {secret}}}"),
        format!("store: {{passwd: {secret}}}"),
        format!("store: {{secret: {secret}}}"),
        format!("store: {{uri: 'redis://user:{secret}@localhost'}}"),
        format!("admin: {{token_hash: {secret}}}"),
        format!("admin: {{token_hashes: {secret}}}"),
        format!("admin: {{token: {secret}}}"),
        format!("token: {{key: {secret}}}"),
        format!("delegated: {{services: {{a: {{url: 'ftp://user:{secret}@a/'}}}}}}"),
        format!("login: {{url: 'ftp://user:{secret}@a'}}"),
        format!("login: {{providers: {{a: {{issuer: 'ftp://user:{secret}@a'}}}}}}"),
        format!("sign_in: {{url: 'ftp://user:{secret}@a'}}"),
        format!("jwt: {{issuers: {{a: {{jwks_url: 'ftp://user:{secret}@a'}}}}}}"),
        format!("traces: {{endpoint: 'ftp://user:{secret}@a'}}"),
        format!("admin: {{url: 'ftp://user:{secret}@a'}}"),
        format!("events: {{webhook_url: 'ftp://user:{secret}@a'}}"),
        format!("login: {{url: 'https://user:{secret}@a:99999'}}"),
        format!("sign_in: {{url: 'https://{secret}@a:99999'}}"),
        format!("admin: {{url: 'https://{secret}@a'}}"),
        "token: {keys: 1234567890}".to_owned(),
        format!("{{store: {{url: 'redis://user:{secret}@localhost'}}, token: {{keys: {secret}}}}}"),
    ] {
        let errors = problems(&text);
        assert!(
            !errors.contains(secret) && !errors.contains("1234567890"),
            "{errors}"
        );
    }
    // A URL that Curfew prints must not contain a password.
    for text in [
        format!("delegated: {{services: {{a: {{url: 'https://user:{secret}@a/'}}}}}}"),
        format!("login: {{url: 'https://user:{secret}@a'}}"),
        format!("login: {{providers: {{a: {{issuer: 'https://user:{secret}@a'}}}}}}"),
        format!("sign_in: {{url: 'https://user:{secret}@a'}}"),
        format!("jwt: {{issuers: {{a: {{jwks_url: 'https://user:{secret}@a'}}}}}}"),
        format!("traces: {{endpoint: 'https://user:{secret}@a'}}"),
        format!("admin: {{url: 'https://user:{secret}@a'}}"),
    ] {
        match load_yaml(&text) {
            Err(_) => assert!(!problems(&text).contains(secret), "{text}"),
            Ok(loaded) => {
                let output = toml::to_string(&loaded.effective).unwrap();
                assert!(!output.contains(secret), "{output}");
            }
        }
    }
    let hash = "ab".repeat(32);
    let complete_config = format!(
        "{{store: {{url: 'redis://user:{secret}@localhost', password: {secret}}}, \
         admin: {{token_hashes: {hash}}}, token: {{keys: {SIGNING_KEY}}}}}"
    );
    let loaded = load_yaml(&complete_config).unwrap();
    let output = toml::to_string(&loaded.effective).unwrap();
    for secret in [secret, SIGNING_KEY] {
        assert!(!output.contains(secret), "{output}");
        assert!(
            !format!("{loaded:?}").contains(secret),
            "the debug output must not contain a secret"
        );
    }
    assert!(
        output.contains("redis://user:redacted@localhost"),
        "{output}"
    );
}

#[test]
fn the_effective_configuration_is_complete_and_can_be_read_again() {
    let loaded = load_yaml("policies: {default: {idle: 5m}, forever: {idle: off}}").unwrap();
    let text = toml::to_string(&loaded.effective).unwrap();
    let again = load(
        Some(&write_file("effective.toml", &text).path),
        &Environment::new(),
    )
    .unwrap();
    assert_eq!(toml::to_string(&again.effective).unwrap(), text);
    assert!(text.contains("[policies.default]\nidle = \"5m\"\nabsolute = \"12h\"\ntouch_interval = \"5s\"\nactivity = \"any\"\n"), "{text}");
    assert!(
        text.contains("[policies.forever]\nidle = \"off\"\n"),
        "{text}"
    );
}
