use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::ConfigArgs;
use super::output::stdout;
use crate::deployed::deployed;
use crate::render::{
    APPLICATION, BROWSER, CHECK, GRPC, LISTEN, Limits, Places, Proxy, SPOE, render,
};

#[derive(Args, Debug)]
pub(super) struct RenderArgs {
    /// The proxy.
    #[arg(value_enum)]
    proxy: Proxy,
    #[command(flatten)]
    config: ConfigArgs,
    /// The policy whose idle limit streams are held to; the default one when left out.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Where the proxy listens.
    #[arg(long, value_name = "HOST:PORT", default_value = LISTEN, value_parser = place)]
    listen: String,
    /// Where Curfew's listener `check` is.
    #[arg(long, value_name = "HOST:PORT", default_value = CHECK, value_parser = place)]
    check: String,
    /// Where Curfew's listener `grpc` is.
    #[arg(long, value_name = "HOST:PORT", default_value = GRPC, value_parser = place)]
    grpc: String,
    /// Where Curfew's listener `spoe` is.
    #[arg(long, value_name = "HOST:PORT", default_value = SPOE, value_parser = place)]
    spoe: String,
    /// Where Curfew's listener `browser` is.
    #[arg(long, value_name = "HOST:PORT", default_value = BROWSER, value_parser = place)]
    browser: String,
    /// Where the application is.
    #[arg(long, value_name = "HOST:PORT", default_value = APPLICATION, value_parser = place)]
    application: String,
    /// Write the files there; without it they are printed.
    #[arg(short, long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// A host and a port, and nothing that a configuration could take for something else.
fn place(text: &str) -> Result<String, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("must be like curfew:9180")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) || port.parse::<u16>().is_err() {
        return Err("must be like curfew:9180");
    }
    Ok(text.to_owned())
}

/// Prints the configuration of a proxy, or writes it.
pub(super) fn run(args: &RenderArgs) -> anyhow::Result<()> {
    let policies = args.config.source().load_book()?.policies;
    let name = args.policy.as_deref();
    let name = name.unwrap_or_else(|| policies.default_name().as_str());
    let Some((_, policy)) = policies.get(name) else {
        bail!("--policy: there is no policy of this name in the configuration");
    };
    let limits = Limits {
        idle: policy.limits.idle,
        absolute: policy.limits.absolute,
    };
    let places = Places {
        listen: args.listen.clone(),
        check: args.check.clone(),
        grpc: args.grpc.clone(),
        spoe: args.spoe.clone(),
        browser: args.browser.clone(),
        application: args.application.clone(),
    };
    let files = render(args.proxy, &places, &limits, deployed)?;
    let mut out = stdout();
    for file in &files {
        if let Some(directory) = &args.directory {
            let path = directory.join(file.name);
            // What is there may have been changed by hand.
            let mut new = std::fs::File::create_new(&path)
                .with_context(|| format!("{}, which is not written over", path.display()))?;
            new.write_all(file.text.as_bytes())?;
            writeln!(out, "{}", path.display())?;
        } else {
            if files.len() > 1 {
                writeln!(out, "# ---- {}", file.name)?;
            }
            write!(out, "{}", file.text)?;
        }
    }
    Ok(())
}
