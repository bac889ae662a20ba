use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::output::stdout;
use super::{ConfigArgs, service_manager};
use crate::app::{Addresses, App, EphemeralSecrets};
use crate::build;
use crate::clock::{Clock, SystemClock};
use crate::telemetry::traces::Traces;
use crate::telemetry::{Replica, logging};

/// Runs the service until SIGTERM or Ctrl-C; SIGHUP reloads the configuration.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let source = args.source();
    let loaded = source.load()?;
    build_runtime()?.block_on(async {
        let this = Replica::this(SystemClock.now());
        let traces = loaded.config.traces.as_ref();
        let traces = traces.map(|settings| Traces::new(settings, &this));
        let traces = traces.transpose().context("traces.otlp_url")?;
        let log = &loaded.config.log;
        logging::init(log.format, &log.filter, traces.as_ref())?;
        let stop = CancellationToken::new();
        // Register the signals before the service reports that it is ready, so that no signal is missed.
        let (mut terminate, mut interrupt, mut hang_up) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        );
        let app = App::start(source, loaded, Arc::new(SystemClock)).await?;
        if app.ephemeral_secrets().key_ring {
            tracing::warn!(
                "token.keys is not set: generated a key for this process; its tokens become invalid when the process stops"
            );
        }
        print_addresses(app.addresses(), app.ephemeral_secrets()).context("could not write to standard output")?;
        tracing::info!(
            version = build::VERSION,
            revision = build::REVISION,
            "started"
        );
        service_manager::notify_ready();
        tokio::spawn(service_manager::run_watchdog());
        let stop_on_signal = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
            }
            service_manager::notify_stopping();
            stop_on_signal.cancel();
        });
        let (reload_sender, reload_requests) = mpsc::channel(1);
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                tracing::info!("SIGHUP: reading the configuration again");
                service_manager::notify_reloading();
                let (done, reloaded) = oneshot::channel();
                if reload_sender.send(done).await.is_ok() {
                    let _ = reloaded.await;
                }
                service_manager::notify_ready();
            }
        });
        let run_result = app.run(reload_requests, stop).await;
        if let Some(traces) = traces {
            traces.finish().await;
        }
        run_result?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Creates the Tokio runtime of the service. On a single core, the runtime has a single thread, because a thread pool
/// would only add overhead.
///
/// # Errors
/// [`std::io::Error`] if the system cannot create threads.
pub fn build_runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = match cores {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

/// Prints the listener addresses, and an example request if the admin token was generated.
fn print_addresses(
    addresses: Addresses,
    ephemeral_secrets: &EphemeralSecrets,
) -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(out, "curfew {} is listening", build::VERSION)?;
    for (name, address, what) in [
        (
            "check",
            Some(addresses.check),
            "checks over HTTP, for proxies",
        ),
        ("grpc", addresses.grpc, "checks over gRPC, for Envoy"),
        ("spoe", addresses.spoe, "checks over SPOE, for HAProxy"),
        (
            "browser",
            addresses.browser,
            "paths for browsers and identity providers",
        ),
        ("admin", Some(addresses.admin), "admin API and console"),
        ("ops", Some(addresses.ops), "metrics and health probes"),
    ] {
        let Some(address) = address else { continue };
        let scheme = if name == "spoe" { "" } else { "http://" };
        let url = format!("{scheme}{}", reachable_address(address));
        writeln!(out, "  {name:<7} {url:<29} {what}")?;
    }
    if let Some(token) = &ephemeral_secrets.admin_token {
        writeln!(
            out,
            "\nadmin token, for this run only: {}\n",
            token.expose()
        )?;
        writeln!(out, "start a session with:\n")?;
        writeln!(
            out,
            "  curl -sS http://{}/api/v1/sessions -H 'Authorization: Bearer {}' \
             -H 'Content-Type: application/json' -d '{{\"subject\":\"alice\"}}'\n",
            reachable_address(addresses.admin),
            token.expose(),
        )?;
    }
    out.flush()
}

/// Returns an address that a client on this machine can use to reach `address`.
pub(super) fn reachable_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
