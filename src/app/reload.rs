//! Reloads the configuration when its file changes, or on request.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::assembly::{LiveAssembly, ProcessState};
use super::init_metrics;
use crate::clock::Stopwatch;
use crate::config::{ConfigSource, FileContents, Loaded};
use crate::telemetry::{Diagnostics, logging};

/// Polling interval of the configuration files. A change is loaded after two equal polls, so that no half-written
/// file is used. Unlike inotify, polling also works with symbolic links, as in Kubernetes volumes, and with network
/// file systems.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The interval at which a rejected configuration is loaded again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The label of the diagnostics about the configuration.
const DIAGNOSTICS_SOURCE: &str = "configuration";

/// Requests to reload the configuration. Curfew answers each request after the reload.
pub type ReloadRequests = mpsc::Receiver<oneshot::Sender<()>>;

/// Reloads the configuration.
pub(super) struct Reloader {
    pub(super) source: ConfigSource,
    pub(super) process_state: ProcessState,
    pub(super) live_assembly: LiveAssembly,
    pub(super) diagnostics: Arc<Diagnostics>,
    /// The configuration at the start of the process. A reload compares it with the new configuration, and reports the
    /// changes that apply only after a restart.
    pub(super) started_with: Loaded,
    /// The contents of the files at the start of the process. A change while the process starts differs from them.
    pub(super) contents_at_start: Option<FileContents>,
}

impl Reloader {
    /// Polls the files until `stop` is cancelled. A request through `requests` starts a reload at once.
    pub(super) async fn run(mut self, mut requests: ReloadRequests, stop: CancellationToken) {
        let mut files = self.source.files(&self.started_with);
        let mut change_detector = ChangeDetector::new(self.contents_at_start.take());
        let mut rejection = None;
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                Some(request) = requests.recv() => Some(request),
                () = tokio::time::sleep(POLL_INTERVAL) => None,
            };
            let has_changed = change_detector.poll(read_files(&files).await, request.is_some());
            let is_retry_due = rejection.as_ref().is_some_and(Rejection::is_retry_due);
            if !has_changed && !is_retry_due {
                continue;
            }
            // If the files change during the reload, a later poll finds the difference and loads them again.
            let loaded = self.reload(&mut rejection, has_changed);
            let new_files = loaded.map(|loaded| self.source.files(&loaded));
            if let Some(new_files) = new_files.filter(|new_files| *new_files != files) {
                files = new_files;
                change_detector = ChangeDetector::new(None);
            }
            if let Some(done) = request {
                let _ = done.send(());
            }
        }
    }

    /// Loads the configuration and puts it in force. If it is invalid, the previous one stays in force. A retry that is
    /// rejected for the same reason is not reported again.
    fn reload(&self, rejection: &mut Option<Rejection>, has_changed: bool) -> Option<Loaded> {
        let previous = rejection.take();
        match self.load_and_apply() {
            Ok(loaded) => {
                let at_start = &self.started_with.effective;
                let changed_keys = loaded.effective.changed_for_restart(at_start).into_iter();
                let messages =
                    changed_keys.map(|key| format!("{key} has changed: restart required"));
                tracing::info!("configuration reloaded");
                self.diagnostics
                    .set_recommendations(DIAGNOSTICS_SOURCE, messages.collect());
                self.process_state.metrics.record_config_reload(true);
                Some(loaded)
            }
            Err(problems) => {
                let is_known = previous.is_some_and(|previous| previous.problems == problems);
                *rejection = Some(Rejection {
                    problems: problems.clone(),
                    age: Stopwatch::start(),
                });
                if is_known && !has_changed {
                    return None;
                }
                let messages = problems.lines().map(|problem| {
                    format!("rejected, previous configuration still active: {problem}")
                });
                self.diagnostics
                    .set_recommendations(DIAGNOSTICS_SOURCE, messages.collect());
                self.process_state.metrics.record_config_reload(false);
                None
            }
        }
    }

    fn load_and_apply(&self) -> Result<Loaded, String> {
        let loaded = self.source.load().map_err(|error| error.to_string())?;
        let assembly = self.process_state.assemble(&loaded.config);
        let assembly = assembly.map_err(|error| error.to_string())?;
        init_metrics(
            &self.process_state.metrics,
            &loaded.config.rulebook.policies,
        );
        logging::set_filter(&loaded.config.log.filter).map_err(|error| error.to_string())?;
        let key_ring = Arc::clone(&assembly.key_ring);
        self.process_state.store_key_ring.replace(key_ring);
        self.live_assembly.replace(assembly);
        let domain = loaded.config.cookie.domain.clone();
        self.process_state.cookie_domain.replace(domain);
        Ok(loaded)
    }
}

/// A configuration that was rejected. The cause can be temporary: the configuration names a file that does not exist
/// yet, or a file is unreadable for a moment. So Curfew loads the configuration again from time to time.
struct Rejection {
    problems: String,
    age: Stopwatch,
}

impl Rejection {
    fn is_retry_due(&self) -> bool {
        self.age.seconds() >= RETRY_INTERVAL.as_secs_f64()
    }
}

/// Detects a change, and waits until the change is complete.
struct ChangeDetector<T> {
    /// The content that was loaded last.
    loaded: Option<T>,
    /// The content at the last poll.
    polled: Option<T>,
}

impl<T: Clone + PartialEq> ChangeDetector<T> {
    fn new(loaded: Option<T>) -> Self {
        let polled = loaded.clone();
        Self { loaded, polled }
    }

    /// Returns whether to load the content `current`: if a reload was requested (`is_requested`), or if the content
    /// differs from the loaded content and equals the content at the last poll.
    fn poll(&mut self, current: Option<T>, is_requested: bool) -> bool {
        let is_stable = current == self.polled;
        self.polled = current;
        let should_load = is_requested || (is_stable && self.polled != self.loaded);
        if should_load {
            self.loaded.clone_from(&self.polled);
        }
        should_load
    }
}

/// Reads the files on a blocking thread, because a network file system can hang.
pub(super) async fn read_files(files: &[PathBuf]) -> Option<FileContents> {
    let files = files.to_vec();
    let task = tokio::task::spawn_blocking(move || FileContents::read(&files));
    task.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_loaded_after_two_equal_polls() {
        let mut change_detector = ChangeDetector::new(Some("old"));
        for (current, is_requested, should_load) in [
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
            let loads = change_detector.poll(current, is_requested);
            assert_eq!(loads, should_load, "{current:?}");
        }
        let mut other_files = ChangeDetector::new(None);
        assert!(!other_files.poll(Some("x"), false));
        assert!(
            other_files.poll(Some("x"), false),
            "new files must be loaded after two equal polls"
        );
    }
}
