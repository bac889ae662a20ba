//! Tests TLS on each HTTP listener with curl, and the addresses of the listeners. `tests/proxies` tests the
//! listeners behind proxies with TLS.

use std::net::SocketAddr;
use std::process::Command;

use crate::support::curfew::{Curfew, Setup};
use crate::support::eventually;
use crate::support::tls::Certificates;

/// Turns on TLS on a listener. If `client_name` is set, clients need a certificate with this name.
fn with_tls(
    setup: Setup,
    listener: &str,
    certificates: &Certificates,
    client_name: Option<&str>,
) -> Setup {
    let key = |name: &str| format!("TLS__{listener}__{name}");
    let setup = setup
        .set(&key("CERT_FILE"), &certificates.path_string("server.pem"))
        .set(&key("KEY_FILE"), &certificates.path_string("server.key"));
    match client_name {
        Some(name) => setup
            .set(&key("CLIENT_CA_FILE"), &certificates.path_string("ca.pem"))
            .set(&key("CLIENT_NAMES"), name),
        None => setup,
    }
}

/// Returns the status that curl gets, or `None` if there is no HTTP answer.
fn get(
    address: SocketAddr,
    path: &str,
    trusted: &Certificates,
    client: Option<&Certificates>,
) -> Option<u16> {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--noproxy",
        "*",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
    ])
    .args(["--cacert", &trusted.path_string("ca.pem")]);
    if let Some(client) = client {
        curl.args(["--cert", &client.path_string("client.pem")]);
        curl.args(["--key", &client.path_string("client.key")]);
    }
    let output = curl
        .arg(format!("https://{address}{path}"))
        .output()
        .unwrap();
    let status: u16 = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    (status != 0).then_some(status)
}

/// The HTTP listeners, each with its address, a path, and the status of a request without a credential.
fn http_listeners(curfew: &Curfew) -> [(&'static str, SocketAddr, &'static str, u16); 4] {
    [
        ("CHECK", curfew.check, "/ext-authz/", 401),
        ("BROWSER", curfew.browser, "/.curfew/session", 401),
        ("ADMIN", curfew.admin, "/api/v1/sessions", 401),
        ("OPS", curfew.ops, "/livez", 200),
    ]
}

#[tokio::test]
async fn each_http_listener_serves_tls() {
    let (certificates, other) = (Certificates::generate(), Certificates::generate());
    for client_name in [None, Some("proxy.example.com"), Some("other.example.com")] {
        let mut setup = Setup::memory();
        for listener in ["CHECK", "BROWSER", "ADMIN", "OPS"] {
            setup = with_tls(setup, listener, &certificates, client_name);
        }
        let curfew = setup.start();
        for (listener, address, path, status) in http_listeners(&curfew) {
            let expected = |is_allowed: bool| is_allowed.then_some(status);
            let no_client = get(address, path, &certificates, None);
            assert_eq!(no_client, expected(client_name.is_none()), "{listener}");
            let client = get(address, path, &certificates, Some(&certificates));
            let is_allowed = client_name != Some("other.example.com");
            assert_eq!(client, expected(is_allowed), "{listener}, {client_name:?}");
            // If the listener requires a client certificate, a client with a certificate of another CA is refused.
            let stranger = get(address, path, &certificates, Some(&other));
            assert_eq!(stranger, expected(client_name.is_none()), "{listener}");
            // The client refuses a server that it does not trust.
            assert_eq!(get(address, path, &other, Some(&certificates)), None);
            let plaintext = reqwest::get(format!("http://{address}{path}")).await;
            assert!(plaintext.is_err(), "{listener} must not serve plaintext");
        }
        assert!(curfew.log().contains("TLS handshake failed"));
        curfew.stop().await;
    }
}

/// Over TLS, browsers use HTTP/2, whose requests have no header `Host`. The console refuses forms without this header,
/// so the listener must set it from `:authority`.
#[tokio::test]
async fn the_console_accepts_forms_over_tls() {
    let certificates = Certificates::generate();
    let setup = with_tls(Setup::memory(), "ADMIN", &certificates, None);
    let curfew = setup.start();
    let url = format!("https://{}/console/sign-in", curfew.admin);
    for (site, status) in [("same-origin", "303"), ("cross-site", "403")] {
        let output = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "--http2", "-o", "/dev/null"])
            .args(["-w", "%{http_version} %{http_code}"])
            .args(["--cacert", &certificates.path_string("ca.pem")])
            .args(["-H", &format!("Sec-Fetch-Site: {site}")])
            .args(["-H", &format!("Origin: https://{}", curfew.admin)])
            .args(["--data-urlencode", &format!("token={}", curfew.admin_token)])
            .args(["--data-urlencode", "to=/console/", &url])
            .output()
            .unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answer, format!("2 {status}"), "{site}: {}", curfew.log());
    }
}

/// A command that uses the admin API presents its client certificate.
#[test]
fn commands_present_a_client_certificate() {
    let certificates = Certificates::generate();
    let client_name = Some("proxy.example.com");
    let setup = with_tls(Setup::memory(), "ADMIN", &certificates, client_name);
    let curfew = setup.start();
    let url = format!("https://{}", curfew.admin);
    let authority = certificates.path_string("ca.pem");
    let identity = certificates.path_string("client-and-key.pem");
    let list = |identity: &[&str]| {
        let arguments = ["sessions", "list", "alice", "--admin-url", &url];
        let arguments = [&arguments, &["--admin-ca-file", &*authority][..], identity].concat();
        let mut command = setup.command(&arguments);
        command.env("CURFEW_ADMIN_TOKEN", &curfew.admin_token);
        command.output().unwrap()
    };
    assert!(!list(&[]).status.success());
    let output = list(&["--admin-identity-file", &identity]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let missing = list(&["--admin-identity-file", "/nonesuch"]);
    let errors = String::from_utf8_lossy(&missing.stderr);
    assert!(
        errors.contains("--admin-identity-file: /nonesuch: "),
        "{errors}"
    );
}

/// A reload changes the names of clients, but does not turn off client certificates or TLS.
#[tokio::test]
async fn a_reload_changes_names_and_removes_no_protection() {
    let certificates = Certificates::generate();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("curfew.yaml");
    let write_settings = |settings: &str| {
        let text = format!(
            "tls: {{check: {{cert_file: {}, key_file: {}{settings}}}}}",
            certificates.path_string("server.pem"),
            certificates.path_string("server.key")
        );
        std::fs::write(&file, text).unwrap();
    };
    let authority = certificates.path_string("ca.pem");
    let with_name = |name: &str| format!(", client_ca_file: {authority}, client_names: {name}");
    write_settings(&with_name("other.example.com"));
    let curfew = Setup::memory().config_file(&file).start();
    let client = Some(&certificates);
    let check = |client| get(curfew.check, "/ext-authz/", &certificates, client);
    assert_eq!(check(client), None);
    write_settings(&with_name("proxy.example.com"));
    eventually("the new name is allowed", async || {
        check(client) == Some(401)
    })
    .await;
    for settings in ["", "REMOVED"] {
        match settings {
            "REMOVED" => std::fs::write(&file, "{}").unwrap(),
            settings => write_settings(settings),
        }
        let reload_count = || curfew.log().matches("configuration reloaded").count();
        let before = reload_count();
        curfew.signal("HUP");
        eventually("the file is read again", async || reload_count() > before).await;
        assert_eq!(check(None), None);
        assert_eq!(check(client), Some(401));
        let expected = "tls.check: restart required, because a reload does not turn off TLS or the verification of client \
                        certificates";
        assert!(curfew.log().contains(expected), "{}", curfew.log());
    }
    // A file that the configuration names can appear later than the configuration.
    let late_file = directory.path().join("late.pem");
    write_settings(&format!(", client_ca_file: {}", late_file.display()));
    eventually("the configuration is rejected", async || {
        let (_, text) = curfew.get_ops("/readyz?verbose").await;
        text.contains("configuration: rejected")
    })
    .await;
    std::fs::copy(certificates.path("ca.pem"), &late_file).unwrap();
    eventually("the configuration is accepted", async || {
        let (_, text) = curfew.get_ops("/readyz?verbose").await;
        !text.contains("configuration: rejected")
    })
    .await;
}

/// A container's health check works with TLS, also with a client certificate.
#[test]
fn healthcheck_uses_tls() {
    let certificates = Certificates::generate();
    for client_name in [None, Some("proxy.example.com")] {
        let setup = with_tls(Setup::memory(), "OPS", &certificates, client_name);
        let curfew = setup.start();
        let address = curfew.ops.to_string();
        let setup = setup.set("LISTEN__OPS", &address);
        let healthcheck = |arguments: &[&str]| {
            let arguments = [&["healthcheck"], arguments].concat();
            setup.command(&arguments).output().unwrap().status.success()
        };
        assert_eq!(healthcheck(&[]), client_name.is_none());
        let identity = certificates.path_string("client-and-key.pem");
        assert!(healthcheck(&["--identity-file", &identity]));
        let url = format!("https://{address}");
        assert!(healthcheck(&["--url", &url, "--identity-file", &identity]));
    }
}

/// On `[::]`, a listener serves IPv6 and IPv4, and a listener with two addresses serves both.
#[tokio::test]
async fn listeners_serve_ipv6_and_ipv4() {
    let curfew = Setup::memory()
        .set("LISTEN__OPS", "[::]:0")
        .set("LISTEN__CHECK", "[::]:0")
        .start();
    for (port, path, status) in [
        (curfew.ops.port(), "/livez", 200),
        (curfew.check.port(), "/ext-authz/", 401),
    ] {
        for host in ["127.0.0.1", "[::1]"] {
            let response = reqwest::get(format!("http://{host}:{port}{path}")).await;
            assert_eq!(response.unwrap().status(), status, "{host}");
        }
    }
    let port = crate::support::free_port();
    let curfew = Setup::memory()
        .set("LISTEN__ADMIN", &format!("127.0.0.1:{port}, [::1]:{port}"))
        .start();
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{host}:{}/api/v1/sessions", curfew.admin.port());
        assert_eq!(reqwest::get(url).await.unwrap().status(), 401, "{host}");
    }
}
