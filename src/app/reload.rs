//! The configuration is read again when its file changes, or when it is asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::assembly::{Foundation, InForce};
use super::tell_known;
use crate::config::raw::RawConfig;
use crate::config::{Contents, Loaded, Source};
use crate::telemetry::Advice;

/// How often the file is looked at. What is found is read when it is the same at the next look, so
/// that nothing is taken that is half written. Looking, unlike the notices of a file system, also
/// sees what is behind a symbolic link, as in a volume of Kubernetes, and what is on a network.
const PERIOD: Duration = Duration::from_millis(500);

/// The name under which the operator is told about the configuration.
const ADVISER: &str = "configuration";

/// Reads the configuration again.
pub(super) struct Reloader {
    pub(super) source: Source,
    pub(super) foundation: Foundation,
    pub(super) in_force: InForce,
    pub(super) advice: Arc<Advice>,
    /// What the process was started with, which some of it goes by until it ends.
    pub(super) started_with: Loaded,
}

impl Reloader {
    /// Looks at the file until stopped; reads it at once whenever it is `asked` to.
    pub(super) async fn run(self, asked: Arc<Notify>, stop: CancellationToken) {
        let mut files = self.source.files(&self.started_with);
        let mut known = read(&files).await;
        let mut seen = known.clone();
        loop {
            let at_once = tokio::select! {
                () = stop.cancelled() => return,
                () = asked.notified() => true,
                () = tokio::time::sleep(PERIOD) => false,
            };
            let now = read(&files).await;
            let settled = now == seen;
            seen = now;
            if at_once || (settled && seen != known) {
                known.clone_from(&seen);
                // What changes from here on differs from what is known, and is read in its turn.
                let named = self.reload().map(|loaded| self.source.files(&loaded));
                if let Some(named) = named.filter(|named| *named != files) {
                    files = named;
                    known = None;
                }
            }
        }
    }

    /// Reads the configuration and puts it in force; leaves the one before in force when it makes
    /// no sense.
    fn reload(&self) -> Option<Loaded> {
        match self.read() {
            Ok(loaded) => {
                let needs_restart = restart_for(&self.started_with.effective, &loaded.effective);
                let lines = needs_restart.into_iter().map(|key| {
                    format!("{key} has changed: the process must be started again to go by it")
                });
                tracing::info!("the configuration was read again and is in force");
                self.advice.set(ADVISER, lines.collect());
                self.foundation.metrics.config_reload(true);
                Some(loaded)
            }
            Err(problems) => {
                let lines = problems
                    .lines()
                    .map(|problem| format!("refused, the one before stays in force: {problem}"));
                self.advice.set(ADVISER, lines.collect());
                self.foundation.metrics.config_reload(false);
                None
            }
        }
    }

    fn read(&self) -> Result<Loaded, String> {
        let loaded = self.source.load().map_err(|error| error.to_string())?;
        let assembly = self.foundation.assemble(&loaded.config);
        let assembly = assembly.map_err(|error| format!("cookie: {error}"))?;
        tell_known(&self.foundation.metrics, &loaded.config.book.policies);
        self.in_force.replace(assembly);
        Ok(loaded)
    }
}

/// What the files hold; read aside, for a file system that hangs.
async fn read(files: &[PathBuf]) -> Option<Contents> {
    let files = files.to_vec();
    let reading = tokio::task::spawn_blocking(move || Contents::read(&files));
    reading.await.ok()
}

/// What can't change while the process runs, and has.
fn restart_for(before: &RawConfig, now: &RawConfig) -> Vec<&'static str> {
    let mut store = now.store.clone();
    // Which is of the checks.
    store.check_timeout.clone_from(&before.store.check_timeout);
    let changed = [
        ("listen", before.listen != now.listen),
        ("grpc", before.grpc != now.grpc),
        ("store", before.store != store),
        ("events", before.events != now.events),
        ("log", before.log != now.log),
        (
            "shutdown_timeout",
            before.shutdown_timeout != now.shutdown_timeout,
        ),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key).collect()
}
