use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use url::Url;

use super::ConfigArgs;
use super::serve::reachable_address;
use crate::config::Config;
use crate::http_client::{client_builder, with_identity};
use crate::listener::ListenerName;

/// The timeout of the health check.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    /// Check liveness instead of readiness.
    #[arg(long)]
    live: bool,
    /// The URL of the ops listener; by default, from the configuration. The certificate is not verified, because it
    /// seldom names the loopback address.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// A PEM file with a client certificate and its key, if the ops listener requires one.
    #[arg(long, value_name = "FILE")]
    identity_file: Option<PathBuf>,
    /// The configuration file, YAML or TOML, as for `serve`.
    #[arg(short, long, value_name = "FILE", env = "CURFEW_CONFIG")]
    config: Option<PathBuf>,
}

/// Requests the health endpoint of the process on this machine. Containers without a shell need this command.
pub(super) fn run(args: &HealthcheckArgs) -> anyhow::Result<()> {
    let urls = match &args.url {
        Some(url) => vec![url.clone()],
        None => {
            let config = args.config.clone();
            let loaded = ConfigArgs { config }.load()?;
            ops_urls(&loaded.config)?
        }
    };
    let client = client_builder(TIMEOUT, None)?.tls_danger_accept_invalid_certs(true);
    let client = match &args.identity_file {
        Some(path) => with_identity(client, path).context("--identity-file")?,
        None => client,
    };
    let client = client.build()?;
    super::build_runtime()?.block_on(async {
        let mut result = Err(anyhow::anyhow!("listen.ops has no address"));
        for url in urls {
            let url = url.join(if args.live { "/livez" } else { "/readyz" })?;
            let answer = client.get(url.clone()).send().await;
            let answer = answer.map_err(reqwest::Error::without_url);
            match answer.with_context(|| format!("no answer from {url}")) {
                Ok(answer) => return check_answer(&url, answer).await,
                Err(error) => result = Err(error),
            }
        }
        result
    })
}

async fn check_answer(url: &Url, answer: reqwest::Response) -> anyhow::Result<()> {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    if !status.is_success() {
        bail!("{url}: {status}: {}", text.trim());
    }
    Ok(())
}

/// Returns the URLs of the ops listener, one for each of its addresses. On a machine without IPv6, only some of these
/// URLs work.
fn ops_urls(config: &Config) -> anyhow::Result<Vec<Url>> {
    let scheme = match config.tls.get(ListenerName::Ops) {
        Some(_) => "https",
        None => "http",
    };
    let addresses = config.listen.addresses.get(ListenerName::Ops).iter();
    let urls =
        addresses.map(|address| Url::parse(&format!("{scheme}://{}", reachable_address(*address))));
    Ok(urls.collect::<Result<_, _>>()?)
}
