use std::time::Duration;

use sd_notify::NotifyState;

/// What systemd is told, where it has started the process (`sd_notify(3)`); nothing elsewhere.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// It serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager can't be told of the reload"),
    }
}

/// It has been told to stop.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the process is well, as often as it is wanted (`WatchdogSec=`), for as long as it is.
pub(super) async fn stay_well() {
    let Some(most) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval((most / 3).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}
