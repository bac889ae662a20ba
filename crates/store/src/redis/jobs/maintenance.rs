//! Periodic maintenance of Redis: Curfew checks the clocks and the generation marker, upgrades records, and rebuilds
//! indexes. The upgrade and the rebuild also run after every change of primary.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::StoreError;
use crate::live::Live;
use crate::policy::Policies;
use crate::redis::RedisStore;
use crate::redis::connection::info;
use crate::redis::jobs::Migration;
use crate::telemetry::{Diagnostics, Metrics, Replicas};

/// Interval at which Curfew checks the clock, the schema and the generation marker.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which Curfew checks whether it must upgrade records or rebuild indexes (reconciliation). After an error,
/// Curfew retries after the same time.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(10);
/// How far the wall clock of this machine may differ from decision time (the common time of all replicas), in
/// milliseconds. `/readyz?verbose` reports a larger difference.
const WALL_TOLERANCE_MILLIS: u64 = 1_000;

/// The upgrade begins when no older replica has announced itself for this time, in seconds. A replica announces
/// itself every 5 s.
const UPGRADE_DELAY_SECONDS: f64 = 20.0;

/// How long a replica may run a task alone, in milliseconds. After this time, another replica may start the same
/// task.
const LEASE_MILLIS: u64 = 60_000;

impl RedisStore {
    /// Runs the maintenance until `stop`.
    pub async fn run_maintenance(
        &self,
        policies: &Live<Policies>,
        diagnostics: &Diagnostics,
        metrics: &Metrics,
        replicas: &Replicas,
        stop: CancellationToken,
    ) {
        let background_store = self.with_background_timeout();
        let mut counted_losses = 0;
        let checks = async {
            loop {
                self.report_clock(diagnostics, metrics);
                // After the end of the upgrade, the schema cannot change any more.
                if self.upgrade.accepts_plain()
                    && let Err(error) = background_store.refresh_schema().await
                {
                    tracing::debug!(%error, "could not read the schema version in Redis");
                }
                if let Err(error) = background_store.check_generation().await {
                    tracing::debug!(%error, "could not check the generation marker in Redis");
                }
                let losses = background_store.losses();
                metrics.store.losses.inc_by(losses - counted_losses);
                counted_losses = losses;
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        };
        let reconciliation = async {
            let mut incarnation = self.managed_connection.incarnation();
            loop {
                incarnation.mark_unchanged();
                let current = policies.current();
                let reconciled = background_store.reconcile(&current, diagnostics, replicas);
                if let Err(error) = reconciled.await {
                    tracing::debug!(%error, "could not complete the maintenance of Redis (checks, upgrade of the records, rebuild of the indexes); retrying");
                }
                tokio::select! {
                    _ = incarnation.changed() => {}
                    () = tokio::time::sleep(RECONCILE_INTERVAL) => {}
                }
            }
        };
        let sealing = background_store.reseal_when_keys_change(diagnostics);
        stop.run_until_cancelled(async { tokio::join!(checks, reconciliation, sealing) })
            .await;
    }

    async fn reconcile(
        &self,
        policies: &Policies,
        diagnostics: &Diagnostics,
        replicas: &Replicas,
    ) -> Result<(), StoreError> {
        diagnostics.set_recommendations("redis", self.recommendations().await?);
        self.upgrade_records(policies, diagnostics, replicas)
            .await?;
        self.rebuild_indexes_if_stale(policies).await.map(drop)
    }

    /// Reserves a task for this replica for `LEASE_MILLIS`, because only one replica at a time may run the task.
    /// Returns `false` if another replica has reserved the task.
    pub(in crate::redis) async fn take_lease(&self, key: &[u8]) -> Result<bool, StoreError> {
        let mut lease = redis::cmd("SET");
        lease.arg(key).arg(1).arg("NX").arg("PX").arg(LEASE_MILLIS);
        Ok(self
            .send_with_retry::<Option<String>>(&lease)
            .await?
            .is_some())
    }

    /// Upgrades older records when no older program runs any more.
    async fn upgrade_records(
        &self,
        policies: &Policies,
        diagnostics: &Diagnostics,
        replicas: &Replicas,
    ) -> Result<(), StoreError> {
        let schema = self.schema().await?;
        if !schema.is_outdated() {
            diagnostics.set_recommendations("schema", Vec::new());
            return Ok(());
        }
        let (older, seconds_since_incompatible_replica) = (
            replicas.incompatible_names(),
            replicas.seconds_since_incompatible_replica(),
        );
        let must_begin = schema.found < u64::from(schema.known);
        let recommendation = if !self.managed_connection.settings().migrate
            || (must_begin && seconds_since_incompatible_replica.is_none())
        {
            Some(format!(
                "the records have schema version {}: run `curfew migrate` when no older curfew is running",
                schema.found
            ))
        } else if must_begin && !older.is_empty() {
            Some(format!(
                "the records are not encrypted, and the upgrade begins when these older replicas are stopped: {}",
                older.join(", ")
            ))
        } else if must_begin && seconds_since_incompatible_replica < Some(UPGRADE_DELAY_SECONDS) {
            None
        } else {
            tracing::info!(
                from = schema.found,
                to = schema.known,
                "upgrading the records in Redis to a newer schema"
            );
            let done = self.migrate(Migration::Upgrade, policies, |_| {}).await?;
            tracing::info!(
                upgraded = done.upgraded,
                unreadable = done.unreadable,
                "upgrade of the records in Redis finished"
            );
            None
        };
        diagnostics.set_recommendations("schema", recommendation.into_iter().collect());
        Ok(())
    }

    /// Returns the recommendations for the settings of each Redis server.
    async fn recommendations(&self) -> Result<Vec<String>, StoreError> {
        let command = redis::cmd("INFO");
        let mut connection = self.managed_connection.acquire(self.budget).await?;
        let answers = connection.ask_every_primary(&command).await?;
        let mut recommendations = Vec::new();
        for (server, answer) in answers {
            let text: String = redis::from_redis_value(answer).map_err(redis::RedisError::from)?;
            for recommendation in info::recommendations(&text, self.managed_connection.is_cluster())
            {
                recommendations.push(match &server {
                    Some(server) => format!("{server}: {recommendation}"),
                    None => recommendation,
                });
            }
        }
        Ok(recommendations)
    }

    fn report_clock(&self, diagnostics: &Diagnostics, metrics: &Metrics) {
        let clock = self.managed_connection.clock();
        let (offset_from_wall, offset_from_decision_time) = (
            clock.store_offset_from_wall(),
            clock.store_offset_from_decision_time(),
        );
        metrics.store.clock_offset.set(seconds(offset_from_wall));
        metrics
            .store
            .clock_disagreement
            .set(seconds(offset_from_decision_time));
        let mut warnings = Vec::new();
        let disagreement = clock.disagreement();
        if let Some(offset) = disagreement.store_offset_from_decision_time
            && !disagreement.is_accepted
        {
            warnings.push(format!(
                "the clock of Redis is {} decision time, which follows the boot-time clock: set the clock of Redis \
                 with NTP, or choose the right clock with `curfew clock --accept`",
                describe_offset(offset, "ahead of", "behind")
            ));
        }
        if let Some(offset) = disagreement.replicas_offset {
            warnings.push(format!(
                "the decision time of this replica is {} that of the other replicas: restart this replica",
                describe_offset(-offset, "ahead of", "behind")
            ));
        }
        let wall_error = offset_from_wall - offset_from_decision_time;
        if wall_error.unsigned_abs() > WALL_TOLERANCE_MILLIS {
            warnings.push(format!(
                "the clock of this machine, which log timestamps use, is {} decision time: set this clock with NTP",
                describe_offset(-wall_error, "ahead of", "behind")
            ));
        }
        diagnostics.set_recommendations("clock", warnings);
    }
}

/// Formats an offset, for example `1.5 s ahead of`.
fn describe_offset(millis: i64, ahead: &str, behind: &str) -> String {
    let direction = if millis > 0 { ahead } else { behind };
    format!("{:.1} s {direction}", seconds(millis).abs())
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
