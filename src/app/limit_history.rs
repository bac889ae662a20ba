use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Stopwatch;
use crate::contract::Contracts;
use crate::live::Live;
use crate::store::LimitsBySource;

/// Interval at which the task compares the limits in force with the limits that it wrote last. After a failed write,
/// the task waits for this interval and writes again.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Seconds between two writes of the same limits. The writes are repeated because the store can lose the limits, and
/// because another replica can have older limits.
const REWRITE_AFTER_SECONDS: f64 = 10.0;

/// Writes the absolute limits in force to the history of limits in the store, until `stop` is cancelled.
///
/// Because of this history, a sign-in keeps the limit that applied at its time, even if the limit becomes longer later.
/// Otherwise, the credential of an ended session could start the session again under the longer limit.
pub(super) async fn record_periodically(contracts: Live<Contracts>, stop: CancellationToken) {
    let mut recorded: Option<(LimitsBySource, Stopwatch)> = None;
    let poll_loop = async {
        loop {
            let contracts = contracts.current();
            let checker = &contracts.checker;
            let limits = checker.sources.absolute_limits(&checker.rulebook.policies);
            let is_recorded = recorded.as_ref().is_some_and(|(last_limits, since)| {
                *last_limits == limits && since.seconds() < REWRITE_AFTER_SECONDS
            });
            if !is_recorded && !limits.is_empty() {
                let (history, now) = (&checker.stores.history, checker.clock.now());
                match history.record_limits(&limits, now).await {
                    Ok(()) => recorded = Some((limits, Stopwatch::start())),
                    Err(error) => {
                        tracing::debug!(%error, "could not write the absolute limits to the history in the store")
                    }
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    stop.run_until_cancelled(poll_loop).await;
}
