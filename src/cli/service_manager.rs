use std::time::Duration;

use sd_notify::NotifyState;

/// Notifies systemd (`sd_notify(3)`); does nothing if systemd did not start the process.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "could not notify the service manager");
    }
}

/// Reports that the service is ready.
pub(super) fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that a reload has started.
pub(super) fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "could not notify the service manager of the reload"),
    }
}

/// Reports that the process is stopping.
pub(super) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Sends watchdog notifications to systemd, three in each interval of `WatchdogSec=`, as long as the runtime works.
pub(super) async fn run_watchdog() {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval((timeout / 3).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}
