use std::io::{BufRead, IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::admin_api::{AdminApi, AdminArgs};
use super::output::{stderr, stdout, to_json};
use super::table::Table;
use crate::escape::line;

const REVOCATIONS_PATH: &str = "/api/v1/revocations";

#[derive(Args, Debug)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    conditions: Conditions,
    /// End only sessions that started before this time, such as 2026-11-23T09:30:00Z; the default is now.
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Only count the sessions that would end.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(short, long)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct Conditions {
    /// Every session.
    #[arg(long, conflicts_with_all = ["policy", "host", "source", "group", "provider"])]
    everybody: bool,
    /// Sessions with this home policy.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Sessions whose sign-in was on this host, and sessions without a recorded host.
    #[arg(long)]
    host: Option<String>,
    /// Sessions from this source.
    #[arg(long, value_parser = ["token", "login", "jwt", "delegated"])]
    source: Option<String>,
    /// Sessions of members of this group, and sessions without recorded groups.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Sessions of the identity provider with this issuer.
    #[arg(long, value_name = "ISSUER")]
    provider: Option<String>,
}

impl RevokeArgs {
    fn request_body(&self, dry_run: bool) -> Value {
        let conditions = &self.conditions;
        let mut body = Map::new();
        for (name, value) in [
            ("policy", &conditions.policy),
            ("host", &conditions.host),
            ("source", &conditions.source),
            ("group", &conditions.group),
            ("provider", &conditions.provider),
            ("before", &self.before),
        ] {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        body.insert("everybody".to_owned(), json!(conditions.everybody));
        body.insert("dry_run".to_owned(), json!(dry_run));
        Value::Object(body)
    }
}

pub(super) fn run(args: &RevokeArgs) -> anyhow::Result<()> {
    super::build_runtime()?.block_on(async {
        let api = args.admin.build_client()?;
        if args.dry_run || !args.yes {
            let dry_run_result = post_revocation(&api, args.request_body(true)).await?;
            if args.dry_run && args.json {
                return print_json(&dry_run_result);
            }
            // With --json, a program reads standard output, so print the question to standard error.
            let mut out: Box<dyn Write> = if args.json {
                Box::new(stderr())
            } else {
                Box::new(stdout())
            };
            print_count(&mut out, &dry_run_result)?;
            if args.dry_run {
                return Ok(());
            }
            confirm()?;
        }
        let revocation = post_revocation(&api, args.request_body(false)).await?;
        if args.json {
            print_json(&revocation)?;
        } else {
            print_result(&revocation)?;
        }
        if revocation["in_force"]["everywhere"] != true {
            bail!("some replicas have not confirmed the revocation");
        }
        super::sessions::require_replication(&revocation)
    })
}

async fn post_revocation(api: &AdminApi, body: Value) -> anyhow::Result<Value> {
    api.call(Method::POST, REVOCATIONS_PATH, &[], Some(body))
        .await
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    writeln!(stdout(), "{}", to_json(value)?)?;
    Ok(())
}

fn escaped_text(value: &Value) -> String {
    line(value.as_str().unwrap_or("-")).into_owned()
}

fn print_count(out: &mut dyn Write, dry_run_result: &Value) -> anyhow::Result<()> {
    let count = &dry_run_result["count"];
    let number = |name: &str| count[name].as_u64().unwrap_or_default();
    let exact = count["exact"] == true;
    let at_least = if exact { "" } else { "at least " };
    let sessions = if number("live") == 1 {
        "session"
    } else {
        "sessions"
    };
    writeln!(
        out,
        "{at_least}{} live {sessions} would end: {}, started before {}",
        number("live"),
        escaped_text(&dry_run_result["conditions"]),
        escaped_text(&dry_run_result["before"]),
    )?;
    let all = if exact { "all" } else { "not all" };
    writeln!(out, "records checked: {} ({all})", number("checked"))?;
    if number("assumed") > 0 {
        writeln!(
            out,
            "{} of these sessions lack one of the properties in the conditions; they count as matching",
            number("assumed")
        )?;
    }
    if number("unreadable") > 0 {
        writeln!(
            out,
            "records that could not be read: {}",
            number("unreadable")
        )?;
    }
    writeln!(out, "not counted: {}", escaped_text(&count["not_counted"]))?;
    Ok(())
}

/// Asks for confirmation at the terminal.
fn confirm() -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("nothing was revoked: no terminal for the confirmation; use --yes");
    }
    let mut err = stderr();
    write!(err, "End these sessions? Type yes: ")?;
    err.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("nothing was revoked: the answer was not `yes`");
    }
    Ok(())
}

fn print_result(revocation: &Value) -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(
        out,
        "revoked: {}, started before {}",
        escaped_text(&revocation["conditions"]),
        escaped_text(&revocation["before"]),
    )?;
    let in_force = &revocation["in_force"];
    let mut table = Table::new(["REPLICA", "VERSION", "REVOCATION"]);
    for replica in in_force["replicas"].as_array().into_iter().flatten() {
        let state = match replica["state"].as_str() {
            Some("in_force") => "in force",
            Some("unconfirmed") => "not confirmed yet",
            _ => "version without this feature: stop this replica",
        };
        table.add_row([
            escaped_text(&replica["name"]),
            escaped_text(&replica["version"]),
            state.to_owned(),
        ]);
    }
    write!(out, "{table}")?;
    if in_force["everywhere"] != true {
        writeln!(
            out,
            "from {} on, a replica that has not confirmed the revocation asks the store at each check, or denies",
            escaped_text(&in_force["by"])
        )?;
    }
    Ok(())
}
