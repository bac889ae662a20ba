//! The configuration is read again when its file changes, or when it is asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::assembly::{Foundation, InForce};
use super::init_metrics;
use crate::config::raw::RawConfig;
use crate::config::{FileContents, Loaded, Source};
use crate::telemetry::{Diagnostics, logging};

/// How often the file is looked at. What is found is read when it is the same at the next look, so
/// that nothing is taken that is half written. Looking, unlike the notices of a file system, also
/// sees what is behind a symbolic link, as in a volume of Kubernetes, and what is on a network.
const PERIOD: Duration = Duration::from_millis(500);

/// The name under which the operator is told about the configuration.
const ADVISER: &str = "configuration";

/// Wishes that the configuration be read again; each is answered once that was done.
pub type ReloadRequests = mpsc::Receiver<oneshot::Sender<()>>;

/// Reads the configuration again.
pub(super) struct Reloader {
    pub(super) source: Source,
    pub(super) foundation: Foundation,
    pub(super) in_force: InForce,
    pub(super) advice: Arc<Diagnostics>,
    /// What the process was started with, which some of it goes by until it ends.
    pub(super) started_with: Loaded,
}

impl Reloader {
    /// Looks at the file until stopped; reads it at once whenever it is `asked` to.
    pub(super) async fn run(self, mut asked: ReloadRequests, stop: CancellationToken) {
        let mut files = self.source.files(&self.started_with);
        let mut watch = Watch::new(read(&files).await);
        loop {
            let wish = tokio::select! {
                () = stop.cancelled() => return,
                Some(wish) = asked.recv() => Some(wish),
                () = tokio::time::sleep(PERIOD) => None,
            };
            if !watch.look(read(&files).await, wish.is_some()) {
                continue;
            }
            // What changes from here on differs from what is known, and is read in its turn.
            let named = self.reload().map(|loaded| self.source.files(&loaded));
            if let Some(named) = named.filter(|named| *named != files) {
                files = named;
                watch = Watch::new(None);
            }
            if let Some(done) = wish {
                let _ = done.send(());
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
        let assembly = assembly.map_err(|error| error.to_string())?;
        init_metrics(&self.foundation.metrics, &loaded.config.book.policies);
        logging::set_filter(&loaded.config.log.filter).map_err(|error| error.to_string())?;
        let key_ring = Arc::clone(&assembly.lifecycle.key_ring);
        self.foundation.store_key_ring.replace(key_ring);
        self.in_force.replace(assembly);
        Ok(loaded)
    }
}

/// Tells a change that has settled from one that is being made.
struct Watch<T> {
    /// What was read.
    known: Option<T>,
    /// What was there at the last look.
    seen: Option<T>,
}

impl<T: Clone + PartialEq> Watch<T> {
    fn new(known: Option<T>) -> Self {
        let seen = known.clone();
        Self { known, seen }
    }

    /// Whether what is there `now` is to be read: it differs from what was read and is the same as
    /// at the last look, or it is wanted at once.
    fn look(&mut self, now: Option<T>, at_once: bool) -> bool {
        let settled = now == self.seen;
        self.seen = now;
        let wanted = at_once || (settled && self.seen != self.known);
        if wanted {
            self.known.clone_from(&self.seen);
        }
        wanted
    }
}

/// What the files hold; read aside, for a file system that hangs.
async fn read(files: &[PathBuf]) -> Option<FileContents> {
    let files = files.to_vec();
    let reading = tokio::task::spawn_blocking(move || FileContents::read(&files));
    reading.await.ok()
}

/// What can't change while the process runs, and has.
fn restart_for(before: &RawConfig, now: &RawConfig) -> Vec<&'static str> {
    let mut store = now.store.clone();
    // Which is of the checks.
    store.check_timeout.clone_from(&before.store.check_timeout);
    let changed = [
        ("listen", before.listen != now.listen),
        ("store", before.store != store),
        ("events", before.events != now.events),
        ("traces", before.traces != now.traces),
        ("log.format", before.log.format != now.log.format),
        (
            "shutdown_delay",
            before.shutdown_delay != now.shutdown_delay,
        ),
        (
            "shutdown_timeout",
            before.shutdown_timeout != now.shutdown_timeout,
        ),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_once_it_has_settled() {
        let mut watch = Watch::new(Some("old"));
        for (now, at_once, wanted) in [
            (Some("old"), false, false),
            // Truncated, half written, written.
            (Some(""), false, false),
            (Some("ne"), false, false),
            (Some("new"), false, false),
            (Some("new"), false, true),
            (Some("new"), false, false),
            // Away for a moment, as while it is replaced.
            (None, false, false),
            (Some("new"), false, false),
            // Away for good.
            (None, false, false),
            (None, false, true),
            (None, false, false),
            // Back, and asked for.
            (Some("back"), true, true),
            (Some("back"), false, false),
            (Some("back"), true, true),
        ] {
            assert_eq!(watch.look(now, at_once), wanted, "{now:?}");
        }
        let mut other_files = Watch::new(None);
        assert!(!other_files.look(Some("x"), false));
        assert!(other_files.look(Some("x"), false), "read once more");
    }
}
