use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Stopwatch;
use crate::contract::Contracts;
use crate::live::Live;
use crate::store::LimitsOfSources;

/// How often it is looked whether the limits have changed, and tried again.
const PERIOD: Duration = Duration::from_secs(1);

/// How often they are noted again: the store can lose them, and another replica can have an older configuration, in seconds.
const AGAIN_SECONDS: f64 = 10.0;

/// Sees to it that the store's history knows the limits in force, until stopped. A longer limit counts for no sign-in before
/// the history knows it.
pub(super) async fn note(contracts: Live<Contracts>, stop: CancellationToken) {
    let mut noted: Option<(LimitsOfSources, Stopwatch)> = None;
    let note = async {
        loop {
            let contracts = contracts.current();
            let checker = &contracts.checker;
            let limits = checker.sources.limits(&checker.lifecycle.policies);
            let is_noted = noted
                .as_ref()
                .is_some_and(|(known, since)| *known == limits && since.seconds() < AGAIN_SECONDS);
            if !is_noted && !limits.is_empty() {
                let (history, now) = (&checker.lifecycle.history, checker.lifecycle.clock.now());
                match history.note_limits(&limits, now).await {
                    Ok(()) => noted = Some((limits, Stopwatch::start())),
                    Err(error) => {
                        tracing::debug!(%error, "the history does not know the limits yet")
                    }
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    stop.run_until_cancelled(note).await;
}
