//! `curfew probe`: does an idle session end, as a client sees it?
//!
//! It knows nothing of the proxy: it asks for pages with and without a session, does nothing for as long
//! as the idle limit, and looks whether the door is shut.

mod client;
mod report;
mod wait;
mod way_back;

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Method;
use serde_json::json;
use url::Url;

use self::client::{Answer, Visitor};
use self::report::Report;
use self::wait::Passing;
use self::way_back::ProviderSession;
use super::admin_api::{AdminApi, AdminArgs};
use super::output::stdout;
use crate::clock::Stopwatch;
use crate::secret::Secret;

/// More than the idle limit, so that it has certainly been reached.
const BEYOND: Duration = Duration::from_secs(1);
/// Headers that a proxy which believes every client takes out: those that it adds itself, too.
const STRIPPED: (&str, &str) = (
    "connection",
    "close, x-original-url, x-original-method, x-forwarded-uri, x-forwarded-method, x-forwarded-host, \
     x-forwarded-proto, x-session-user, x-session-groups, x-session-id",
);
/// How long an end may take to be known everywhere.
const KNOWN: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct ProbeArgs {
    /// A page that needs a session.
    url: Url,
    /// An address of an API that needs one; can be repeated.
    #[arg(long = "api", value_name = "URL")]
    apis: Vec<Url>,
    /// What the page shows of whoever is signed in, a name say: it has to, whatever the client sends.
    #[arg(long, value_name = "TEXT")]
    shows: Option<String>,
    /// Curfew was stopped for this: only see that nothing is served meanwhile.
    #[arg(long)]
    down: bool,
    /// The cookie of a live session, as NAME=VALUE; it is used up. CURFEW_PROBE_COOKIE has it otherwise.
    #[arg(
        long,
        value_name = "COOKIE",
        env = "CURFEW_PROBE_COOKIE",
        hide_env_values = true
    )]
    cookie: Option<String>,
    /// Sign in there, instead, by posting CURFEW_PROBE_FORM: `user=alice&password=…`, URL-encoded.
    #[arg(long, value_name = "URL", conflicts_with = "cookie")]
    sign_in: Option<Url>,
    /// What to post.
    #[arg(long, env = "CURFEW_PROBE_FORM", hide = true, hide_env_values = true)]
    form: Option<String>,
    /// Start a session for this subject by the admin API, instead.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cookie", "sign_in"])]
    subject: Option<String>,
    /// Its policy; the default one when left out.
    #[arg(long, value_name = "NAME", requires = "subject")]
    policy: Option<String>,
    /// The idle limit; with --subject it is known.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle: Option<Duration>,
    /// Age the session by the admin API instead of waiting (needs admin.allow_ageing).
    #[arg(long, requires = "subject")]
    age: bool,
    /// The identity provider that people sign in at, to follow the way back after the timeout with --provider-cookie.
    #[arg(long, value_name = "URL", requires = "provider_cookie")]
    provider: Option<Url>,
    /// The cookies that a browser has of the identity provider after a sign-in, as NAME=VALUE; NAME=VALUE.
    #[arg(
        long,
        value_name = "COOKIES",
        env = "CURFEW_PROBE_PROVIDER_COOKIE",
        hide_env_values = true,
        requires = "provider"
    )]
    provider_cookie: Option<String>,
    /// The address of the page's host, instead of the one that its name has.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// PEM certificates of the authorities to trust for the pages, instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Write a JUnit report there.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a JSON report there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    let report = super::runtime()?.block_on(probe(args))?;
    for (path, text) in [(&args.junit, report.junit()), (&args.json, report.json())] {
        if let Some(path) = path {
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
    }
    let failed = report.failed();
    if failed > 0 && args.down {
        bail!(
            "{failed} of {} checks failed: who can't be checked is let in",
            report.len()
        );
    }
    if failed > 0 {
        bail!(
            "{failed} of {} checks failed: sessions do not end as they should",
            report.len()
        );
    }
    let well = if args.down {
        "nobody is let in unchecked here"
    } else {
        "sessions end on time here"
    };
    let well = match report.unknown_checks() > 0 {
        true => format!("{well}; what has a ? above was not looked at"),
        false => well.to_owned(),
    };
    writeln!(stdout(), "{well}")?;
    Ok(())
}

/// A session to probe with.
struct Probed {
    cookie: Secret<String>,
    /// Its name, where the admin API has started it.
    id: Option<String>,
    idle: Duration,
}

async fn probe(args: &ProbeArgs) -> anyhow::Result<Report> {
    let visitor = Visitor::new(args.ca_file.as_deref(), &args.url, args.address)?;
    let api = match args.subject {
        Some(_) => Some(args.admin.client()?),
        None => None,
    };
    let mut pages = vec![("the page", &args.url)];
    pages.extend(args.apis.iter().map(|api| ("the API", api)));
    let mut report = Report::new(args.url.as_str());
    if args.down {
        for (what, url) in &pages {
            let answer = visitor.get(url, None, &[]).await;
            report.not_served(&format!("while Curfew is down, {what} is refused"), &answer);
        }
        return Ok(report);
    }
    let session = begin(args, &visitor, api.as_ref()).await?;
    for (what, url) in &pages {
        let answer = visitor.get(url, None, &[]).await;
        report.refused(&format!("without a session, {what} is refused"), &answer);
    }
    tricks(&visitor, &args.url, &mut report).await;
    for (what, url) in &pages {
        let answer = visitor.get(url, Some(&session.cookie), &[]).await;
        report.served(&format!("with a session, {what} is served"), &answer);
    }
    if let Some(text) = &args.shows {
        identity(&visitor, args, text, &session, &mut report).await;
    }
    // What can't be entered can't be left: the rest would prove nothing.
    if report.failed() > 0 {
        report.skip("the session was not tried further: what is said above comes first");
        return Ok(report);
    }
    let passing = match (&session.id, args.age, &api) {
        (Some(id), true, Some(api)) => Passing::Ageing { api, id },
        _ => Passing::Waiting,
    };
    for part in ["once", "twice"] {
        passing.pass(session.idle.mul_f64(0.6), "activity").await?;
        let answer = visitor.get(&args.url, Some(&session.cookie), &[]).await;
        report.served(
            &format!("used {part} within the idle limit, it is alive"),
            &answer,
        );
    }
    passing
        .pass(session.idle.saturating_add(BEYOND), "inactivity")
        .await?;
    for (what, url) in &pages {
        let answer = visitor.get(url, Some(&session.cookie), &[]).await;
        report.refused(&format!("after the idle limit, {what} is refused"), &answer);
    }
    let answer = visitor.get(&args.url, Some(&session.cookie), &[]).await;
    report.refused("it stays over", &answer);
    let provider = args.provider.as_ref().zip(args.provider_cookie.as_ref());
    let provider = provider.map(|(url, cookie)| ProviderSession {
        url: url.clone(),
        cookie: Secret::new(cookie.clone()),
    });
    let (page, cookie) = (&args.url, &session.cookie);
    way_back::look(
        &visitor,
        page,
        cookie,
        provider.as_ref(),
        session.idle,
        &mut report,
    )
    .await?;
    if let Some(api) = &api {
        revocation(args, &visitor, api, &mut report).await?;
    }
    Ok(report)
}

/// What a client might try who has no session. Some proxies call it a bad request.
async fn tricks(visitor: &Visitor, url: &Url, report: &mut Report) {
    let named = [
        ("x-session-user", "admin"),
        ("x-forwarded-user", "admin"),
        ("remote-user", "admin"),
        ("x-auth-request-user", "admin"),
    ];
    let answer = visitor.get(url, None, &named).await;
    report.not_served("saying who one is does not help", &answer);
    let elsewhere = [
        ("x-original-url", "https://example.com/.curfew/signed-out"),
        ("x-forwarded-uri", "/.curfew/signed-out"),
        ("x-original-method", "OPTIONS"),
        ("x-forwarded-method", "OPTIONS"),
    ];
    let answer = visitor.get(url, None, &elsewhere).await;
    report.not_served(
        "saying that one asks for something else does not help",
        &answer,
    );
    let (name, listed) = STRIPPED;
    let listed = format!("{listed}, cookie");
    let answer = visitor.get(url, None, &[(name, &listed)]).await;
    report.not_served(
        "having headers taken out on the way does not help (Connection)",
        &answer,
    );
    // More than Curfew takes: the proxy gets no answer.
    let names: Vec<String> = (0..150).map(|number| format!("x-probe-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
    let answer = visitor.get(url, None, &many).await;
    report.not_served("what can't be checked is refused (fail closed)", &answer);
}

/// The application is told who is there, and no client can take that away.
async fn identity(
    visitor: &Visitor,
    args: &ProbeArgs,
    text: &str,
    session: &Probed,
    report: &mut Report,
) {
    let answer = visitor.shown(&args.url, &session.cookie, &[], text).await;
    report.served("the page shows who is signed in", &answer);
    let stripped = visitor
        .shown(&args.url, &session.cookie, &[STRIPPED], text)
        .await;
    report.not_anonymous(
        "having the identity taken out on the way does not help (Connection)",
        &stripped,
    );
}

/// An end on purpose is known at once, wherever answers might be kept.
async fn revocation(
    args: &ProbeArgs,
    visitor: &Visitor,
    api: &AdminApi,
    report: &mut Report,
) -> anyhow::Result<()> {
    let session = begin(args, visitor, Some(api)).await?;
    let answer = visitor.get(&args.url, Some(&session.cookie), &[]).await;
    report.served("a new session is served", &answer);
    let path = format!("/api/v1/sessions/{}", session.id.unwrap_or_default());
    api.call(Method::DELETE, &path, &[], None).await?;
    let since = Stopwatch::start();
    let mut answer = visitor.get(&args.url, Some(&session.cookie), &[]).await;
    while matches!(&answer, Answer::Served(_)) && since.seconds() < KNOWN.as_secs_f64() {
        tokio::time::sleep(KNOWN / 20).await;
        answer = visitor.get(&args.url, Some(&session.cookie), &[]).await;
    }
    report.refused(
        "a session that was ended on purpose is over within 3 s",
        &answer,
    );
    Ok(())
}

/// The session: the one that is given, or a new one.
async fn begin(
    args: &ProbeArgs,
    visitor: &Visitor,
    api: Option<&AdminApi>,
) -> anyhow::Result<Probed> {
    if let (Some(url), Some(idle)) = (&args.sign_in, args.idle) {
        let form = args.form.as_ref().context(
            "CURFEW_PROBE_FORM is needed with --sign-in: what to post, like user=alice&password=…",
        )?;
        return Ok(Probed {
            cookie: visitor.sign_in(url, form).await?,
            id: None,
            idle,
        });
    }
    if let (Some(cookie), Some(idle)) = (&args.cookie, args.idle) {
        if !cookie.contains('=') {
            bail!("--cookie: must be like session=VALUE");
        }
        return Ok(Probed {
            cookie: Secret::new(cookie.clone()),
            id: None,
            idle,
        });
    }
    let (Some(api), Some(subject)) = (api, &args.subject) else {
        bail!(
            "give --subject, to start a session by the admin API; or --idle, and --cookie or --sign-in"
        );
    };
    let mut body = json!({ "subject": subject });
    if let Some(policy) = &args.policy {
        body["policy"] = json!(policy);
    }
    let created = api
        .call(Method::POST, "/api/v1/sessions", &[], Some(body))
        .await?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let cookie = text(&created["set_cookie"]);
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let told = created["session"]["idle_remaining"].as_u64();
    let told = told.map(Duration::from_secs);
    Ok(Probed {
        cookie: Secret::new(cookie),
        id: Some(text(&created["session"]["id"])),
        idle: args
            .idle
            .or(told)
            .context("--idle is needed: the admin API does not tell it")?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A failed check about a text, for JUnit.
    pub(in crate::cli) fn junit(text: &str) -> String {
        let mut report = Report::new(text);
        report.served(text, &Answer::Trouble(text.to_owned()));
        report.junit()
    }
}
