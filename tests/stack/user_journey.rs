//! Tests the steps of a person who tries the stack.

use std::net::SocketAddr;

use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use reqwest::Response;

use crate::compose::PROXIES;
use crate::stack::Stack;
use crate::support::curfew::{Setup, client};
use crate::support::eventually;

/// A browser that uses one of the proxies at its published port.
#[derive(Clone)]
struct Browser {
    address: SocketAddr,
    host: String,
    cookie: String,
}

impl Browser {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Response {
        client()
            .get(self.url(path))
            .header(HOST, &self.host)
            .header(COOKIE, &self.cookie)
            .header("accept", "text/html")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .send()
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, form: &str) -> Response {
        client()
            .post(self.url(path))
            .header(HOST, &self.host)
            .header(COOKIE, &self.cookie)
            .header("origin", format!("http://{}", self.host))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
            .send()
            .await
            .unwrap()
    }
}

fn header<'a>(response: &'a Response, name: &http::HeaderName) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn the_stack_signs_people_in_and_out() {
    let stack = Stack::start().await;
    // The proxies use the two replicas in turn.
    let proxies: Vec<_> = PROXIES
        .iter()
        .zip(stack.replicas.iter().cycle())
        .map(|((name, port), replica)| (*name, *port, stack.start_proxy(name, replica)))
        .collect();
    let browsers = proxies.iter().map(|(_, port, proxy)| Browser {
        address: proxy.address,
        host: format!("localhost:{port}"),
        cookie: String::new(),
    });
    let mut browsers: Vec<Browser> = browsers.collect();
    for browser in &browsers {
        // Requests are denied. Browsers are redirected to the sign-in page, with the return address.
        eventually("the proxy has read its configuration", async || {
            browser.get("/orders").await.status() == 302
        })
        .await;
        let refused = browser.get("/orders").await;
        let location = header(&refused, &LOCATION);
        let (page, query) = location.split_once('?').unwrap();
        assert_eq!(page, "http://localhost:8081/sign-in");
        let port = browser.host.split_once(':').unwrap().1;
        let back = format!("rd=http%3A%2F%2Flocalhost%3A{port}%2Forders");
        assert!(query.contains(&back), "{query}");
        let page = browser.get("/sign-in").await;
        assert_eq!(page.status(), 200);
        assert!(page.text().await.unwrap().contains("<h1>Sign in</h1>"));
    }
    // If another site submits the sign-in form, nobody is signed in.
    let mut foreign_browser = browsers[0].clone();
    foreign_browser.host = "localhost:9999".to_owned();
    let form = "subject=alice&rd=http%3A%2F%2Flocalhost%3A8084%2Forders";
    let forged = client()
        .post(browsers[0].url("/sign-in"))
        .header(HOST, &browsers[0].host)
        .header("origin", "http://evil.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    assert_eq!(forged.send().await.unwrap().status(), 403);
    let sign_in_response = browsers[0].post("/sign-in", form).await;
    assert_eq!(sign_in_response.status(), 303);
    assert_eq!(
        header(&sign_in_response, &LOCATION),
        "http://localhost:8084/orders"
    );
    let cookie = header(&sign_in_response, &SET_COOKIE)
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    assert!(cookie.starts_with("session="));
    for browser in &mut browsers {
        browser.cookie.clone_from(&cookie);
        let page = browser.get("/orders").await;
        assert_eq!(page.status(), 200, "{}", browser.host);
        assert!(
            page.text()
                .await
                .unwrap()
                .contains("<strong>alice</strong>")
        );
        let status = browser.get("/.curfew/session").await;
        assert!(status.text().await.unwrap().contains("\"alice\""));
        assert_eq!(browser.get("/.curfew/warning.js").await.status(), 200);
    }
    // After a sign-out at one proxy, all proxies deny the session.
    let sign_out_response = browsers[4].post("/.curfew/sign-out", "").await;
    assert!(sign_out_response.status().is_redirection() || sign_out_response.status().is_success());
    for browser in &browsers {
        eventually("the session has ended everywhere", async || {
            browser.get("/orders").await.status() == 302
        })
        .await;
    }
    // Runs the command of the containers' health check.
    for replica in &stack.replicas {
        let url = format!("http://{}", replica.ops);
        let mut check = Setup::memory().command(&["healthcheck", "--url", &url]);
        assert!(check.status().unwrap().success());
    }
}
