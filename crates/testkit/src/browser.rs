//! An HTTP client that stores cookies and follows redirects, like a browser.

use std::collections::BTreeMap;

use reqwest::Response;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use url::Url;

use super::curfew::client;

/// All servers are on one host, so there is one cookie jar. The name of a cookie shows the server that set it.
pub struct Browser {
    client: reqwest::Client,
    pub cookies: BTreeMap<String, String>,
}

impl Default for Browser {
    fn default() -> Self {
        Self::new()
    }
}

impl Browser {
    pub fn new() -> Self {
        Self {
            client: client(),
            cookies: BTreeMap::new(),
        }
    }

    /// Navigates to an address.
    pub async fn get(&mut self, url: &str) -> Response {
        let request = self.client.get(url).header("accept", "text/html");
        self.send(request).await
    }

    /// Sends a form of the same site.
    pub async fn post(&mut self, url: &str, form: &[(&str, &str)]) -> Response {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = self.client.post(url).body(form);
        let content_type = "application/x-www-form-urlencoded";
        let request = request
            .header("content-type", content_type)
            .header("accept", "text/html")
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        self.send(request).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Response {
        let pairs = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let cookie_line = pairs.collect::<Vec<_>>().join("; ");
        let response = request.header(COOKIE, cookie_line).send().await.unwrap();
        for cookie_line in response.headers().get_all(SET_COOKIE) {
            let cookie_line = cookie_line.to_str().unwrap();
            let (name, rest) = cookie_line.split_once('=').unwrap();
            // The value is random, so only the attributes show that a cookie is cleared.
            let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
            let is_cleared = attributes.contains("Max-Age=0") || attributes.contains("1970");
            if is_cleared || value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }

    /// Returns the address to which a response redirects; `None` if it is no redirect.
    pub fn redirect_target(response: &Response) -> Option<String> {
        let location = response.headers().get(LOCATION)?.to_str().unwrap();
        Some(response.url().join(location).unwrap().to_string())
    }

    /// Follows redirects until the target begins with `end`, and returns the last address. On the provider's sign-in
    /// page, signs in as `user`. Panics if another response is no redirect.
    pub async fn follow(&mut self, url: &str, user: &str, end: &str) -> Url {
        let mut url = url.to_owned();
        for _ in 0..20 {
            if url.starts_with(end) {
                return url.parse().unwrap();
            }
            let mut response = self.get(&url).await;
            if response.status() == 200 && url.contains("/interaction/") {
                let form = [("prompt", "login"), ("login", user), ("password", "any")];
                response = self.post(&url, &form).await;
            }
            let Some(target) = Self::redirect_target(&response) else {
                let status = response.status();
                let names: Vec<&String> = self.cookies.keys().collect();
                let text = response.text().await.unwrap();
                panic!("{url}: {status}, with the cookies {names:?}: {text}");
            };
            url = target;
        }
        panic!("endless redirect: {url}");
    }
}
