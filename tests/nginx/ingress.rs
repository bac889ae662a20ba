//! Compares the Ingress of `deploy/nginx` with Curfew's endpoints, and with the file for NGINX without a controller.

use crate::support::curfew::Setup;

const INGRESS: &str = include_str!("../../deploy/nginx/ingress.yaml");
const NGINX_FILE: &str = include_str!("../../deploy/nginx/curfew.conf");

fn annotation(name: &str) -> &'static str {
    let key = format!("nginx.ingress.kubernetes.io/{name}: ");
    let mut lines = INGRESS.lines().filter(|line| !line.contains('#'));
    let line = lines.find_map(|line| line.trim().strip_prefix(&*key));
    line.unwrap_or_else(|| panic!("{name} is not set"))
}

#[tokio::test]
async fn the_ingress_checks_requests_and_forwards_the_whole_identity() {
    let curfew = Setup::memory().start();
    let session = curfew.sign_in("alice").await;
    let url = reqwest::Url::parse(annotation("auth-url")).unwrap();
    assert_eq!(
        (url.scheme(), url.port()),
        ("http", Some(9180)),
        "the annotation should have the default port of listen.check"
    );
    // Sends a check in the form that the controller renders.
    let response = crate::client()
        .get(format!("http://{}{}", curfew.check, url.path()))
        .header("x-sent-from", "nginx-ingress-controller")
        .header("x-original-url", "https://app.example.com/")
        .header("x-original-method", "GET")
        .header("x-forwarded-host", "app.example.com")
        .header("x-forwarded-uri", "/")
        .header("x-forwarded-method", "GET")
        .header("x-forwarded-proto", "https")
        .header("cookie", session.cookie())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut forwarded_headers: Vec<String> = annotation("auth-response-headers")
        .split(',')
        .map(str::to_lowercase)
        .collect();
    forwarded_headers.sort();
    let names = response
        .headers()
        .keys()
        .map(|name| name.as_str().to_owned());
    let mut identity: Vec<String> = names
        .filter(|name| name.starts_with("x-session-"))
        .collect();
    identity.sort();
    assert_eq!(forwarded_headers, identity);
    for name in identity {
        let set_directives = NGINX_FILE.lines().filter(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("proxy_set_header")
                && words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case(&name))
        });
        assert_eq!(
            set_directives.count(),
            2,
            "each of the two locations should set or clear {name}"
        );
    }
}
