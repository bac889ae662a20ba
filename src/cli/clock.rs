//! `curfew clock`: compares the clocks that a deployment depends on.
//!
//! All replicas use a common time for their decisions, the decision time. Redis stores the timeline: the offset of
//! decision time from the clock of Redis. If the clock of Redis jumps, decision time does not jump with it, and an
//! operator chooses with `--accept` which of the two is right.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::ConfigArgs;
use super::output::stdout;
use crate::clock::{AcceptedClock, Clock, Stopwatch, StoreClock};
use crate::config::StoreConfig;
use crate::live::Live;
use crate::store::SessionStore;
use crate::store::redis::RedisStore;

/// The time for which the clocks are sampled before the result is printed.
const SAMPLING_TIME: Duration = Duration::from_secs(3);
/// The longest wait for Redis and for stable clocks, in seconds.
const TIMEOUT_SECONDS: f64 = 20.0;

/// Arguments of `curfew clock`.
#[derive(Args, Debug)]
pub(super) struct ClockArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The clock to accept: `store` sets decision time to the clock of Redis on all replicas, forward or back;
    /// `timeline` keeps decision time and clears the warning.
    #[arg(long, value_name = "CLOCK")]
    accept: Option<AcceptArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcceptArg {
    Store,
    Timeline,
}

/// Compares the clocks, and applies `--accept`.
pub(super) fn run(args: &ClockArgs) -> anyhow::Result<()> {
    let config = args.config.load()?.config;
    let StoreConfig::Redis { settings, .. } = &config.store else {
        bail!(
            "store.url is `memory:`: there are no clocks to compare, because each process has its own decision time"
        );
    };
    let Some(key_ring) = config.key_ring.clone() else {
        bail!(
            "token.keys is missing: it is needed to decrypt the timeline, which the replicas share"
        );
    };
    let clock = Arc::new(StoreClock::new());
    let store = RedisStore::new((**settings).clone(), clock, Live::new(key_ring)).for_command();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let accept = args.accept;
    runtime.block_on(async {
        tokio::select! {
            ended = store.run(CancellationToken::new()) => ended.context("store"),
            done = compare_clocks(&store, accept) => done,
        }
    })
}

async fn compare_clocks(store: &RedisStore, accept: Option<AcceptArg>) -> anyhow::Result<()> {
    let stopwatch = Stopwatch::start();
    while let Err(error) = store.ready().await {
        if stopwatch.seconds() > TIMEOUT_SECONDS {
            return Err(error).context("store.url");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(SAMPLING_TIME).await;
    let mut out = stdout();
    let clock = store.clock();
    writeln!(out, "decision time: {}", clock.now())?;
    writeln!(
        out,
        "the clock of Redis is ahead of decision time by {:+.3} s",
        millis_to_seconds(clock.store_offset_from_decision_time())
    )?;
    let wall_offset = clock.store_offset_from_decision_time() - clock.store_offset_from_wall();
    writeln!(
        out,
        "the clock of this machine is ahead of decision time by {:+.3} s",
        millis_to_seconds(wall_offset)
    )?;
    let Some(accept) = accept else { return Ok(()) };
    let accepted = match accept {
        AcceptArg::Store => AcceptedClock::Store,
        AcceptArg::Timeline => AcceptedClock::Timeline,
    };
    // Retry, because another replica can write the timeline at the same time.
    while !store.accept_clock(accepted).await.context("store.url")? {
        if stopwatch.seconds() > TIMEOUT_SECONDS {
            bail!(
                "could not write the accepted clock: another replica changed the timeline during every attempt; try again"
            );
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    match accept {
        AcceptArg::Store => writeln!(
            out,
            "accepted: decision time now follows the clock of Redis, on all replicas"
        )?,
        AcceptArg::Timeline => writeln!(out, "accepted: decision time is unchanged")?,
    }
    Ok(())
}

fn millis_to_seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
