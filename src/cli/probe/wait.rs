use std::io::{IsTerminal, Write};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::super::admin_api::AdminApi;
use crate::clock::Stopwatch;

/// How the probe lets a session become idle.
pub(super) enum IdleMethod<'a> {
    /// The probe waits in real time.
    Waiting,
    /// The admin API ages the session: it moves the times of the session into the past.
    Ageing { api: &'a AdminApi, id: &'a str },
}

impl IdleMethod<'_> {
    /// Waits, or ages the session by `time`. On a terminal, shows the remaining time after `label`.
    pub(super) async fn wait(&self, time: Duration, label: &str) -> anyhow::Result<()> {
        match self {
            Self::Ageing { api, id } => {
                let path = format!("/api/v1/sessions/{id}/age");
                let by = humantime::format_duration(time).to_string();
                api.call(Method::POST, &path, &[], Some(json!({ "by": by })))
                    .await?;
            }
            Self::Waiting => wait_in_real_time(time, label).await?,
        }
        Ok(())
    }
}

async fn wait_in_real_time(time: Duration, label: &str) -> anyhow::Result<()> {
    const BAR_WIDTH: usize = 30;
    let mut out = crate::cli::output::raw_stderr();
    let stopwatch = Stopwatch::start();
    loop {
        let elapsed = stopwatch.seconds();
        let left = time.saturating_sub(Duration::from_secs_f64(elapsed));
        if left.is_zero() {
            break;
        }
        if out.is_terminal() {
            let fraction = elapsed / time.as_secs_f64();
            let filled = ((fraction * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(BAR_WIDTH - filled));
            write!(out, "\r{label} [{bar}] {left} left    ")?;
            out.flush()?;
        }
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
    }
    if out.is_terminal() {
        write!(out, "\r{}\r", " ".repeat(BAR_WIDTH + 40))?;
    }
    Ok(())
}
