use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::ConfigArgs;
use super::output::{raw_stdout, stdout};
use crate::deploy_files::deploy_file;
use crate::render::{
    DEFAULT_APPLICATION, DEFAULT_BROWSER, DEFAULT_CHECK, DEFAULT_GRPC, DEFAULT_LISTEN,
    DEFAULT_PROXY, DEFAULT_SPOE, Proxy, RenderAddresses, RenderLimits, render,
};

#[derive(Args, Debug)]
pub(super) struct RenderArgs {
    /// The proxy to configure. A value that ends in `-global` configures all routes of a controller in Kubernetes.
    #[arg(value_enum)]
    proxy: Proxy,
    #[command(flatten)]
    config: ConfigArgs,
    /// The policy whose idle limit applies to streams; the default policy if omitted.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// The address that the proxy listens on.
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_LISTEN, value_parser = parse_host_port)]
    listen: String,
    /// The address of Curfew's listener `check`.
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_CHECK, value_parser = parse_host_port)]
    check: String,
    /// The address of Curfew's listener `grpc`.
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_GRPC, value_parser = parse_host_port)]
    grpc: String,
    /// The address of Curfew's listener `spoe`.
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_SPOE, value_parser = parse_host_port)]
    spoe: String,
    /// The address of Curfew's listener `browser`.
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_BROWSER, value_parser = parse_host_port)]
    browser: String,
    /// The address of the application.
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_APPLICATION, value_parser = parse_host_port)]
    application: String,
    /// Send WebSockets and event streams to this address of Curfew's listener `proxy`, which ends them with their session.
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = DEFAULT_PROXY, value_parser = parse_host_port)]
    streams: Option<String>,
    /// Write the files to DIRECTORY; without it, print them.
    #[arg(short, long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Parses `HOST:PORT`. Rejects characters that have a special meaning in configuration files.
fn parse_host_port(text: &str) -> Result<String, &'static str> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or("must be HOST:PORT, such as curfew:9180")?;
    let is_allowed_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_allowed_byte) || port.parse::<u16>().is_err() {
        return Err("must be HOST:PORT, such as curfew:9180");
    }
    Ok(text.to_owned())
}

/// Prints the configuration of a proxy, or writes it to files.
pub(super) fn run(args: &RenderArgs) -> anyhow::Result<()> {
    let policies = args.config.source().load_rulebook()?.policies;
    let name = args.policy.as_deref();
    let name = name.unwrap_or_else(|| policies.default_name().as_str());
    let Some((_, policy)) = policies.get(name) else {
        bail!("--policy {name}: the configuration has no policy of this name");
    };
    let limits = RenderLimits {
        idle: policy.limits.idle,
        absolute: policy.limits.absolute,
    };
    let addresses = RenderAddresses {
        listen: args.listen.clone(),
        check: args.check.clone(),
        grpc: args.grpc.clone(),
        spoe: args.spoe.clone(),
        browser: args.browser.clone(),
        application: args.application.clone(),
        streams: args.streams.clone(),
    };
    let files = render(args.proxy, &addresses, &limits, deploy_file)?;
    let mut out = stdout();
    for file in &files {
        if let Some(directory) = &args.directory {
            let path = directory.join(file.name);
            // Never overwrite a file, because users edit these files.
            let mut new_file = std::fs::File::create_new(&path).with_context(|| {
                format!(
                    "could not create {}: existing files are not overwritten",
                    path.display()
                )
            })?;
            new_file.write_all(file.text.as_bytes())?;
            writeln!(out, "{}", path.display())?;
        } else {
            if files.len() > 1 {
                writeln!(out, "# ---- {}", file.name)?;
            }
            // A Caddyfile contains tabs, which `stdout` would escape.
            raw_stdout().write_all(file.text.as_bytes())?;
        }
    }
    Ok(())
}
