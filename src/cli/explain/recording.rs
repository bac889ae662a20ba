//! Explains the checks of a recording.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::check::recording::{RecordedCheck, Recording};
use crate::check::{Original, OriginalUrl};
use crate::cli::output::{stdout, to_json};
use crate::escape::line;
use crate::explain::{ExplainedRequest, explain, sample_session};
use crate::policy::{Client, Contract, Rulebook};
use crate::session::{Attributes, Timestamp};

/// Prints each check of a recording: its inputs, the answer, and an explanation for a new session. With `json`,
/// prints the recording itself.
pub(super) fn explain_all(path: &Path, rulebook: &Rulebook, json: bool) -> anyhow::Result<()> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    }
    let recording: Recording = serde_json::from_str(&text)
        .context("--recording: must be a response of GET /api/v1/recording")?;
    let mut out = stdout();
    if json {
        writeln!(out, "{}", to_json(&recording)?)?;
        return Ok(());
    }
    let (count, dropped) = (recording.checks.len(), recording.dropped);
    writeln!(
        out,
        "{count} checks since {}; {dropped} older checks were dropped",
        line(&recording.started)
    )?;
    for check in &recording.checks {
        writeln!(out)?;
        for (name, text) in describe_check(check, rulebook) {
            writeln!(out, "{name:<10} {}", line(&text))?;
        }
    }
    Ok(())
}

fn describe_check(check: &RecordedCheck, rulebook: &Rulebook) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("at", check.at.clone()),
        ("contract", check.contract.clone()),
    ];
    lines.extend(check.policy.clone().map(|policy| ("policy", policy)));
    lines.extend(check.peer.clone().map(|peer| ("peer", peer)));
    let request = check.method.as_deref().zip(check.url.as_deref());
    lines.extend(request.map(|(method, url)| ("request", format!("{method} {url}"))));
    for (name, value) in &check.headers {
        lines.push(("header", format!("{name}: {value}")));
    }
    let answer = match &check.detail {
        Some(detail) => format!("{}: {detail}", check.verdict),
        None => check.verdict.clone(),
    };
    lines.push(("answer", answer));
    if let Some(explanation) = explain_check(check, rulebook) {
        lines.extend(explanation);
    }
    lines
}

/// Explains the request of a check. Returns `None` if the proxy sent no valid method and URL.
fn explain_check(
    check: &RecordedCheck,
    rulebook: &Rulebook,
) -> Option<Vec<(&'static str, String)>> {
    let contract = Contract::from_name(&check.contract)?;
    let method = Method::from_bytes(check.method.as_deref()?.as_bytes()).ok()?;
    // Remove the query: a recording contains no query values, and no rule needs them.
    let url = check.url.as_deref()?.split('?').next()?;
    let url = OriginalUrl::parse(url.as_bytes()).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in &check.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value).ok()?);
    }
    let now = Timestamp::default();
    let name = rulebook.policies.default_name().as_str();
    let session = sample_session(&rulebook.policies, name, false, Attributes::default(), now)?;
    let explained_request = ExplainedRequest {
        contract,
        policy: check.policy.as_deref(),
        original: Original::new(&method, url),
        headers: &headers,
        client: Client::default(),
    };
    let mut lines = explain(rulebook, &explained_request, &session, now).label_text_pairs();
    // Remove the last line, the verdict for a new session, because the recording already contains the real answer.
    lines.pop();
    Some(lines)
}
