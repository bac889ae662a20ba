//! Listeners, TLS and the sign-in page.

use curfew_testkit::tls::Certificates;

use super::*;
use crate::contract::ReturnHost;

fn load_valid(text: &str) -> Loaded {
    load_yaml(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn addresses(loaded: &Loaded, name: ListenerName) -> Vec<String> {
    let addresses = loaded.config.listen.addresses.get(name).iter();
    addresses.map(ToString::to_string).collect()
}

#[test]
fn a_listener_can_be_off() {
    let loaded = load_valid("{}");
    assert_eq!(addresses(&loaded, ListenerName::Grpc), ["[::]:9181"]);
    assert!(addresses(&loaded, ListenerName::Spoe).is_empty());
    for off in ["off", "false", "'off'"] {
        let text = format!("listen: {{grpc: {off}, spoe: '127.0.0.1:9182'}}");
        let loaded = load_valid(&text);
        assert!(addresses(&loaded, ListenerName::Grpc).is_empty(), "{off}");
        assert_eq!(addresses(&loaded, ListenerName::Spoe), ["127.0.0.1:9182"]);
    }
    for (text, expected) in [
        (
            "listen: {check: off}",
            r#"curfew.yaml: listen.check = "off": not an address and port such as 127.0.0.1:9180 or [::]:9180"#,
        ),
        (
            "listen: {grpc: no one}",
            r#"curfew.yaml: listen.grpc = "no one": must be `off`, or an address and port such as 127.0.0.1:9180 or [::]:9180"#,
        ),
        (
            "listen: {grpc: []}",
            r#"curfew.yaml: listen.grpc: must be `off`, or an address and port such as 127.0.0.1:9180 or [::]:9180"#,
        ),
        (
            "listen: {spoe: '[::]:9181'}",
            r#"curfew.yaml: listen.spoe = "[::]:9181": another listener has the same address"#,
        ),
        (
            "listen: {ops: ['[::1]:9188', '127.0.0.1:9189']}",
            "curfew.yaml: listen.ops: another listener has the same address",
        ),
    ] {
        assert_eq!(problems(text), expected);
    }
}

#[test]
fn a_listener_can_have_several_addresses() {
    let expected = ["127.0.0.1:1", "[::1]:1"];
    for text in [
        "listen: {admin: ['127.0.0.1:1', '[::1]:1']}",
        "listen: {admin: '127.0.0.1:1, [::1]:1'}",
    ] {
        let loaded = load_valid(text);
        assert_eq!(addresses(&loaded, ListenerName::Admin), expected);
    }
}

#[test]
fn tls_needs_certificate_and_key() {
    let loaded = load_valid("{}");
    assert!(loaded.config.tls.iter().all(|(_, tls)| tls.is_none()));
    let certificates = Certificates::generate();
    let other_certificates = Certificates::generate();
    let path = |name: &str| certificates.path_string(name);
    let (certificate, key, authority) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let other_key = other_certificates.path_string("server.key");
    for name in ListenerName::ALL {
        let text = format!(
            "tls: {{{}: {{cert_file: {certificate}, key_file: {key}, client_ca_file: {authority}, \
             client_names: [proxy, 'spiffe://example.com/*'], \
             certificates: [{{cert_file: {certificate}, key_file: {key}}}]}}}}",
            name.as_str()
        );
        let loaded = load_valid(&text);
        for (other_name, tls) in loaded.config.tls.iter() {
            assert_eq!(tls.is_some(), other_name == name);
        }
    }
    for (settings, expected) in [
        (
            format!("cert_file: {certificate}"),
            "tls.check.cert_file = \"CERT\": needs the key of this certificate in tls.check.key_file",
        ),
        (
            format!("key_file: {key}"),
            "tls.check.key_file = \"KEY\": needs the certificate of this key in tls.check.cert_file",
        ),
        (
            format!("client_ca_file: {authority}"),
            "tls.check.client_ca_file = \"CA\": needs TLS: give tls.check.cert_file and tls.check.key_file",
        ),
        (
            "client_names: proxy".to_owned(),
            "tls.check.client_names = \"proxy\": needs TLS: give tls.check.cert_file and tls.check.key_file",
        ),
        (
            format!("cert_file: {certificate}, key_file: {key}, client_names: proxy"),
            "tls.check.client_names = \"proxy\": needs tls.check.client_ca_file",
        ),
        (
            format!("cert_file: {certificate}, key_file: /nonesuch"),
            "tls.check.key_file = \"/nonesuch\": can't be read: No such file or directory (os error 2)",
        ),
        (
            format!("cert_file: {certificate}, key_file: {other_key}"),
            "tls.check.key_file = \"OTHER\": the private key does not belong to the certificate",
        ),
        (
            format!("cert_file: {certificate}, key_file: {certificate}"),
            "tls.check.key_file = \"CERT\": has no unencrypted PEM key (PKCS#8, PKCS#1 or SEC1): no items found",
        ),
        (
            format!(
                "cert_file: {certificate}, key_file: {key}, client_ca_file: {authority}, client_names: ''"
            ),
            "tls.check.client_names = \"\": is empty: name the clients, or remove this setting to accept every certificate \
             from the authorities in tls.check.client_ca_file",
        ),
        (
            format!(
                "cert_file: {certificate}, key_file: {key}, client_ca_file: {authority}, client_names: []"
            ),
            "tls.check.client_names: is empty: name the clients, or remove this setting to accept every certificate from \
             the authorities in tls.check.client_ca_file",
        ),
        (
            format!("cert_file: {key}, key_file: {key}"),
            "tls.check.cert_file = \"KEY\": has no PEM certificate",
        ),
        (
            format!(
                "cert_file: {certificate}, key_file: {key}, \
                 certificates: [{{cert_file: {certificate}, key_file: {other_key}}}]"
            ),
            "tls.check.certificates.0.key_file = \"OTHER\": the private key does not belong to the certificate",
        ),
        (
            format!("cert_file: {certificate}, key_file: {key}, client_ca_file: {key}"),
            "tls.check.client_ca_file = \"KEY\": has no valid certificate authority: no root trust anchors were provided",
        ),
        (
            format!(
                "cert_file: {certificate}, key_file: {key}, client_ca_file: {authority}, client_names: '*.example.com'"
            ),
            "tls.check.client_names = \"*.example.com\": `*.example.com` is not a name of a client certificate: \
             write a DNS name such as proxy.example.com, a SPIFFE ID such as \
             spiffe://example.com/ns/ingress/sa/proxy, or all SPIFFE IDs below a path: spiffe://example.com/ns/ingress/*",
        ),
    ] {
        let errors = problems(&format!("tls: {{check: {{{settings}}}}}"));
        let errors = errors.replace(&certificate, "CERT").replace(&key, "KEY");
        let errors = errors
            .replace(&authority, "CA")
            .replace(&other_key, "OTHER");
        assert_eq!(errors, format!("curfew.yaml: {expected}"), "{settings}");
    }
}

#[test]
fn the_old_keys_of_grpc_name_the_new_section() {
    assert_eq!(
        problems("grpc: {cert_file: a, key_file: b}"),
        "curfew.yaml: grpc: is an old name of `tls.grpc`: use that key"
    );
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
        // The user name in a URL can be a secret.
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

#[test]
fn mistakes_in_the_proxy_listener_are_reported() {
    let upstream = |settings: &str| {
        format!("{{listen: {{proxy: '[::]:9184'}}, proxy: {{upstreams: [{{{settings}}}]}}}}")
    };
    let app = "host: app.example.com, target: 'http://app:8080'";
    for (text, expected) in [
        (
            "listen: {proxy: '[::]:9184'}".to_owned(),
            "proxy.upstreams: is empty: listen.proxy needs at least one application",
        ),
        (
            format!("proxy: {{upstreams: [{{{app}}}]}}"),
            "proxy.upstreams: has no effect, because listen.proxy is off",
        ),
        (
            upstream("target: 'http://app'"),
            "proxy.upstreams.0.host: is missing",
        ),
        (
            upstream("host: 'https://app', target: 'http://app'"),
            "proxy.upstreams.0.host = \"https://app\": `https://app` must be a host",
        ),
        (
            upstream("host: app.example.com"),
            "proxy.upstreams.0.target: must begin with http://, https://, h2c:// or unix:/",
        ),
        (
            upstream("host: app.example.com, target: 'http://app/path'"),
            "proxy.upstreams.0.target = \"http://app/path\": must have only a host and a port",
        ),
        (
            upstream(&format!("{app}, path_prefix: api")),
            "proxy.upstreams.0.path_prefix = \"api\"",
        ),
        (
            upstream(&format!("{app}, server_name: app")),
            "proxy.upstreams.0.server_name = \"app\": needs a target with https://",
        ),
        (
            upstream("host: a.b, target: 'https://app', ca_file: /nowhere"),
            "proxy.upstreams.0.ca_file = \"/nowhere\": can't be read",
        ),
        (
            upstream(&format!("{app}, response_timeout: 2d")),
            "proxy.upstreams.0.response_timeout = \"2d\": must be between",
        ),
        (
            "proxy: {trusted_proxies: [10.0.0.0/33]}".to_owned(),
            "proxy.trusted_proxies: `10.0.0.0/33` is not a network such as 10.0.0.0/8",
        ),
        (
            "listen: {proxy: '127.0.0.1:1'}\nproxy: {upstreams: [{host: a.example.com, target: 'http://a', health_path: health}]}"
                .to_owned(),
            "proxy.upstreams.0.health_path = \"health\": must be a path such as /healthz",
        ),
        (
            "listen: {proxy: '127.0.0.1:1'}\nproxy: {upstreams: [{host: a.example.com, target: 'http://a', health_interval: 5s}]}"
                .to_owned(),
            "proxy.upstreams.0.health_interval = \"5s\": has no effect without proxy.upstreams.0.health_path",
        ),
        (
            "listen: {proxy: '127.0.0.1:1'}\nproxy: {upstreams: [{host: a.example.com, target: 'http://a', health_path: /h, health_interval: 5ms}]}"
                .to_owned(),
            "proxy.upstreams.0.health_interval = \"5ms\": must be between 1s and 1h",
        ),
        (
            "proxy: {health_path: healthz}".to_owned(),
            "proxy.health_path = \"healthz\": must be a path such as /healthz",
        ),
        (
            "streams: {max_open: 0}".to_owned(),
            "streams.max_open = \"0\": must be at least 1",
        ),
        (
            "policies: {default: {stream_activity: on}}".to_owned(),
            "policies.default.stream_activity",
        ),
        (
            "policies: {default: {stream_activity: client_data, stream_heartbeats: soket.io}}"
                .to_owned(),
            "policies.default.stream_heartbeats = \"soket.io\": `soket.io` is not a preset: use one of \
             centrifuge, ddp, engine.io,",
        ),
        (
            "policies: {default: {stream_activity: client_data, stream_heartbeats: [mqtt, '/(/']}}"
                .to_owned(),
            "policies.default.stream_heartbeats: `(` is not a valid regular expression: \
             unclosed group",
        ),
        (
            "policies: {default: {stream_heartbeats: mqtt}}".to_owned(),
            "policies.default.stream_heartbeats = \"mqtt\": has no effect where stream_activity is off",
        ),
        (
            "rules: [{access: public, stream_heartbeats: mqtt}]".to_owned(),
            "rules.0.stream_heartbeats = \"mqtt\": has no effect where access is public",
        ),
        (
            "rules: [{stream_activity: 'off', stream_heartbeats: mqtt}]".to_owned(),
            "rules.0.stream_heartbeats = \"mqtt\": has no effect where stream_activity is off",
        ),
        (
            "policies: {default: {stream_grace: 1s}}".to_owned(),
            "policies.default.stream_grace = \"1s\": must be between 2s and 5m",
        ),
        (
            "rules: [{access: public, stream_activity: 'off'}]".to_owned(),
            "rules.0.stream_activity = \"off\": has no effect where access is public",
        ),
    ] {
        let errors = problems(&text);
        assert!(errors.contains(expected), "{text}\n{errors}");
    }
}

#[test]
fn the_applications_of_the_proxy_listener_are_read() {
    let loaded = load_yaml(
        "listen: {proxy: '127.0.0.1:9184'}\nproxy:\n  trusted_proxies: [10.0.0.0/8, 192.0.2.1]\n  upstreams:\n    - \
         {host: [app.example.com, '*.dev.example.com'], path_prefix: /api/, target: 'unix:/run/app.sock'}\n",
    )
    .unwrap();
    let proxy = loaded.config.proxy;
    assert_eq!(proxy.trusted_proxies.len(), 2);
    let upstream = &proxy.upstreams[0];
    assert_eq!(upstream.hosts.len(), 2);
    assert_eq!(upstream.path_prefix, "/api");
    assert!(upstream.preserve_host);
    assert_eq!(upstream.target.to_string(), "unix:/run/app.sock");
}
