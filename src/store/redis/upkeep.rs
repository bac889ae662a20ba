//! What has to be done from time to time, and after every change of primary.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Migration, RedisStore, info};
use crate::live::Live;
use crate::policy::Policies;
use crate::store::StoreError;
use crate::telemetry::{Advice, Metrics};

/// How often the times before which subjects' sessions have ended are read, and the clock is
/// looked at.
const QUICK: Duration = Duration::from_secs(1);
/// How often the rest is looked at, and tried again.
const SLOW: Duration = Duration::from_secs(10);
/// How far the local clock may be from the store's before the operator is told, in milliseconds.
const CLOCK_TOLERANCE: u64 = 1_000;

impl RedisStore {
    /// Does it until stopped.
    pub async fn upkeep(
        &self,
        policies: &Live<Policies>,
        advice: &Advice,
        metrics: &Metrics,
        stop: CancellationToken,
    ) {
        let patient = self.patiently();
        let quick = async {
            loop {
                self.look_at_clock(advice, metrics);
                let unknown = patient.refresh_not_before().await.err().map(|error| {
                    format!("what was revoked elsewhere in the last seconds is not known: {error}")
                });
                advice.set("revocations", unknown.into_iter().collect());
                tokio::time::sleep(QUICK).await;
            }
        };
        let slow = async {
            let mut incarnation = self.link.incarnation();
            loop {
                incarnation.mark_unchanged();
                if let Err(error) = patient.set_to_rights(&policies.current(), advice).await {
                    tracing::debug!(%error, "upkeep of Redis has to be tried again");
                }
                tokio::select! {
                    _ = incarnation.changed() => {}
                    () = tokio::time::sleep(SLOW) => {}
                }
            }
        };
        stop.run_until_cancelled(async { tokio::join!(quick, slow) })
            .await;
    }

    async fn refresh_not_before(&self) -> Result<(), StoreError> {
        let wire = self.link.wire(self.budget).await?;
        let refresh = self.not_before.refresh(&self.keys, wire);
        match tokio::time::timeout(self.budget, refresh).await {
            Ok(refreshed) => Ok(refreshed?),
            Err(_) => Err(StoreError::Unavailable("no answer".to_owned())),
        }
    }

    async fn set_to_rights(&self, policies: &Policies, advice: &Advice) -> Result<(), StoreError> {
        advice.set("redis", self.advice().await?);
        let schema = self.schema().await?;
        if schema.found < u64::from(schema.known) {
            if !self.link.settings().migrate {
                let line = format!(
                    "the records follow schema {}: run `curfew migrate` when no older curfew runs any more",
                    schema.found
                );
                advice.set("schema", vec![line]);
            } else {
                tracing::info!(from = schema.found, to = schema.known, "upgrading records");
                let done = self.migrate(Migration::Upgrade, policies, |_| {}).await?;
                tracing::info!(
                    upgraded = done.upgraded,
                    unreadable = done.unreadable,
                    "records are upgraded"
                );
            }
        } else {
            advice.set("schema", Vec::new());
        }
        self.heal(policies).await.map(drop)
    }

    /// What each server's operator should change.
    async fn advice(&self) -> Result<Vec<String>, StoreError> {
        let command = redis::cmd("INFO");
        let mut wire = self.link.wire(self.budget).await?;
        let answers = wire.ask_every_primary(&command).await?;
        let mut lines = Vec::new();
        for (server, answer) in answers {
            let text: String = redis::from_redis_value(answer).map_err(redis::RedisError::from)?;
            for line in info::advice(&text, self.link.is_cluster()) {
                lines.push(match &server {
                    Some(server) => format!("{server}: {line}"),
                    None => line,
                });
            }
        }
        Ok(lines)
    }

    fn look_at_clock(&self, advice: &Advice, metrics: &Metrics) {
        let offset = self.link.clock().offset();
        metrics.clock_offset.set(offset as f64 / 1000.0);
        let lines = if offset.unsigned_abs() > CLOCK_TOLERANCE {
            let seconds = offset.unsigned_abs() as f64 / 1000.0;
            let side = if offset > 0 { "behind" } else { "ahead of" };
            vec![format!(
                "this machine's clock was {seconds:.1} s {side} that of Redis when this process started: \
                 decisions go by Redis, logs by this machine; set it by NTP"
            )]
        } else {
            Vec::new()
        };
        advice.set("clock", lines);
    }
}
