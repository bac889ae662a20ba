use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::output::{raw_stdout, stdout};
use super::{ConfigArgs, service_manager};
use crate::app::App;
use crate::build;
use crate::clock::{Clock, SystemClock};
use crate::listener::ListenerName;
use crate::secret::Secret;
use crate::telemetry::logging::LogFormat;
use crate::telemetry::traces::Traces;
use crate::telemetry::{Replica, logging};

/// Runs the service until SIGTERM or Ctrl-C; SIGHUP reloads the configuration.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let source = args.source();
    let loaded = source.load()?;
    build_runtime()?.block_on(async {
        let this_replica = Replica::this(SystemClock.now());
        let traces = loaded.config.traces.as_ref();
        let traces = traces.map(|settings| Traces::new(settings, &this_replica));
        let traces = traces.transpose().context("traces.otlp_url")?;
        let log = &loaded.config.log;
        let log_format = log.format;
        logging::init(log_format, &log.filter, traces.as_ref())?;
        let stop = CancellationToken::new();
        // Register the signals before the service reports that it is ready, so that no signal is missed.
        let (mut terminate, mut interrupt, mut hang_up) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        );
        let app = App::start(source, loaded, Arc::new(SystemClock)).await?;
        if app.ephemeral_secrets().has_key_ring {
            tracing::warn!(
                "token.keys is not set: Curfew has generated a key for this process, and its tokens become invalid \
                 when the process stops"
            );
        }
        announce(&app, log_format).context("could not write to standard output")?;
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

/// Says on which addresses Curfew listens: in the log if the log is JSON, and otherwise on standard output. Only a terminal
/// gets a generated admin token, because other outputs are logs.
fn announce(app: &App, log_format: LogFormat) -> std::io::Result<()> {
    let admin_token = app.ephemeral_secrets().admin_token.as_ref();
    let shows_token = log_format == LogFormat::Human && raw_stdout().is_terminal();
    match log_format {
        LogFormat::Human => print_addresses(app)?,
        LogFormat::Json => log_addresses(app),
    }
    match admin_token {
        Some(token) if shows_token => print_first_request(app, token)?,
        Some(_) => tracing::warn!(
            "admin.token_hashes is not set: Curfew has generated an admin token for this process, and prints it only on a \
             terminal. To use the admin API, generate a token and its hash with `curfew keygen --admin`"
        ),
        None => {}
    }
    Ok(())
}

/// Logs each bound address.
fn log_addresses(app: &App) {
    for (name, addresses) in app.addresses().iter() {
        for address in addresses {
            tracing::info!(
                listener = name.as_str(),
                %address,
                tls = app.uses_tls(name),
                "listening"
            );
        }
    }
}

/// Prints the bound addresses, one line for each listener.
fn print_addresses(app: &App) -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(out, "curfew {} is listening", build::VERSION)?;
    let urls = |name, addresses: &[SocketAddr]| {
        let scheme = url_scheme(app, name);
        let urls = addresses.iter();
        let urls = urls.map(|address| format!("{scheme}{address}"));
        urls.collect::<Vec<_>>().join(", ")
    };
    let bound = app.addresses().iter();
    let lines: Vec<_> = bound
        .filter(|(_, addresses)| !addresses.is_empty())
        .map(|(name, addresses)| (name, urls(name, addresses)))
        .collect();
    let width = lines.iter().map(|(_, urls)| urls.len()).max().unwrap_or(0);
    for (name, urls) in lines {
        let description = match name {
            ListenerName::Check => "checks over HTTP, for proxies",
            ListenerName::Grpc => "checks over gRPC, for Envoy",
            ListenerName::Spoe => "checks over SPOE, for HAProxy",
            ListenerName::Browser => "paths for browsers and identity providers",
            ListenerName::Proxy => "requests, which Curfew forwards to applications",
            ListenerName::Admin => "admin API and console",
            ListenerName::Ops => "metrics and health probes",
        };
        let name = name.as_str();
        writeln!(out, "  {name:<7} {urls:<width$}  {description}")?;
    }
    out.flush()
}

/// Prints the generated admin token, and an example request with it.
fn print_first_request(app: &App, token: &Secret<String>) -> std::io::Result<()> {
    let mut out = stdout();
    writeln!(
        out,
        "\nadmin token, for this run only: {}\n",
        token.expose()
    )?;
    if let Some(&address) = app.addresses().get(ListenerName::Admin).first() {
        writeln!(out, "start a session with:\n")?;
        writeln!(
            out,
            "  curl -sS {}{}/api/v1/sessions -H 'Authorization: Bearer {}' \
             -H 'Content-Type: application/json' -d '{{\"subject\":\"alice\"}}'\n",
            url_scheme(app, ListenerName::Admin),
            reachable_address(address),
            token.expose(),
        )?;
    }
    out.flush()
}

/// Returns the scheme of a listener's URLs, with `://`. SPOE has no URLs.
fn url_scheme(app: &App, name: ListenerName) -> &'static str {
    match (name, app.uses_tls(name)) {
        (ListenerName::Spoe, _) => "",
        (_, true) => "https://",
        (_, false) => "http://",
    }
}

/// Returns an address that a client on this machine can use to reach `address`: 127.0.0.1 for `0.0.0.0`, and also for
/// `[::]`, because a socket on `[::]` accepts IPv4 connections, too.
pub(super) fn reachable_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
