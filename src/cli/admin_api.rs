//! A client of the admin API, for commands.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use crate::escape::line;
use crate::http_client::{client_builder, with_identity};
use crate::secret::Secret;

/// The address and the credentials of the admin API.
#[derive(Args, Debug)]
pub(super) struct AdminArgs {
    /// The address of the admin API.
    #[arg(
        long,
        value_name = "URL",
        env = "CURFEW_ADMIN_URL",
        default_value = "http://127.0.0.1:9188"
    )]
    admin_url: Url,
    /// A file with an admin token; without it, the token in CURFEW_ADMIN_TOKEN is used.
    #[arg(long, value_name = "FILE", env = "CURFEW_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
    /// A file with PEM certificates of the CAs to trust, instead of the CAs of the system.
    #[arg(long, value_name = "FILE")]
    admin_ca_file: Option<PathBuf>,
    /// A PEM file with a client certificate and its key, if the admin listener requires one.
    #[arg(long, value_name = "FILE")]
    admin_identity_file: Option<PathBuf>,
}

/// A client of the admin API; it sends the admin token with every call.
pub(super) struct AdminApi {
    base_url: Url,
    token: Secret<String>,
    client: reqwest::Client,
}

impl AdminArgs {
    /// Builds a client. Returns an error if there is no admin token or a file cannot be read.
    pub(super) fn build_client(&self) -> anyhow::Result<AdminApi> {
        let token = match &self.admin_token_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("--admin-token-file {}", path.display()))?,
            None => std::env::var("CURFEW_ADMIN_TOKEN").ok().context(
                "an admin token is needed: set CURFEW_ADMIN_TOKEN, or give --admin-token-file FILE; \
                 `curfew keygen --admin` generates a token",
            )?,
        };
        let ca_certificates = match &self.admin_ca_file {
            Some(path) => Some(
                std::fs::read(path)
                    .with_context(|| format!("--admin-ca-file {}", path.display()))?,
            ),
            None => None,
        };
        let client = client_builder(Duration::from_secs(30), ca_certificates.as_deref())?;
        let client = match &self.admin_identity_file {
            Some(path) => with_identity(client, path).context("--admin-identity-file")?,
            None => client,
        };
        Ok(AdminApi {
            base_url: self.admin_url.clone(),
            token: Secret::new(token.trim().to_owned()),
            client: client.build()?,
        })
    }
}

impl AdminApi {
    /// Sends a request for `path` with a query, and returns the JSON of the response.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut url = self.base_url.join(path).context("--admin-url")?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        request = request.bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request.header("content-type", "application/json");
            request = request.body(body.to_string());
        }
        let answer = request.send().await.with_context(|| {
            format!(
                "could not reach the admin API at {}; set its address with --admin-url or CURFEW_ADMIN_URL",
                self.base_url
            )
        })?;
        let status = answer.status();
        let text = answer.text().await?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str();
        match (status, detail) {
            (StatusCode::UNAUTHORIZED, _) => {
                bail!(
                    "the admin API at {} does not accept this admin token",
                    self.base_url
                )
            }
            (StatusCode::FORBIDDEN, Some(detail)) => bail!("not allowed: {}", line(detail)),
            (_, Some(detail)) => bail!("{}", line(detail)),
            (status, None) => bail!(
                "unexpected answer from {}: {status}; is this the address of the admin API?",
                self.base_url
            ),
        }
    }
}
