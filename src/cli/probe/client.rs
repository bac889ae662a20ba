use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::Response;
use url::Url;

use crate::http_client::client_builder;
use crate::secret::Secret;

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// The application's page was served with this status code.
    Served(u16),
    /// The page was served, but without the identity of the signed-in person.
    Anonymous(u16),
    /// The request was refused with 401, 403 or a redirect.
    Refused(String),
    /// Any other response, or no response.
    Error(String),
}

/// An HTTP client that does not follow redirects and does not store cookies.
pub(super) struct ProbeClient {
    client: reqwest::Client,
    /// The client for streams. It uses HTTP/1.1, because HTTP/2 has no `Upgrade`.
    stream_client: reqwest::Client,
}

/// The longest time for which a stream stays open.
const MAX_STREAM_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

impl ProbeClient {
    /// Builds the client. `address` replaces the DNS lookup of the host of `url`.
    pub(super) fn new(
        ca_file: Option<&Path>,
        url: &Url,
        address: Option<IpAddr>,
    ) -> anyhow::Result<Self> {
        let ca_certificates = match ca_file {
            Some(path) => {
                let read = std::fs::read(path);
                Some(read.with_context(|| format!("--ca-file {}", path.display()))?)
            }
            None => None,
        };
        let timeout = Duration::from_secs(30);
        let builder = || -> anyhow::Result<reqwest::ClientBuilder> {
            let client = client_builder(timeout, ca_certificates.as_deref())?;
            Ok(match (address, url.host_str()) {
                (Some(address), Some(host)) => client.resolve(host, SocketAddr::new(address, 0)),
                _ => client,
            })
        };
        Ok(Self {
            client: builder()?.build()?,
            stream_client: builder()?.http1_only().build()?,
        })
    }

    /// Begins the request for a stream, which has no time limit.
    pub(super) fn stream_request(&self, url: &Url) -> reqwest::RequestBuilder {
        self.stream_client.get(url.clone()).timeout(MAX_STREAM_TIME)
    }

    /// Signs out at Curfew's page, as a browser does.
    pub(super) async fn sign_out(
        &self,
        page: &Url,
        cookie: &Secret<String>,
    ) -> Result<u16, String> {
        let url = page
            .join("/.curfew/sign-out")
            .map_err(|error| error.to_string())?;
        let request = self.client.post(url).header(COOKIE, cookie.expose());
        let request = request
            .header(ORIGIN, page.origin().ascii_serialization())
            .header("sec-fetch-site", "same-origin");
        let answer = request.send().await;
        let answer = answer.map_err(|error| error.without_url().to_string())?;
        Ok(answer.status().as_u16())
    }

    /// Posts a form and returns the cookies of the response.
    ///
    /// # Errors
    ///
    /// If there is no response, or the response sets no cookie.
    pub(super) async fn sign_in(&self, url: &Url, form: &str) -> anyhow::Result<Secret<String>> {
        let request = self.client.post(url.clone()).body(form.to_owned());
        // Send the same headers as a browser that submits the form.
        let request = request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ORIGIN, url.origin().ascii_serialization())
            .header("sec-fetch-site", "same-origin");
        let answer = request
            .send()
            .await
            .context("--sign-in: could not send the form")?;
        let cookies: Vec<_> = answer
            .headers()
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
            .filter(|pair| !pair.ends_with('='))
            .collect();
        if cookies.is_empty() {
            bail!(
                "--sign-in {url}: the response has status {} and no cookie",
                answer.status()
            );
        }
        Ok(Secret::new(cookies.join("; ")))
    }

    /// Requests the page with a session. Returns [`Answer::Anonymous`] if the page does not contain `text`.
    pub(super) async fn get_expecting_text(
        &self,
        url: &Url,
        cookie: &Secret<String>,
        headers: &[(&str, &str)],
        text: &str,
    ) -> Answer {
        let response = match self.fetch(url, Some(cookie), headers).await {
            Ok(response) => response,
            Err(error) => return error,
        };
        match (classify(&response), response.text().await) {
            (Answer::Served(code), Ok(body)) if !body.contains(text) => Answer::Anonymous(code),
            (answer, _) => answer,
        }
    }

    pub(super) async fn get(
        &self,
        url: &Url,
        cookie: Option<&Secret<String>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        match self.fetch(url, cookie, headers).await {
            Ok(response) => classify(&response),
            Err(error) => error,
        }
    }

    pub(super) async fn fetch(
        &self,
        url: &Url,
        cookie: Option<&Secret<String>>,
        headers: &[(&str, &str)],
    ) -> Result<Response, Answer> {
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT, "text/html, */*;q=0.1");
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie.expose());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await;
        answer.map_err(|error| Answer::Error(error.without_url().to_string()))
    }
}

/// Returns the target of a redirect; `None` if the response is not a redirect.
pub(super) fn redirect_target(answer: &Response) -> Option<Url> {
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    answer
        .url()
        .join(location)
        .ok()
        .filter(|_| answer.status().is_redirection())
}

/// Returns Curfew's reason and detail, if the proxy passes these headers on. The detail helps to find a mistake in
/// the configuration of the proxy.
fn denial_reason(answer: &Response) -> String {
    let reported = ["x-session-reason", "x-session-detail"].map(|name| answer.headers().get(name));
    match reported.map(|value| value.and_then(|value| value.to_str().ok())) {
        [Some(reason), Some(detail)] => format!(" ({reason}: {detail})"),
        [Some(reason), None] => format!(" ({reason})"),
        _ => String::new(),
    }
}

/// Classifies a response by its status code.
pub(super) fn classify(answer: &Response) -> Answer {
    let location = answer.headers().get(LOCATION);
    match (answer.status().as_u16(), location) {
        (code @ (401 | 403), _) => Answer::Refused(format!("{code}{}", denial_reason(answer))),
        (code @ 300..=399, Some(location)) => {
            let location = String::from_utf8_lossy(location.as_bytes());
            Answer::Refused(format!("{code} to {location}"))
        }
        (code @ 200..=299, _) => Answer::Served(code),
        (code, _) => Answer::Error(code.to_string()),
    }
}
