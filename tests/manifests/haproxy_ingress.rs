//! Compares the annotations for haproxy-ingress with the files for Envoy and HAProxy. `tests/proxies` runs the
//! annotations with the controller's own Lua script.

use support::deployment::read_deploy_file;

use super::*;

const INGRESS: &str = "deploy/haproxy/ingress.yaml";

fn read_annotation(name: &str) -> String {
    let ingress = read_document(INGRESS, "Ingress", "application-haproxy");
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
        list_items(&read_annotation("auth-headers-succeed")),
        identity_headers()
    );
    let url = reqwest::Url::parse(&read_annotation("auth-url")).unwrap();
    assert_eq!((url.path(), url.port()), ("/forward-auth", Some(9180)));
    // The check needs the headers that name the method, the host and the URI of the request. It also needs the content
    // type, which identifies gRPC clients.
    let mut headers = super::gateways::checked_headers();
    headers.extend(["method", "host", "uri"].map(|name| format!("x-forwarded-{name}")));
    headers.push("content-type".to_owned());
    assert_eq!(
        list_items(&read_annotation("auth-headers-request")),
        sorted_names(&json!(headers))
    );
    let on_deny = list_items(&read_annotation("auth-headers-fail"));
    for header in [
        "set-cookie",
        "www-authenticate",
        "x-session-reason",
        "x-session-detail",
    ] {
        assert!(on_deny.contains(&header.to_owned()), "{header}");
    }
    // The annotation has the same expression as the file that other tests run in HAProxy.
    let early_config = read_annotation("config-backend-early");
    let mut config_lines = early_config
        .lines()
        .filter(|line| !line.contains("X-Forwarded-"));
    let haproxy_file = read_deploy_file("haproxy/haproxy.cfg");
    assert!(
        config_lines.all(|line| haproxy_file.contains(line)),
        "{early_config}"
    );
}

/// The keys of the controller's ConfigMap equal the annotations, without the public path.
#[test]
fn the_global_keys_equal_the_annotations() {
    const GLOBAL: &str = "deploy/haproxy/ingress-global.yaml";
    let global = read_document(GLOBAL, "ConfigMap", "haproxy-ingress")["data"].take();
    let annotations = read_document(INGRESS, "Ingress", "application-haproxy");
    let annotations = annotations["metadata"]["annotations"].as_object().unwrap();
    for (name, value) in annotations {
        let key = name.strip_prefix("haproxy-ingress.github.io/").unwrap();
        let expected = value.as_str().unwrap().replace(" !{ path /sign-in }", "");
        assert_eq!(global[key], expected, "{key}");
    }
    let controller = read_document(INGRESS, "ConfigMap", "haproxy-ingress");
    assert_eq!(global["config-global"], controller["data"]["config-global"]);
    assert_eq!(global.as_object().unwrap().len(), annotations.len() + 1);
    // The Ingress of Curfew itself clears each key that would deny its requests.
    let browser = read_document(GLOBAL, "Ingress", "curfew-browser-haproxy");
    let cleared = browser["metadata"]["annotations"].as_object().unwrap();
    assert!(cleared.values().all(|value| value == ""));
    for key in ["auth-url", "config-backend-late"] {
        assert!(
            cleared.contains_key(&format!("haproxy-ingress.github.io/{key}")),
            "{key}"
        );
    }
}
