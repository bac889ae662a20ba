use std::io::{IsTerminal, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::ConfigArgs;
use super::output::stdout;
use crate::clock::StoreClock;
use crate::config::{Config, StoreConfig};
use crate::live::Live;
use crate::store::redis::{Migration, Progress, RedisStore};

#[derive(Args, Debug)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Change nothing; print what the migration would change.
    #[arg(long)]
    dry_run: bool,
    /// Confirm that this Redis is new and has not lost data. Curfew then also accepts JSON Web Tokens and delegated
    /// sessions from earlier sign-ins.
    #[arg(long, conflicts_with = "dry_run")]
    new_store: bool,
}

/// Upgrades the records in Redis while the service runs.
pub(super) fn run(args: &MigrateArgs) -> anyhow::Result<()> {
    let config = args.config.load()?.config;
    let StoreConfig::Redis { settings, .. } = &config.store else {
        bail!("store.url is `memory:`: there is nothing to migrate");
    };
    let Some(key_ring) = &config.key_ring else {
        bail!("token.keys is missing: it is needed to decrypt the records");
    };
    let clock = Arc::new(StoreClock::new());
    let store = RedisStore::new((**settings).clone(), clock, Live::new(key_ring.clone()));
    let (store, is_new_store) = (store.for_command(), args.new_store);
    let migration = if args.dry_run {
        Migration::DryRun
    } else {
        Migration::Upgrade
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::select! {
            ended = store.run(stop.clone()) => ended.context("store"),
            migrated = migrate(&store, migration, is_new_store, &config) => migrated,
        }
    })
}

async fn migrate(
    store: &RedisStore,
    migration: Migration,
    is_new_store: bool,
    config: &Config,
) -> anyhow::Result<()> {
    let mut out = stdout();
    let schema = store.schema().await.context("store.url")?;
    writeln!(
        out,
        "records follow schema {}; this program writes {}",
        schema.found, schema.known
    )?;
    if migration == Migration::Upgrade {
        // A missing generation marker in Redis usually shows a loss of data. While the schema version is old, it does
        // not, because older versions of Curfew wrote no marker. So create or extend the marker before the migration
        // writes the new schema version.
        store
            .extend_fresh_marker(is_new_store)
            .await
            .context("store.url")?;
    }
    let is_terminal = super::output::raw_stderr().is_terminal();
    let progress = |progress: Progress| {
        if is_terminal {
            let _ = write!(
                super::output::raw_stderr(),
                "\rrecords: {} checked, {} upgraded",
                progress.seen,
                progress.upgraded
            );
        }
    };
    let done = store
        .migrate(migration, &config.rulebook.policies, progress)
        .await;
    if is_terminal {
        let _ = writeln!(super::output::raw_stderr());
    }
    let done =
        done.context("could not complete the migration (run the command again to continue)")?;
    let verb = match migration {
        Migration::DryRun => "to upgrade",
        Migration::Upgrade => "upgraded",
    };
    writeln!(
        out,
        "records: {} checked, {} {verb}, {} skipped because they could not be read",
        done.seen, done.upgraded, done.unreadable
    )?;
    let count = store.seal_all(migration == Migration::Upgrade).await;
    let count = count.context("could not count the records")?;
    writeln!(out, "records under each key: {}", count.summary())?;
    if migration == Migration::Upgrade
        && !store
            .extend_fresh_marker(false)
            .await
            .context("store.url")?
    {
        writeln!(
            out,
            "Redis may have lost data, because it has no fresh generation marker: \
             Redis is new, was emptied, or is an older copy. \
             If Redis is new, `curfew migrate --new-store` makes Curfew accept JSON Web Tokens and \
             delegated sessions of earlier sign-ins"
        )?;
    }
    Ok(())
}
