//! The policies of the Kubernetes cluster.

use super::*;

#[test]
#[cfg(feature = "kubernetes")]
fn mistakes_name_the_key_the_value_and_what_would_be_right() {
    for (text, expected) in [
        (
            "kubernetes: {policies: true, url: 'http://api.example.com'}",
            "kubernetes.url = \"http://api.example.com\": must be the https:// address of the API server",
        ),
        (
            "kubernetes: {policies: true, token_file: /nonexistent}",
            "kubernetes.token_file = \"/nonexistent\": can't be read",
        ),
        ("kubernetes: {policy: true}", "kubernetes.policy"),
    ] {
        let error = load_yaml(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for url in [
        "http://127.0.0.1:8001",
        "http://[::1]:8001",
        "http://localhost:8001",
    ] {
        let loaded = load_yaml(&format!("kubernetes: {{policies: true, url: '{url}'}}")).unwrap();
        let cluster = loaded.config.cluster.unwrap();
        assert!(cluster.required && cluster.token_file.is_none(), "{url}");
    }
}

#[test]
#[cfg(not(feature = "kubernetes"))]
fn a_program_without_the_feature_says_so() {
    let error = load_yaml("kubernetes: {policies: true}").unwrap_err();
    let expected = "this program was built without the Cargo feature `kubernetes`";
    assert!(error.to_string().contains(expected), "{error}");
}
