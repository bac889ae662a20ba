//! Admin tokens with names and rights.

use super::*;
use crate::credential::Right;

fn hash(byte: &str) -> String {
    byte.repeat(32)
}

#[test]
fn tokens_have_names_and_rights() {
    let (one, two, three) = (hash("0a"), hash("1b"), hash("2c"));
    let hashes = write_file(
        "hashes",
        &format!("{two} backup read # at night\n{three} support read,revoke\n"),
    );
    let text = format!(
        "admin: {{token_hashes: [{}, {{name: deploy-job, hash: {one}, allow: [create]}}], token_hashes_file: {}}}",
        hash("3d"),
        hashes.path.display()
    );
    let loaded = load_yaml(&text).unwrap();
    let tokens: Vec<(&str, &[Right])> = loaded
        .config
        .admin
        .tokens
        .iter()
        .map(|token| (&*token.name, &*token.rights))
        .collect();
    assert_eq!(
        tokens,
        [
            ("3d3d3d3d", &Right::ALL[..]),
            ("deploy-job", &[Right::Create]),
            ("backup", &[Right::Read]),
            ("support", &[Right::Read, Right::Revoke]),
        ]
    );
    // The effective configuration contains the names and can be read again.
    let effective_text = toml::to_string(&loaded.effective).unwrap();
    assert!(effective_text.contains("deploy-job"), "{effective_text}");
    // The same hash in the list and in the file is one token.
    let text = format!(
        "admin: {{token_hashes: [{two}], token_hashes_file: {}}}",
        write_file("again", &format!("{two}\n")).path.display()
    );
    assert!(
        problems(&text).contains("can't be read"),
        "the error must name the missing file"
    );
    let hash_file = write_file("again", &two);
    let text = format!(
        "admin: {{token_hashes: [{two}], token_hashes_file: {}}}",
        hash_file.path.display()
    );
    assert_eq!(load_yaml(&text).unwrap().config.admin.tokens.len(), 1);
}

#[test]
fn mistakes_in_tokens_are_reported_with_key_value_and_hint() {
    let (one, two) = (hash("0a"), hash("1b"));
    for (entries, expected) in [
        (
            format!("{{name: a, hash: {one}, allow: [reed]}}"),
            r#"admin.token_hashes.0.allow: "reed" is not a right: write a list of `read`, `revoke` and `create`"#,
        ),
        (
            format!("{{name: a, hash: {one}, allow: reed}}"),
            r#"admin.token_hashes.0.allow = "reed": "reed" is not a right"#,
        ),
        (
            format!("{{name: a, hash: {one}, allow: []}}"),
            "admin.token_hashes.0.allow: is missing or empty: write a list of",
        ),
        (
            format!("{{name: a, hash: {one}}}"),
            "admin.token_hashes.0.allow: is missing or empty",
        ),
        (
            format!("{{name: 'a b', hash: {one}, allow: read}}"),
            r#"admin.token_hashes.0.name = "a b": must be 1 to 64 letters"#,
        ),
        (
            format!("{{hash: {one}, allow: read}}"),
            "admin.token_hashes.0.name: must be 1 to 64 letters",
        ),
        (
            "{name: a, hash: hunter2, allow: read}".to_owned(),
            "admin.token_hashes.0.hash = \"[redacted]\": must be SHA-256 hashes",
        ),
        (
            format!("{{name: a, hash: {one}, allow: read}}, {{name: a, hash: {two}, allow: read}}"),
            r#"admin.token_hashes.1.name = "a": "a" is also the name of another token"#,
        ),
        (
            format!("{{name: a, hash: {one}, allow: read}}, {one}"),
            "admin.token_hashes: is also the hash of \"a\"",
        ),
        (
            format!("{{name: a, hash: {one}, allows: read}}"),
            "admin.token_hashes.0.allows = \"read\": unknown key; did you mean `allow`?",
        ),
    ] {
        let errors = problems(&format!("admin: {{token_hashes: [{entries}]}}"));
        assert!(errors.contains(expected), "{entries}\n{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
    for line in [
        format!("{one} backup"),
        format!("{one} backup reed"),
        format!("{one} back/up read"),
        format!("{one} backup read revoke"),
        "hunter2 backup read".to_owned(),
    ] {
        let hashes = write_file("hashes", &line);
        let text = format!("admin: {{token_hashes_file: {}}}", hashes.path.display());
        let errors = problems(&text);
        assert!(
            errors.contains("write a hash alone, or a hash, a name and rights"),
            "{errors}"
        );
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn the_console_has_separate_limits() {
    use std::time::Duration;

    let limits = |text: &str| {
        let loaded = load_yaml(text).unwrap();
        let limits = loaded.config.rulebook.policies.console().limits;
        (limits.idle.unwrap(), limits.absolute)
    };
    let minutes = |count: u64| Duration::from_secs(60 * count);
    assert_eq!(limits("admin: {}"), (minutes(15), minutes(480)));
    assert_eq!(
        limits("admin: {console: {idle: 5m, absolute: 1h}}"),
        (minutes(5), minutes(60))
    );
    // A preset only shortens the defaults.
    assert_eq!(
        limits("admin: {console: {preset: owasp-high}}"),
        (minutes(5), minutes(240))
    );
    assert_eq!(
        limits("admin: {console: {preset: nist-aal1}}"),
        (minutes(15), minutes(480))
    );
    for (text, expected) in [
        (
            "admin: {console: {idle: off}}",
            "admin.console.idle = \"off\": not a duration",
        ),
        (
            "admin: {console: {idle: 0s}}",
            "admin.console.idle = \"0s\": must be between 1s and 1day",
        ),
        (
            "admin: {console: {absolute: 31d}}",
            "admin.console.absolute = \"31d\": must be between",
        ),
        (
            "admin: {console: {idle: 2h, absolute: 1h}}",
            "admin.console.idle = \"2h\": is longer than admin.console.absolute (1h)",
        ),
        (
            "admin: {console: {preset: pci-dss, idle: 30m}}",
            "admin.console.idle = \"30m\": is looser than the preset pci-dss allows (15m",
        ),
        (
            "admin: {console: {preset: none}}",
            "admin.console.preset = \"none\": is not one of the presets",
        ),
        (
            "admin: {trusted_proxies: 101}",
            "admin.trusted_proxies = \"101\": must be the number of your proxies",
        ),
        (
            "{policies: {curfew-console: {}}, default_policy: curfew-console}",
            "policies.curfew-console: is the policy of the console: choose another name",
        ),
    ] {
        let errors = problems(text);
        assert!(errors.contains(expected), "{text}\n{errors}");
    }
    load_yaml(
        "admin: {console: {preset: pci-dss, idle: 30m, deviation_reason: a wall of screens}}",
    )
    .unwrap();
}
