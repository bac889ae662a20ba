use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::admin_api::{AdminApi, AdminArgs};
use super::output::{stdout, to_json};
use super::table::{Table, seconds};
use crate::escape::{self, line};

/// The most sessions that the API tells at once.
const PAGE: usize = 1000;

#[derive(Args, Debug)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List a subject's sessions, or those of anybody that end first.
    List {
        #[command(flatten)]
        admin: AdminArgs,
        /// Whose sessions; those of anybody that end first when left out.
        subject: Option<String>,
        /// The most to list.
        #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one session.
    Show {
        #[command(flatten)]
        admin: AdminArgs,
        /// The session's name, 32 hexadecimal digits.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End one session, or all of a subject.
    Revoke {
        #[command(flatten)]
        admin: AdminArgs,
        /// The session's name.
        #[arg(required_unless_present = "subject")]
        id: Option<String>,
        /// End all sessions of this subject instead.
        #[arg(long, value_name = "NAME", conflicts_with = "id")]
        subject: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell each session that begins or ends, a line each, until Ctrl-C.
    Watch {
        #[command(flatten)]
        admin: AdminArgs,
        /// Whose sessions; those of anybody when left out, as far as one question of the API tells.
        subject: Option<String>,
        /// The pause between two looks.
        #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
        every: Duration,
        /// Print a JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &SessionsArgs) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        match &args.command {
            Command::List {
                admin,
                subject,
                limit,
                json,
            } => list(&admin.client()?, subject.as_deref(), *limit as usize, *json).await,
            Command::Show { admin, id, json } => show(&admin.client()?, id, *json).await,
            Command::Revoke {
                admin,
                id,
                subject,
                json,
            } => {
                let api = admin.client()?;
                match (id, subject) {
                    (Some(id), _) => revoke(&api, id, *json).await,
                    (None, Some(subject)) => revoke_all(&api, subject, *json).await,
                    (None, None) => bail!("name a session, or a --subject"),
                }
            }
            Command::Watch {
                admin,
                subject,
                every,
                json,
            } => watch(&admin.client()?, subject.as_deref(), *every, *json).await,
        }
    })
}

/// At most so many sessions, of one subject or of anybody.
async fn fetch(api: &AdminApi, subject: Option<&str>, limit: usize) -> anyhow::Result<Vec<Value>> {
    let (mut sessions, mut cursor) = (Vec::new(), None::<String>);
    while sessions.len() < limit {
        let wanted = (limit - sessions.len()).min(PAGE);
        let mut query = vec![("limit", wanted.to_string())];
        query.extend(subject.map(|subject| ("subject", subject.to_owned())));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = api
            .call(Method::GET, "/api/v1/sessions", &query, None)
            .await?;
        sessions.extend(page["sessions"].as_array().cloned().unwrap_or_default());
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(sessions)
}

async fn list(
    api: &AdminApi,
    subject: Option<&str>,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    let sessions = fetch(api, subject, limit).await?;
    let mut out = stdout();
    if json {
        writeln!(out, "{}", to_json(&sessions)?)?;
        return Ok(());
    }
    let mut table = Table::new([
        "SESSION",
        "SUBJECT",
        "POLICY",
        "STATE",
        "LAST ACTIVITY",
        "IDLE IN",
        "ENDS IN",
    ]);
    for session in &sessions {
        let ended = session["end_reason"].as_str();
        let left = |name: &str| match (ended, session[name].as_u64()) {
            (None, Some(left)) => seconds(left),
            _ => "-".to_owned(),
        };
        table.row([
            text(session, "id"),
            text(session, "subject"),
            text(session, "policy"),
            ended.unwrap_or("live").to_owned(),
            text(session, "last_seen"),
            left("idle_remaining"),
            left("absolute_remaining"),
        ]);
    }
    write!(out, "{table}")?;
    Ok(())
}

async fn show(api: &AdminApi, id: &str, json: bool) -> anyhow::Result<()> {
    let session = api.call(Method::GET, &path(id)?, &[], None).await?;
    print(&session, json)
}

async fn revoke(api: &AdminApi, id: &str, json: bool) -> anyhow::Result<()> {
    let session = api.call(Method::DELETE, &path(id)?, &[], None).await?;
    if json {
        return print(&session, true);
    }
    let (subject, reason) = (text(&session, "subject"), text(&session, "end_reason"));
    let mut out = stdout();
    writeln!(out, "the session of {subject} is over: {reason}")?;
    confirmed(&session)
}

async fn revoke_all(api: &AdminApi, subject: &str, json: bool) -> anyhow::Result<()> {
    let query = [("subject", subject.to_owned())];
    let answer = api
        .call(Method::DELETE, "/api/v1/sessions", &query, None)
        .await?;
    if json {
        return print(&answer, true);
    }
    let count = answer["revoked"].as_u64().unwrap_or_default();
    let sessions = if count == 1 { "session" } else { "sessions" };
    let mut out = stdout();
    writeln!(out, "{count} {sessions} of {} ended", line(subject))?;
    confirmed(&answer)
}

/// Fails where a fail-over of the store could lose what was done.
pub(super) fn confirmed(answer: &Value) -> anyhow::Result<()> {
    let told = |name: &str| answer["replication"][name].as_u64().unwrap_or_default();
    let (wanted, confirmed) = (told("wanted"), told("confirmed"));
    if confirmed < wanted {
        bail!(
            "{confirmed} of {wanted} replicas of the store have confirmed it: a fail-over could lose it; \
             repeat this"
        );
    }
    Ok(())
}

async fn watch(
    api: &AdminApi,
    subject: Option<&str>,
    every: Duration,
    json: bool,
) -> anyhow::Result<()> {
    // Heard for as long as this runs: one that comes while the API is asked counts, too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut known: Option<BTreeMap<String, Value>> = None;
    loop {
        let live = fetch(api, subject, PAGE).await?.into_iter();
        let live = live.filter(|session| session["state"] == "live");
        let live: BTreeMap<String, Value> = live.map(|it| (text(&it, "id"), it)).collect();
        let before = known.take().unwrap_or_default();
        for (id, session) in &live {
            if !before.contains_key(id) {
                tell("live", session, json)?;
            }
        }
        for (id, session) in before {
            if live.contains_key(&id) {
                continue;
            }
            // One that is not told any more may only be far down the list now.
            match api.call(Method::GET, &path(&id)?, &[], None).await {
                Ok(now) if now["state"] == "live" => {}
                Ok(now) => tell(now["end_reason"].as_str().unwrap_or("ended"), &now, json)?,
                Err(_) => tell("gone", &session, json)?,
            }
        }
        known = Some(live);
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// A line of what became of a session.
fn tell(what: &str, session: &Value, json: bool) -> anyhow::Result<()> {
    let mut out = stdout();
    if json {
        let told = json!({ "what": what, "session": session }).to_string();
        writeln!(out, "{}", escape::json(&told))?;
    } else {
        let (id, subject) = (text(session, "id"), text(session, "subject"));
        writeln!(out, "{what:<16}  {id}  {subject}")?;
    }
    out.flush()?;
    Ok(())
}

/// An object, a line for each of its members.
fn print(value: &Value, json: bool) -> anyhow::Result<()> {
    let mut out = stdout();
    if json {
        writeln!(out, "{}", to_json(value)?)?;
        return Ok(());
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => line(text).into_owned(),
            other => line(&other.to_string()).into_owned(),
        };
        writeln!(out, "{name:<20} {text}")?;
    }
    Ok(())
}

fn text(session: &Value, name: &str) -> String {
    line(session[name].as_str().unwrap_or("-")).into_owned()
}

/// Where a session is; its name is looked at first, since it becomes a part of an address.
fn path(id: &str) -> anyhow::Result<String> {
    match id.parse::<crate::session::SessionId>() {
        Ok(id) => Ok(format!("/api/v1/sessions/{id}")),
        Err(error) => bail!("{}: {error}", line(id)),
    }
}
