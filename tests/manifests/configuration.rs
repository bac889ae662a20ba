//! Tests the JSON schema of Curfew's configuration, which editors use.

use std::process::{Command, Output};

use curfew::config::{ConfigSource, Environment};

use crate::support::deployment::installed_path;

const SCHEMA: &str = "deploy/curfew/curfew.schema.json";

fn validate_with_schema(file: &str) -> Output {
    Command::new(installed_path("bin/node"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tests/manifests/schema.mjs", SCHEMA, file])
        .output()
        .unwrap()
}

#[test]
fn the_example_configuration_matches_the_schema() {
    let output = validate_with_schema("deploy/curfew/curfew.yaml");
    let mistakes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{mistakes}");
}

#[test]
fn the_schema_and_the_program_accept_the_same_configurations() {
    let dir = tempfile::tempdir().unwrap();
    for (number, (text, is_valid)) in [
        ("", true),
        ("store: {url: 'redis://a:1/0'}\ntoken: {keys: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8}\nadmin: {token_hashes: [e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855]}", true),
        ("policies: {default: {idle: 15m, absolute: 1h 30m}}", true),
        ("policies: {default: {idle: off}}", true),
        ("policies: {default: {bind: [address], bind_ipv4_bits: 32, variants: [{groups: a, idle: 1m}]}}", true),
        ("policies: {default: {remember: {idle: 14d, absolute: 30d}}}", true),
        ("rules: [{host: [a, '*.b.c'], path_prefix: /x, access: public}]", true),
        ("rules: [{pollers: grafana}]", true),
        ("activity: {background_headers: {x-poll: '1'}}", true),
        ("listen: {spoe: '127.0.0.1:9182', grpc: 'off'}", true),
        ("stroe: {}", false),
        ("policies: {default: {idel: 15m}}", false),
        ("policies: {default: {idle: soon}}", false),
        ("policies: {default: {absolute: off}}", false),
        ("policies: {default: {activity: all}}", false),
        ("policies: {default: {max_sessions: many}}", false),
        ("policies: {default: {remember: 14d}}", false),
        ("policies: {default: {variants: {groups: a}}}", false),
        ("rules: {host: a}", false),
        ("rules: [{hosts: a}]", false),
        ("rules: [{path: /a, access: open}]", false),
        ("rules: [{path_ambiguous: perhaps}]", false),
        ("cors_preflight: maybe", false),
        ("client_address: {trusted_proxies: -1}", false),
        ("store: {max_sessions: few}", false),
        ("log: {format: xml}", false),
    ]
    .into_iter()
    .enumerate()
    {
        let file = dir.path().join(format!("{number}.yaml"));
        std::fs::write(&file, text).unwrap();
        let output = validate_with_schema(file.to_str().unwrap());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), is_valid, "the schema on {text}: {errors}");
        let source = ConfigSource {
            file: Some(file),
            environment: Environment::new(),
        };
        let loaded = source.load().map(|_| ());
        assert_eq!(loaded.is_ok(), is_valid, "the program on {text}: {loaded:?}");
    }
}
