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
use super::table::{Table, format_seconds};
use crate::escape::{self, line};

/// The maximum number of sessions per API response.
const MAX_PAGE_SIZE: usize = 1000;

#[derive(Args, Debug)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sessions of a subject, or the sessions of all subjects that end soonest.
    List {
        #[command(flatten)]
        admin: AdminArgs,
        /// The subject; all subjects if omitted.
        subject: Option<String>,
        /// The maximum number of sessions to list.
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
        /// The session ID, 32 hexadecimal digits.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End one session, or all sessions of a subject.
    Revoke {
        #[command(flatten)]
        admin: AdminArgs,
        /// The session ID, 32 hexadecimal digits.
        #[arg(required_unless_present = "subject")]
        id: Option<String>,
        /// End all sessions of this subject instead.
        #[arg(long, value_name = "NAME", conflicts_with = "id")]
        subject: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a line for each session that starts or ends, until Ctrl-C.
    Watch {
        #[command(flatten)]
        admin: AdminArgs,
        /// The subject; if omitted, all subjects, up to the page size of the API.
        subject: Option<String>,
        /// The polling interval.
        #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
        every: Duration,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &SessionsArgs) -> anyhow::Result<()> {
    super::build_runtime()?.block_on(async {
        match &args.command {
            Command::List {
                admin,
                subject,
                limit,
                json,
            } => {
                list(
                    &admin.build_client()?,
                    subject.as_deref(),
                    *limit as usize,
                    *json,
                )
                .await
            }
            Command::Show { admin, id, json } => show(&admin.build_client()?, id, *json).await,
            Command::Revoke {
                admin,
                id,
                subject,
                json,
            } => {
                let api = admin.build_client()?;
                match (id, subject) {
                    (Some(id), _) => revoke(&api, id, *json).await,
                    (None, Some(subject)) => revoke_all(&api, subject, *json).await,
                    (None, None) => bail!("give a session ID or --subject"),
                }
            }
            Command::Watch {
                admin,
                subject,
                every,
                json,
            } => watch(&admin.build_client()?, subject.as_deref(), *every, *json).await,
        }
    })
}

/// Fetches at most `limit` sessions, of one subject or of all subjects.
async fn fetch(api: &AdminApi, subject: Option<&str>, limit: usize) -> anyhow::Result<Vec<Value>> {
    let (mut sessions, mut cursor) = (Vec::new(), None::<String>);
    while sessions.len() < limit {
        let wanted = (limit - sessions.len()).min(MAX_PAGE_SIZE);
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
        let remaining = |name: &str| match (ended, session[name].as_u64()) {
            (None, Some(left)) => format_seconds(left),
            _ => "-".to_owned(),
        };
        table.add_row([
            field_text(session, "id"),
            field_text(session, "subject"),
            field_text(session, "policy"),
            ended.unwrap_or("live").to_owned(),
            field_text(session, "last_seen"),
            remaining("idle_remaining"),
            remaining("absolute_remaining"),
        ]);
    }
    write!(out, "{table}")?;
    Ok(())
}

async fn show(api: &AdminApi, id: &str, json: bool) -> anyhow::Result<()> {
    let mut session = api.call(Method::GET, &session_path(id)?, &[], None).await?;
    if json {
        return print_object(&session, true);
    }
    let streams = session.as_object_mut().and_then(|it| it.remove("streams"));
    print_object(&session, false)?;
    print_streams(
        streams
            .as_ref()
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice),
    )
}

async fn revoke(api: &AdminApi, id: &str, json: bool) -> anyhow::Result<()> {
    let session = api
        .call(Method::DELETE, &session_path(id)?, &[], None)
        .await?;
    if json {
        return print_object(&session, true);
    }
    let (subject, reason) = (
        field_text(&session, "subject"),
        field_text(&session, "end_reason"),
    );
    let mut out = stdout();
    writeln!(out, "session of {subject} ended: {reason}")?;
    require_replication(&session)
}

async fn revoke_all(api: &AdminApi, subject: &str, json: bool) -> anyhow::Result<()> {
    let query = [("subject", subject.to_owned())];
    let answer = api
        .call(Method::DELETE, "/api/v1/sessions", &query, None)
        .await?;
    if json {
        return print_object(&answer, true);
    }
    let count = answer["revoked"].as_u64().unwrap_or_default();
    let sessions = if count == 1 { "session" } else { "sessions" };
    let mut out = stdout();
    writeln!(out, "{count} {sessions} of {} ended", line(subject))?;
    require_replication(&answer)
}

/// Returns an error if too few Redis replicas have confirmed the change, because a fail-over could lose the change.
pub(super) fn require_replication(answer: &Value) -> anyhow::Result<()> {
    let count = |name: &str| answer["replication"][name].as_u64().unwrap_or_default();
    let (wanted, confirmed) = (count("wanted"), count("confirmed"));
    if confirmed < wanted {
        bail!(
            "only {confirmed} of {wanted} Redis replicas have confirmed the change: a fail-over could lose the change; \
             run the command again"
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
    // Register the signal before the loop, so that a signal during an API call is not missed.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut previous_sessions: Option<BTreeMap<String, Value>> = None;
    loop {
        let live = fetch(api, subject, MAX_PAGE_SIZE).await?.into_iter();
        let live = live.filter(|session| session["state"] == "live");
        let live: BTreeMap<String, Value> = live.map(|it| (field_text(&it, "id"), it)).collect();
        let previous = previous_sessions.take().unwrap_or_default();
        for (id, session) in &live {
            if !previous.contains_key(id) {
                print_event("live", session, json)?;
            }
        }
        for (id, session) in previous {
            if live.contains_key(&id) {
                continue;
            }
            // `fetch` returns only the first page of a long list, so a session that is not in `live` can still be live.
            // Request the session itself.
            match api.call(Method::GET, &session_path(&id)?, &[], None).await {
                Ok(now) if now["state"] == "live" => {}
                Ok(now) => print_event(now["end_reason"].as_str().unwrap_or("ended"), &now, json)?,
                Err(_) => print_event("gone", &session, json)?,
            }
        }
        previous_sessions = Some(live);
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// Prints a line for a session that started or ended.
fn print_event(event_name: &str, session: &Value, json: bool) -> anyhow::Result<()> {
    let mut out = stdout();
    if json {
        let event = json!({ "what": event_name, "session": session }).to_string();
        writeln!(out, "{}", escape::json(&event))?;
    } else {
        let (id, subject) = (field_text(session, "id"), field_text(session, "subject"));
        writeln!(out, "{event_name:<16}  {id}  {subject}")?;
    }
    out.flush()?;
    Ok(())
}

/// Prints an object, one line per member.
fn print_object(value: &Value, json: bool) -> anyhow::Result<()> {
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

/// Prints the open streams of a session as a table.
fn print_streams(streams: &[Value]) -> anyhow::Result<()> {
    if streams.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        "STREAM",
        "HOST",
        "PATH",
        "CLIENT",
        "OPENED",
        "FROM CLIENT",
        "TO CLIENT",
    ]);
    for stream in streams {
        let bytes = |name: &str| stream[name].as_u64().unwrap_or_default().to_string();
        table.add_row([
            field_text(stream, "kind"),
            field_text(stream, "host"),
            field_text(stream, "path"),
            field_text(stream, "address"),
            field_text(stream, "opened"),
            bytes("bytes_from_client"),
            bytes("bytes_to_client"),
        ]);
    }
    let mut out = stdout();
    write!(
        out,
        "\nOpen streams on the replica that answered:\n\n{table}"
    )?;
    Ok(())
}

fn field_text(session: &Value, name: &str) -> String {
    line(session[name].as_str().unwrap_or("-")).into_owned()
}

/// Returns the API path of a session. Validates the ID first, because it becomes part of a URL.
fn session_path(id: &str) -> anyhow::Result<String> {
    match id.parse::<crate::session::SessionId>() {
        Ok(id) => Ok(format!("/api/v1/sessions/{id}")),
        Err(error) => bail!("{}: {error}", line(id)),
    }
}
