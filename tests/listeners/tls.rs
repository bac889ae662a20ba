//! Tests TLS on each HTTP listener with curl, and the addresses of the listeners. `docs/tls.md` and `tests/proxies`
//! cover the listeners that proxies use.

use std::net::SocketAddr;
use std::process::Command;

use crate::support::curfew::{Curfew, Setup};
use crate::support::tls::Certificates;

/// Turns on TLS on a listener. `client_name` is the required name of clients.
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
            // A client of another CA is refused where a certificate is required.
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
