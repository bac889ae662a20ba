//! The annotations for haproxy-ingress. Its snippets run in a real HAProxy, which then asks a real
//! Curfew as the controller's script does; the script itself is not run.

use std::fmt::Write;

use support::backend::Backend;
use support::curfew::{Setup, client};
use support::deployed::{Server, deployed};
use support::{free_port, local};

use super::*;

const INGRESS: &str = "deploy/haproxy/ingress.yaml";

fn annotation(name: &str) -> String {
    let ingress = document(INGRESS, "Ingress", "application");
    let key = format!("haproxy-ingress.github.io/{name}");
    let value = ingress["metadata"]["annotations"][&key].as_str();
    value
        .unwrap_or_else(|| panic!("{name} is not set"))
        .to_owned()
}

fn listed(annotation: &str) -> Vec<String> {
    let list: Vec<&str> = annotation.split(',').collect();
    names(&json!(list))
}

#[test]
fn the_header_lists_are_those_of_the_other_files() {
    assert_eq!(listed(&annotation("auth-headers-succeed")), identity());
    let url = reqwest::Url::parse(&annotation("auth-url")).unwrap();
    assert_eq!((url.path(), url.port()), ("/auth-request", Some(9180)));
    // The address and the method come in headers of their own.
    let mut seen = super::gateways::seen();
    seen.retain(|name| name != "x-forwarded-proto");
    seen.extend(["x-original-method".to_owned(), "x-original-url".to_owned()]);
    assert_eq!(
        listed(&annotation("auth-headers-request")),
        names(&json!(seen))
    );
    let on_deny = listed(&annotation("auth-headers-fail"));
    for header in ["set-cookie", "www-authenticate", "x-session-reason"] {
        assert!(on_deny.contains(&header.to_owned()), "{header}");
    }
    // The same expression as in the file that runs.
    let early = annotation("config-backend-early");
    let forged = early.lines().next().unwrap();
    assert!(deployed("haproxy/haproxy.cfg").contains(forged), "{forged}");
}

#[tokio::test]
async fn the_snippets_name_the_request_and_nobody_else() {
    let (curfew, backend) = (Setup::memory().start(), Backend::start().await);
    let session = curfew.sign_in("alice").await;
    // The check, as the controller's script asks it: from the same headers; then what reaches the
    // application.
    let mut text = String::from(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n",
    );
    let path = reqwest::Url::parse(&annotation("auth-url"))
        .unwrap()
        .path()
        .to_owned();
    let kept = annotation("auth-headers-request").replace(',', "|");
    let addresses = [local(free_port()), local(free_port())];
    for (index, (address, server, rules)) in [
        (
            addresses[0],
            curfew.check,
            format!("http-request del-header ^(?!({kept}|host)$) -m reg\nhttp-request set-path {path}\nhttp-request set-method GET\n"),
        ),
        (addresses[1], backend.address, annotation("config-backend-late")),
    ]
    .into_iter()
    .enumerate()
    {
        write!(
            text,
            "frontend f{index}\n  bind {address}\n  default_backend b{index}\nbackend b{index}\n{}\n{rules}\n  server s {server}\n",
            annotation("config-backend-early"),
        )
        .unwrap();
    }
    let _haproxy = Server::start(
        Command::new("haproxy").args(["-db", "-f", "haproxy.cfg"]),
        &[("haproxy.cfg", &text)],
        &addresses,
    );
    let ask = async |index: usize, cookie: &str| {
        let url = format!("http://{}/page?x=%2F", addresses[index]);
        let request = client()
            .delete(url)
            .header("host", "app.example.com")
            .header("cookie", cookie)
            .header("x-original-url", "https://evil.example/")
            .header("x-original-method", "OPTIONS")
            .header("x_session_user", "root")
            .header("x-session-user", "root");
        request.send().await.unwrap()
    };
    let answer = ask(0, &session.cookie()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-session-user"], "alice");
    let answer = ask(0, "a=1").await;
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["x-session-reason"], "no_credential");
    let denied = curfew.audited("session.denied");
    assert_eq!(denied.last().unwrap()["host"], "app.example.com");

    assert_eq!(ask(1, &session.cookie()).await.status(), 200);
    let seen = backend.take_one();
    for name in [
        "x-original-url",
        "x-original-method",
        "x-session-user",
        "x_session_user",
    ] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}
