//! Reloads the configuration when its file changes, or on request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::assembly::{Foundation, InForce};
use super::init_metrics;
use crate::config::{ConfigSource, FileContents, Loaded};
use crate::telemetry::{Diagnostics, logging};

/// Polling interval of the configuration files. A change is loaded after two equal polls, so that no half-written
/// file is used. Unlike inotify, polling also works with symbolic links, as in Kubernetes volumes, and with network
/// file systems.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The source of the diagnostics of this module.
const DIAGNOSTICS_SOURCE: &str = "configuration";

/// Requests to reload the configuration. Curfew answers each request after the reload.
pub type ReloadRequests = mpsc::Receiver<oneshot::Sender<()>>;

/// Reloads the configuration.
pub(super) struct Reloader {
    pub(super) source: ConfigSource,
    pub(super) foundation: Foundation,
    pub(super) in_force: InForce,
    pub(super) advice: Arc<Diagnostics>,
    /// The configuration at the start of the process. Changes of some keys apply only after a restart.
    pub(super) started_with: Loaded,
}

impl Reloader {
    /// Polls the files until `stop` is cancelled. A request through `requests` starts a reload at once.
    pub(super) async fn run(self, mut requests: ReloadRequests, stop: CancellationToken) {
        let mut files = self.source.files(&self.started_with);
        let mut watch = Watch::new(read(&files).await);
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                Some(request) = requests.recv() => Some(request),
                () = tokio::time::sleep(POLL_INTERVAL) => None,
            };
            if !watch.poll(read(&files).await, request.is_some()) {
                continue;
            }
            // If the files change during the reload, a later poll finds the difference and loads them again.
            let named = self.reload().map(|loaded| self.source.files(&loaded));
            if let Some(named) = named.filter(|named| *named != files) {
                files = named;
                watch = Watch::new(None);
            }
            if let Some(done) = request {
                let _ = done.send(());
            }
        }
    }

    /// Loads the configuration and puts it in force. If it is invalid, the previous one stays in force.
    fn reload(&self) -> Option<Loaded> {
        match self.read() {
            Ok(loaded) => {
                let before = &self.started_with.effective;
                let changed = loaded.effective.changed_for_restart(before).into_iter();
                let lines = changed.map(|key| format!("{key} has changed: restart required"));
                tracing::info!("configuration reloaded");
                self.advice.set(DIAGNOSTICS_SOURCE, lines.collect());
                self.foundation.metrics.config_reload(true);
                Some(loaded)
            }
            Err(problems) => {
                let lines = problems.lines().map(|problem| {
                    format!("rejected, previous configuration still active: {problem}")
                });
                self.advice.set(DIAGNOSTICS_SOURCE, lines.collect());
                self.foundation.metrics.config_reload(false);
                None
            }
        }
    }

    fn read(&self) -> Result<Loaded, String> {
        let loaded = self.source.load().map_err(|error| error.to_string())?;
        let assembly = self.foundation.assemble(&loaded.config);
        let assembly = assembly.map_err(|error| error.to_string())?;
        init_metrics(&self.foundation.metrics, &loaded.config.book.policies);
        logging::set_filter(&loaded.config.log.filter).map_err(|error| error.to_string())?;
        let key_ring = Arc::clone(&assembly.key_ring);
        self.foundation.store_key_ring.replace(key_ring);
        self.in_force.replace(assembly);
        Ok(loaded)
    }
}

/// Detects a change, and waits until the change is complete.
struct Watch<T> {
    /// The content that was loaded last.
    known: Option<T>,
    /// The content at the last poll.
    seen: Option<T>,
}

impl<T: Clone + PartialEq> Watch<T> {
    fn new(known: Option<T>) -> Self {
        let seen = known.clone();
        Self { known, seen }
    }

    /// Returns whether to load the content `now`. The answer is yes if a reload was requested (`at_once`), or if the
    /// content differs from the loaded content and equals the content at the last poll.
    fn poll(&mut self, now: Option<T>, at_once: bool) -> bool {
        let settled = now == self.seen;
        self.seen = now;
        let wanted = at_once || (settled && self.seen != self.known);
        if wanted {
            self.known.clone_from(&self.seen);
        }
        wanted
    }
}

/// Reads the files on a blocking thread, because a network file system can hang.
async fn read(files: &[PathBuf]) -> Option<FileContents> {
    let files = files.to_vec();
    let reading = tokio::task::spawn_blocking(move || FileContents::read(&files));
    reading.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_loaded_after_two_equal_polls() {
        let mut watch = Watch::new(Some("old"));
        for (now, at_once, wanted) in [
            (Some("old"), false, false),
            // The file is truncated, then half written, then complete.
            (Some(""), false, false),
            (Some("ne"), false, false),
            (Some("new"), false, false),
            (Some("new"), false, true),
            (Some("new"), false, false),
            // The file is missing for a moment, as during a replacement.
            (None, false, false),
            (Some("new"), false, false),
            // The file is missing for longer.
            (None, false, false),
            (None, false, true),
            (None, false, false),
            // The file exists again, and a reload is requested.
            (Some("back"), true, true),
            (Some("back"), false, false),
            (Some("back"), true, true),
        ] {
            assert_eq!(watch.poll(now, at_once), wanted, "{now:?}");
        }
        let mut other_files = Watch::new(None);
        assert!(!other_files.poll(Some("x"), false));
        assert!(other_files.poll(Some("x"), false), "read once more");
    }
}
