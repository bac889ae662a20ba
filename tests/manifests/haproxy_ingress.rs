//! Compares the annotations for haproxy-ingress with the other files. `tests/proxies` runs them with the controller's
//! own script.

use support::deployment::read_deploy_file;

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

fn list_items(annotation: &str) -> Vec<String> {
    let list: Vec<&str> = annotation.split(',').collect();
    sorted_names(&json!(list))
}

#[test]
fn haproxy_ingress_has_the_header_lists_of_the_other_files() {
    assert_eq!(
        list_items(&annotation("auth-headers-succeed")),
        identity_headers()
    );
    let url = reqwest::Url::parse(&annotation("auth-url")).unwrap();
    assert_eq!((url.path(), url.port()), ("/forward-auth", Some(9180)));
    // The check needs the headers that name the router input, and the content type, which identifies gRPC clients.
    let mut headers = super::gateways::checked_headers();
    headers.extend(["method", "host", "uri"].map(|name| format!("x-forwarded-{name}")));
    headers.push("content-type".to_owned());
    assert_eq!(
        list_items(&annotation("auth-headers-request")),
        sorted_names(&json!(headers))
    );
    let on_deny = list_items(&annotation("auth-headers-fail"));
    for header in [
        "set-cookie",
        "www-authenticate",
        "x-session-reason",
        "x-session-detail",
    ] {
        assert!(on_deny.contains(&header.to_owned()), "{header}");
    }
    // The annotation has the same expression as the file that other tests run in HAProxy.
    let early = annotation("config-backend-early");
    let mut own = early.lines().filter(|line| !line.contains("X-Forwarded-"));
    let plain = read_deploy_file("haproxy/haproxy.cfg");
    assert!(own.all(|line| plain.contains(line)), "{early}");
}
