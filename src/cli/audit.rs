use std::io::Write;

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::admin_api::{AdminApi, AdminArgs};
use super::output::{stdout, to_json};
use super::table::Table;
use crate::escape::line;

/// Arguments of `curfew audit`.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the routes of the Kubernetes cluster that have sent no check. Fails if there are any.
    Routes {
        #[command(flatten)]
        admin: AdminArgs,
        /// List all routes.
        #[arg(long)]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &AuditArgs) -> anyhow::Result<()> {
    let Command::Routes { admin, all, json } = &args.command;
    super::build_runtime()?.block_on(routes(&admin.build_client()?, *all, *json))
}

async fn routes(api: &AdminApi, all: bool, json: bool) -> anyhow::Result<()> {
    let mut report = api.call(Method::GET, "/api/v1/routes", &[], None).await?;
    let routes = report["routes"].as_array().cloned().unwrap_or_default();
    let is_unchecked = |route: &Value| route["state"] == "no_check";
    let (total, unchecked) = (
        routes.len(),
        routes.iter().filter(|it| is_unchecked(it)).count(),
    );
    let checked = routes.iter().filter(|route| route["state"] == "checked");
    let checked = checked.count();
    let is_shown = |route: &Value| all || route["state"] != "checked";
    let shown: Vec<Value> = routes.into_iter().filter(is_shown).collect();
    let mut out = stdout();
    if json {
        report["routes"] = Value::Array(shown);
        writeln!(out, "{}", to_json(&report)?)?;
    } else {
        write!(out, "{}", format_routes(&shown))?;
    }
    let since = report["since"].as_str().unwrap_or_default();
    let since = line(since);
    if unchecked > 0 {
        bail!(
            "{unchecked} of {total} routes sent no check since {since}. Either nobody uses them, or their proxy does not ask \
             Curfew"
        );
    }
    if !json {
        writeln!(
            out,
            "Examined {total} routes of Ingresses, HTTPRoutes and GRPCRoutes since {since}: {checked} have sent a check. For \
             the other {}, Curfew cannot tell, or they are not in use.",
            total - checked
        )?;
    }
    Ok(())
}

/// Formats routes as a table, and after it how to send checks from each.
fn format_routes(routes: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut table = Table::new([
        "STATE",
        "HOST AND PATH",
        "METHOD",
        "ROUTE",
        "PROXY",
        "LAST CHECK",
    ]);
    for route in routes {
        let note = match route["held_by"].as_str() {
            Some(holder) => format!("held by {holder}"),
            None => text(&route["last_check"]),
        };
        table.add_row([
            text(&route["state"]),
            text(&route["host"]) + &text(&route["path"]),
            text(&route["method"]),
            text(&route["route"]),
            text(&route["proxy"]),
            note,
        ]);
    }
    let mut formatted = if routes.is_empty() {
        String::new()
    } else {
        table.to_string()
    };
    let ways = routes.iter().filter_map(|route| {
        let (proxy, attach) = (route["proxy"].as_str()?, route["attach"].as_str()?);
        Some(format!("{proxy}: {attach}"))
    });
    let mut ways: Vec<String> = ways.collect();
    ways.sort_unstable();
    ways.dedup();
    if !ways.is_empty() {
        formatted += "\nTo send checks:\n";
    }
    for way in ways {
        formatted += &format!("  {}\n", line(&way));
    }
    formatted
}
