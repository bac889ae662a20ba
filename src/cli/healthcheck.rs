use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use url::Url;

use super::ConfigArgs;
use super::serve::reachable_address;
use crate::http_client::http_client;

/// The timeout of the health check.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    /// Check liveness instead of readiness.
    #[arg(long)]
    live: bool,
    /// The URL of the ops listener; by default, from the configuration.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The configuration file, YAML or TOML, as for `serve`.
    #[arg(short, long, value_name = "FILE", env = "CURFEW_CONFIG")]
    config: Option<PathBuf>,
}

/// Requests the health endpoint of the process on this machine. Containers without a shell need this command.
pub(super) fn run(args: &HealthcheckArgs) -> anyhow::Result<()> {
    let base = match &args.url {
        Some(url) => url.clone(),
        None => {
            let config = args.config.clone();
            let loaded = ConfigArgs { config }.load()?;
            Url::parse(&format!(
                "http://{}",
                reachable_address(loaded.config.listen.ops)
            ))?
        }
    };
    let url = base.join(if args.live { "/livez" } else { "/readyz" })?;
    super::build_runtime()?.block_on(async {
        let client = http_client(TIMEOUT, None)?;
        let answer = client.get(url.clone()).send().await;
        let answer = answer.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(|| format!("no answer from {url}"))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if !status.is_success() {
            bail!("{url}: {status}: {}", text.trim());
        }
        Ok(())
    })
}
