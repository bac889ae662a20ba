use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http::header::{ACCEPT, COOKIE, LOCATION};
use url::Url;

use crate::http_client::builder;
use crate::secret::Secret;

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// The application's page.
    Served(u16),
    /// Not without a session: 401, 403, or sent to somewhere else.
    Refused(String),
    /// Neither.
    Trouble(String),
}

/// A client that follows nothing and keeps nothing.
pub(super) struct Visitor(reqwest::Client);

impl Visitor {
    /// Looks hosts up, unless it is told the address of `url`'s.
    pub(super) fn new(
        ca_file: Option<&Path>,
        url: &Url,
        address: Option<IpAddr>,
    ) -> anyhow::Result<Self> {
        let authorities = match ca_file {
            Some(path) => {
                let read = std::fs::read(path);
                Some(read.with_context(|| format!("--ca-file {}", path.display()))?)
            }
            None => None,
        };
        let timeout = Duration::from_secs(30);
        let mut client = builder(timeout, authorities.as_deref())?;
        if let (Some(address), Some(host)) = (address, url.host_str()) {
            client = client.resolve(host, SocketAddr::new(address, 0));
        }
        Ok(Self(client.build()?))
    }

    pub(super) async fn get(
        &self,
        url: &Url,
        cookie: Option<&Secret<String>>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self
            .0
            .get(url.clone())
            .header(ACCEPT, "text/html, */*;q=0.1");
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie.expose());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Answer::Trouble(error.without_url().to_string()),
        };
        let status = answer.status();
        let location = answer.headers().get(LOCATION);
        match (status.as_u16(), location) {
            (401 | 403, _) => Answer::Refused(status.as_u16().to_string()),
            (code @ 300..=399, Some(location)) => {
                let location = String::from_utf8_lossy(location.as_bytes());
                Answer::Refused(format!("{code} to {location}"))
            }
            (code @ 200..=299, _) => Answer::Served(code),
            (code, _) => Answer::Trouble(code.to_string()),
        }
    }
}
