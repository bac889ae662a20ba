//! Listeners, TLS and the sign-in page.

use super::*;
use crate::contract::ReturnHost;

fn load_valid(text: &str) -> Loaded {
    load_yaml(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_listener_can_be_off() {
    let listen = load_valid("{}").config.listen;
    assert_eq!(listen.grpc, Some("0.0.0.0:9181".parse().unwrap()));
    assert_eq!(listen.spoe, None);
    for off in ["off", "false", "'off'"] {
        let text = format!("listen: {{grpc: {off}, spoe: '127.0.0.1:9182'}}");
        let listen = load_valid(&text).config.listen;
        assert_eq!(listen.grpc, None, "{off}");
        assert_eq!(listen.spoe, Some("127.0.0.1:9182".parse().unwrap()));
    }
    assert_eq!(
        problems("listen: {check: off}"),
        r#"curfew.yaml: listen.check = "off": not an address and port such as 127.0.0.1:9180"#
    );
    assert_eq!(
        problems("listen: {grpc: no one}"),
        r#"curfew.yaml: listen.grpc = "no one": must be `off`, or an address and port such as 127.0.0.1:9180"#
    );
    assert_eq!(
        problems("listen: {spoe: '0.0.0.0:9181'}"),
        r#"curfew.yaml: listen.spoe = "0.0.0.0:9181": another listener has the same address"#
    );
}

#[test]
fn tls_needs_certificate_and_key() {
    assert!(load_valid("{}").config.grpc_tls.is_none());
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("the {name}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (certificate, key, authority) = (path("certificate"), path("key"), path("authority"));
    let complete_config =
        format!("grpc: {{cert_file: {certificate}, key_file: {key}, client_ca_file: {authority}}}");
    let loaded = load_valid(&complete_config);
    let tls = loaded.config.grpc_tls.unwrap();
    assert_eq!(tls.certificate.trim_ascii(), b"the certificate");
    assert_eq!(tls.key.expose().trim_ascii(), b"the key");
    assert_eq!(tls.client_ca.unwrap().trim_ascii(), b"the authority");
    assert!(!format!("{:?}", tls.key).contains("the key"));

    for (text, expected) in [
        (
            format!("grpc: {{cert_file: {certificate}}}"),
            "needs its key in grpc.key_file",
        ),
        (
            format!("grpc: {{key_file: {key}}}"),
            "needs its certificate in grpc.cert_file",
        ),
        (
            format!("grpc: {{client_ca_file: {authority}}}"),
            "client certificates need TLS: give grpc.cert_file and grpc.key_file",
        ),
        (
            format!("grpc: {{cert_file: {certificate}, key_file: /nonesuch}}"),
            "grpc.key_file",
        ),
    ] {
        let errors = problems(&text);
        assert!(errors.contains(expected), "{text}: {errors}");
        assert!(!errors.contains("the key"), "{errors}");
    }
}

#[test]
fn sign_in_settings_are_read() {
    assert!(load_valid("{}").config.sign_in.is_none());
    let text = "sign_in: {url: 'https://login.example.com/start?tenant=1', allowed_hosts: \
                [App.example.com, 'dev.example.com:8443', '*.apps.example.com', '[::1]:3000']}";
    let sign_in = load_valid(text).config.sign_in.unwrap();
    assert_eq!(sign_in.return_parameter, "rd");
    let exact = |host: &str| ReturnHost::Exact(host.to_owned());
    assert_eq!(
        sign_in.allowed_hosts,
        [
            exact("app.example.com"),
            exact("dev.example.com:8443"),
            ReturnHost::Below(".apps.example.com".to_owned()),
            exact("[::1]:3000"),
        ]
    );
}

#[test]
fn invalid_sign_in_settings_are_rejected() {
    let errors = problems("sign_in: {url: 'https://login.example.com/'}");
    assert!(
        errors.contains("sign_in.allowed_hosts") && errors.contains("is missing"),
        "{errors}"
    );
    let errors = problems("sign_in: {allowed_hosts: [app.example.com]}");
    assert!(errors.contains("needs sign_in.url"), "{errors}");
    for url in [
        "/sign-in",
        "login.example.com",
        "ftp://login.example.com/",
        "javascript:alert(1)",
        "https://user@login.example.com/",
        "https://login.example.com/#here",
    ] {
        let text = format!("sign_in: {{url: '{url}', allowed_hosts: [a.example.com]}}");
        let errors = problems(&text);
        // A user name can be a token.
        let displayed_url = if url.contains('@') { "[redacted]" } else { url };
        let expected =
            format!("curfew.yaml: sign_in.url = \"{displayed_url}\": not an absolute address");
        assert!(errors.starts_with(&expected), "{errors}");
    }
    for parameter in ["", "reason", "a b", "a=b", "a&b"] {
        let text = format!(
            "sign_in: {{url: 'https://l.example.com/', allowed_hosts: [a.example.com], \
             return_parameter: '{parameter}'}}"
        );
        let errors = problems(&text);
        assert!(errors.contains("sign_in.return_parameter"), "{errors}");
    }
    for host in [
        "*",
        "*.com",
        "*.example.com:8443",
        "a.*.example.com",
        "https://app.example.com",
        "app.example.com/",
        "app.example.com:443",
        "app.example.com:port",
        "user@app.example.com",
        "",
    ] {
        let text = format!("sign_in: {{url: 'https://l.example.com/', allowed_hosts: ['{host}']}}");
        let errors = problems(&text);
        assert!(errors.contains("sign_in.allowed_hosts"), "{host}: {errors}");
    }
}
