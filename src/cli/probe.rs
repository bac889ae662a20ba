//! `curfew probe`: a black-box test that an idle session ends.
//!
//! The probe needs no information about the proxy. It requests pages with and without a session, waits until the idle
//! limit is reached, and checks that the session is refused.

mod client;
mod redirects;
mod report;
mod streams;
mod wait;

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Method;
use serde_json::json;
use url::Url;

use self::client::{Answer, ProbeClient};
use self::redirects::ProviderSession;
use self::report::Report;
use self::streams::ProbeStream;
use self::wait::IdleMethod;
use super::admin_api::{AdminApi, AdminArgs};
use super::output::stdout;
use crate::clock::Stopwatch;
use crate::secret::Secret;

/// Extra wait after the idle limit.
const IDLE_MARGIN: Duration = Duration::from_secs(1);
/// A `Connection` header of the client that lists headers of the proxy. A proxy that trusts this header removes the
/// listed headers, even if the proxy itself added them.
const CONNECTION_HEADER: (&str, &str) = (
    "connection",
    "close, x-original-url, x-original-method, x-forwarded-uri, x-forwarded-method, x-forwarded-host, \
     x-forwarded-proto, x-session-user, x-session-groups, x-session-id",
);
/// The time within which a revocation must reach every replica.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Args, Debug)]
pub(super) struct ProbeArgs {
    /// The URL of a page that needs a session.
    url: Url,
    /// The URL of an API that needs a session; can be repeated.
    #[arg(long = "api", value_name = "URL")]
    apis: Vec<Url>,
    /// The URL of a stream that needs a session: a WebSocket (ws or wss) or an event stream (http or https); can be
    /// repeated.
    #[arg(long = "stream", value_name = "URL", value_parser = ProbeStream::parse)]
    streams: Vec<ProbeStream>,
    /// A text that the page shows to a signed-in person, such as the user's name.
    #[arg(long, value_name = "TEXT")]
    expect_text: Option<String>,
    /// Use this while Curfew is stopped: only check that no request is served.
    #[arg(long)]
    down: bool,
    /// The cookie of a live session, as NAME=VALUE; the probe ends this session. The cookie can also be in the
    /// environment variable CURFEW_PROBE_COOKIE.
    #[arg(
        long,
        value_name = "COOKIE",
        env = "CURFEW_PROBE_COOKIE",
        hide_env_values = true
    )]
    cookie: Option<String>,
    /// Sign in at this URL instead of using --cookie. The environment variable CURFEW_PROBE_FORM must contain the
    /// URL-encoded form, such as `user=alice&password=…`.
    #[arg(long, value_name = "URL", conflicts_with = "cookie")]
    sign_in: Option<Url>,
    /// The form to post.
    #[arg(long, env = "CURFEW_PROBE_FORM", hide = true, hide_env_values = true)]
    form: Option<String>,
    /// Start a session for this subject through the admin API instead.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cookie", "sign_in"])]
    subject: Option<String>,
    /// The policy of the session that --subject starts; the default policy if omitted.
    #[arg(long, value_name = "NAME", requires = "subject")]
    policy: Option<String>,
    /// The idle limit; can be omitted with --subject, because the admin API reports it.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle: Option<Duration>,
    /// Age the session through the admin API instead of waiting (needs admin.allow_ageing).
    #[arg(long, requires = "subject")]
    age: bool,
    /// The URL of the identity provider. After the timeout, the probe follows the redirects with --provider-cookie.
    #[arg(long, value_name = "URL", requires = "provider_cookie")]
    provider: Option<Url>,
    /// The cookies that a browser has for the identity provider after a sign-in, as NAME=VALUE; NAME=VALUE.
    #[arg(
        long,
        value_name = "COOKIES",
        env = "CURFEW_PROBE_PROVIDER_COOKIE",
        hide_env_values = true,
        requires = "provider"
    )]
    provider_cookie: Option<String>,
    /// The IP address of the page's host, instead of a DNS lookup.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// A file with PEM certificates of the CAs to trust for the pages, instead of the CAs of the system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Write a JUnit report to FILE.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a JSON report to FILE.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    let report = super::build_runtime()?.block_on(probe(args))?;
    for (path, text) in [
        (&args.junit, report.to_junit()),
        (&args.json, report.to_json()),
    ] {
        if let Some(path) = path {
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
    }
    let failed = report.failed_count();
    if failed > 0 && args.down {
        bail!(
            "{failed} of {} steps failed: requests are served while Curfew is down (fail-open)",
            report.len()
        );
    }
    if failed > 0 {
        bail!(
            "{failed} of {} steps failed: sessions are not enforced correctly",
            report.len()
        );
    }
    let result = if args.down {
        "no request is served without a check here"
    } else {
        "sessions end on time here"
    };
    let result = match report.unknown_count() > 0 {
        true => format!("{result}; steps marked ? were not checked"),
        false => result.to_owned(),
    };
    writeln!(stdout(), "{result}")?;
    Ok(())
}

/// The session that the probe uses.
struct ProbeSession {
    cookie: Secret<String>,
    /// The session ID, if the admin API started the session.
    id: Option<String>,
    idle: Duration,
}

async fn probe(args: &ProbeArgs) -> anyhow::Result<Report> {
    let client = ProbeClient::new(args.ca_file.as_deref(), &args.url, args.address)?;
    let api = match args.subject {
        Some(_) => Some(args.admin.build_client()?),
        None => None,
    };
    let mut pages = vec![("the page", &args.url)];
    pages.extend(args.apis.iter().map(|api| ("the API", api)));
    let mut report = Report::new(args.url.as_str());
    if args.down {
        for (page_name, url) in &pages {
            let answer = client.get(url, None, &[]).await;
            report.expect_not_served(
                &format!("while Curfew is down, {page_name} is refused"),
                &answer,
            );
        }
        return Ok(report);
    }
    let session = obtain_session(args, &client, api.as_ref()).await?;
    for (page_name, url) in &pages {
        let answer = client.get(url, None, &[]).await;
        report.expect_refused(
            &format!("without a session, {page_name} is refused"),
            &answer,
        );
    }
    streams::check_refused(&client, &args.streams, &mut report).await;
    check_forged_requests(&client, &args.url, &mut report).await;
    for (page_name, url) in &pages {
        let answer = client.get(url, Some(&session.cookie), &[]).await;
        report.expect_served(&format!("with a session, {page_name} is served"), &answer);
    }
    if let Some(text) = &args.expect_text {
        check_identity(&client, args, text, &session, &mut report).await;
    }
    // If the session does not work, the results of the later steps have no meaning.
    if report.failed_count() > 0 {
        report.print_skipped("remaining steps skipped: fix the failures above first");
        return Ok(report);
    }
    let idle_method = match (&session.id, args.age, &api) {
        (Some(id), true, Some(api)) => IdleMethod::Ageing { api, id },
        _ => IdleMethod::Waiting,
    };
    for times in ["once", "twice"] {
        idle_method
            .wait(session.idle.mul_f64(0.6), "activity")
            .await?;
        let answer = client.get(&args.url, Some(&session.cookie), &[]).await;
        report.expect_served(
            &format!("the session is served after it was used {times} within the idle limit"),
            &answer,
        );
    }
    let open = streams::open_all(&client, &args.streams, &session.cookie, &mut report).await;
    idle_method
        .wait(session.idle.mul_f64(0.5), "inactivity")
        .await?;
    streams::check_open(&open, "within the idle limit", &mut report);
    idle_method
        .wait(
            session.idle.mul_f64(0.5).saturating_add(IDLE_MARGIN),
            "inactivity",
        )
        .await?;
    streams::check_ended(open, "after the idle limit", &mut report).await;
    for (page_name, url) in &pages {
        let answer = client.get(url, Some(&session.cookie), &[]).await;
        report.expect_refused(
            &format!("after the idle limit, {page_name} is refused"),
            &answer,
        );
    }
    let answer = client.get(&args.url, Some(&session.cookie), &[]).await;
    report.expect_refused("the session stays ended", &answer);
    let provider = args.provider.as_ref().zip(args.provider_cookie.as_ref());
    let provider = provider.map(|(url, cookie)| ProviderSession {
        url: url.clone(),
        cookie: Secret::new(cookie.clone()),
    });
    let (page, cookie) = (&args.url, &session.cookie);
    redirects::check(
        &client,
        page,
        cookie,
        provider.as_ref(),
        session.idle,
        &mut report,
    )
    .await?;
    if let Some(api) = &api {
        check_revocation(args, &client, api, &mut report).await?;
    } else if !args.streams.is_empty() {
        let why = "--subject is needed, because only the admin API revokes";
        report.add_unknown("a revocation ends the streams", why);
    }
    if args.streams.is_empty() {
        report.add_unknown(
            "streams end with their session",
            "not checked: --stream names none",
        );
    } else {
        check_sign_out(args, &client, api.as_ref(), &mut report).await?;
    }
    Ok(report)
}

/// Checks that forged requests without a session are not served. An error passes, too, because some proxies answer
/// such requests with 400.
async fn check_forged_requests(client: &ProbeClient, url: &Url, report: &mut Report) {
    let identity_headers = [
        ("x-session-user", "admin"),
        ("x-forwarded-user", "admin"),
        ("remote-user", "admin"),
        ("x-auth-request-user", "admin"),
    ];
    let answer = client.get(url, None, &identity_headers).await;
    report.expect_not_served("forged identity headers give no access", &answer);
    let request_headers = [
        ("x-original-url", "https://example.com/.curfew/signed-out"),
        ("x-forwarded-uri", "/.curfew/signed-out"),
        ("x-original-method", "OPTIONS"),
        ("x-forwarded-method", "OPTIONS"),
    ];
    let answer = client.get(url, None, &request_headers).await;
    report.expect_not_served("forged request headers give no access", &answer);
    let (name, listed_headers) = CONNECTION_HEADER;
    let listed_headers = format!("{listed_headers}, cookie");
    let answer = client.get(url, None, &[(name, &listed_headers)]).await;
    report.expect_not_served(
        "a Connection header that removes other headers gives no access",
        &answer,
    );
    // Send more headers than Curfew accepts, so that the proxy gets an error instead of a verdict.
    let names: Vec<String> = (0..150).map(|number| format!("x-probe-{number}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
    let answer = client.get(url, None, &headers).await;
    report.expect_not_served(
        "a request that cannot be checked is refused (fail closed)",
        &answer,
    );
}

/// Checks that the application gets the identity, even if the client lists the identity headers in `Connection`.
async fn check_identity(
    client: &ProbeClient,
    args: &ProbeArgs,
    text: &str,
    session: &ProbeSession,
    report: &mut Report,
) {
    let answer = client
        .get_expecting_text(&args.url, &session.cookie, &[], text)
        .await;
    report.expect_served("the page shows who is signed in", &answer);
    let stripped = client
        .get_expecting_text(&args.url, &session.cookie, &[CONNECTION_HEADER], text)
        .await;
    report.expect_identity(
        "a Connection header that lists the identity headers has no effect",
        &stripped,
    );
}

/// Checks that a revocation takes effect within [`REVOCATION_TIMEOUT`], in spite of caches.
async fn check_revocation(
    args: &ProbeArgs,
    client: &ProbeClient,
    api: &AdminApi,
    report: &mut Report,
) -> anyhow::Result<()> {
    let session = obtain_session(args, client, Some(api)).await?;
    let answer = client.get(&args.url, Some(&session.cookie), &[]).await;
    report.expect_served("a new session is served", &answer);
    let open = streams::open_all(client, &args.streams, &session.cookie, report).await;
    let path = format!("/api/v1/sessions/{}", session.id.unwrap_or_default());
    api.call(Method::DELETE, &path, &[], None).await?;
    streams::check_ended(open, "after a revocation", report).await;
    let stopwatch = Stopwatch::start();
    let mut answer = client.get(&args.url, Some(&session.cookie), &[]).await;
    while matches!(&answer, Answer::Served(_))
        && stopwatch.seconds() < REVOCATION_TIMEOUT.as_secs_f64()
    {
        tokio::time::sleep(REVOCATION_TIMEOUT / 20).await;
        answer = client.get(&args.url, Some(&session.cookie), &[]).await;
    }
    report.expect_refused("a revoked session is refused within 3 s", &answer);
    Ok(())
}

/// Checks that a sign-out ends the streams.
async fn check_sign_out(
    args: &ProbeArgs,
    client: &ProbeClient,
    api: Option<&AdminApi>,
    report: &mut Report,
) -> anyhow::Result<()> {
    const NAME: &str = "a sign-out ends the streams";
    if args.cookie.is_some() {
        let why = "--subject or --sign-in is needed, because the session of --cookie has ended";
        report.add_unknown(NAME, why);
        return Ok(());
    }
    let session = obtain_session(args, client, api).await?;
    let open = streams::open_all(client, &args.streams, &session.cookie, report).await;
    match client.sign_out(&args.url, &session.cookie).await {
        Ok(200..=399) => streams::check_ended(open, "after a sign-out", report).await,
        Ok(status) => report.add_unknown(NAME, &format!("/.curfew/sign-out answered {status}")),
        Err(error) => report.add_unknown(NAME, &format!("/.curfew/sign-out: {error}")),
    }
    Ok(())
}

/// Returns the session for the probe: the session from the arguments, or a new session.
async fn obtain_session(
    args: &ProbeArgs,
    client: &ProbeClient,
    api: Option<&AdminApi>,
) -> anyhow::Result<ProbeSession> {
    if let (Some(url), Some(idle)) = (&args.sign_in, args.idle) {
        let form = args.form.as_ref().context(
            "CURFEW_PROBE_FORM is needed with --sign-in: set it to the form fields, such as user=alice&password=…",
        )?;
        return Ok(ProbeSession {
            cookie: client.sign_in(url, form).await?,
            id: None,
            idle,
        });
    }
    if let (Some(cookie), Some(idle)) = (&args.cookie, args.idle) {
        if !cookie.contains('=') {
            bail!("--cookie: must be a name and a value such as session=VALUE");
        }
        return Ok(ProbeSession {
            cookie: Secret::new(cookie.clone()),
            id: None,
            idle,
        });
    }
    let (Some(api), Some(subject)) = (api, &args.subject) else {
        bail!(
            "no session for the probe: give --subject to start a session through the admin API, or give --idle \
             together with --cookie or --sign-in"
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
    let reported_idle = created["session"]["idle_remaining"].as_u64();
    let reported_idle = reported_idle.map(Duration::from_secs);
    Ok(ProbeSession {
        cookie: Secret::new(cookie),
        id: Some(text(&created["session"]["id"])),
        idle: args
            .idle
            .or(reported_idle)
            .context("--idle is needed: the admin API does not report the idle limit")?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a JUnit report with a failed step that contains `text`.
    pub(in crate::cli) fn junit_report(text: &str) -> String {
        let mut report = Report::new(text);
        report.expect_served(text, &Answer::Error(text.to_owned()));
        report.to_junit()
    }
}
