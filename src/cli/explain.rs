use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, bail};
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::ConfigArgs;
use crate::check::{Original, OriginalUrl};
use crate::explain::{Explanation, Limit, LimitsInForce, Question, TermsExplained, explain};
use crate::policy::{Client, Contract};
use crate::session::{Attributes, Binding, NewSession, Session, Subject, Timestamp};

/// What to explain.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The address that the client asks for.
    #[arg(long, value_name = "URL")]
    url: String,
    /// The method.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: Method,
    /// A header that the client sends, as `Name: value`; can be repeated.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The groups of the session's subject, with commas.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<String>,
    /// The session's own policy; the default one when left out.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Whether the session's subject asked to be remembered.
    #[arg(long)]
    remembered: bool,
    /// How the proxy asks: auth-request, forward-auth, ext-authz, ext-authz-grpc or spoe.
    #[arg(long, value_name = "CONTRACT", default_value = "auth-request")]
    contract: String,
    /// The policy that the proxy asks for, as in /policy/NAME/auth-request.
    #[arg(long, value_name = "NAME")]
    proxy_policy: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Says which rule and policies a request meets, whether it is activity, and which limits apply.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let book = args.config.source().load_book()?;
    let url = OriginalUrl::parse(args.url.as_bytes())
        .context("--url: not an absolute address such as https://app.example.com/orders?page=2")?;
    let Some(contract) = Contract::from_name(&args.contract) else {
        let names = Contract::ALL.map(Contract::as_str);
        bail!("--contract: must be one of {}", names.join(", "));
    };
    let headers = headers(&args.headers)?;
    let name = args.policy.as_deref();
    let name = name.unwrap_or_else(|| book.policies.default_name().as_str());
    let Some((policy, limits)) = book.policies.get(name) else {
        bail!("--policy: there is no policy of this name in the configuration");
    };
    if args.remembered && limits.remember.is_none() {
        bail!("--remembered: policies.{name} has no `remember`");
    }
    let groups = BTreeMap::from([("groups".to_owned(), args.groups.clone())]);
    let attributes = Attributes::new(groups).context("--groups")?;
    let limits = limits.limits_of(args.remembered, &attributes);
    let new = NewSession {
        subject: Subject::new("somebody")?,
        attributes,
        policy: policy.clone(),
        remembered: args.remembered,
        binding: Binding::default(),
    };
    let now = Timestamp::default();
    let session = Session::start(new, &limits, limits.absolute, now);
    let original = Original {
        method: &args.method,
        url,
    };
    let question = Question {
        contract,
        policy: args.proxy_policy.as_deref(),
        original,
        headers: &headers,
        client: Client::default(),
    };
    let explanation = explain(&book, &question, &session, now);
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&explanation)?)?;
    } else {
        write!(out, "{}", text(&explanation))?;
    }
    Ok(())
}

fn headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let name = name.trim().parse::<HeaderName>().ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) =
            parsed.context("--header: must be like \"Sec-Fetch-Mode: navigate\"")?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The explanation for people: a line for each fact.
fn text(explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    let path = explanation.path.as_deref();
    lines.push((
        "path",
        path.unwrap_or("(could be read in two ways)").to_owned(),
    ));
    if let Some(terms) = &explanation.terms {
        terms_text(terms, &mut lines);
    }
    let verdict = match &explanation.undecidable {
        Some(why) => format!("{}: {why}", explanation.verdict),
        None => format!("{}, on a session that has just begun", explanation.verdict),
    };
    lines.push(("verdict", verdict));
    let lines = lines
        .iter()
        .map(|(name, text)| format!("{name:<10} {text}\n"));
    lines.collect()
}

fn terms_text(terms: &TermsExplained, lines: &mut Vec<(&'static str, String)>) {
    let rule = match (&terms.rule, &terms.rule_matches) {
        (Some(rule), Some(matches)) => format!("{rule} ({matches})"),
        _ => "none".to_owned(),
    };
    lines.push(("rule", rule));
    lines.push(("access", terms.access.to_owned()));
    if terms.access == "public" {
        return;
    }
    if !terms.groups_needed.is_empty() {
        lines.push((
            "groups",
            format!("one of {}", terms.groups_needed.join(", ")),
        ));
    }
    let mut policies = format!("{} (the session's own)", terms.home_policy);
    for asked in &terms.asked_policies {
        policies += &format!(", {} (by the {})", asked.name, asked.by);
    }
    lines.push(("policies", policies));
    let activity = match terms.passive_because {
        Some(why) => format!("{}: {why}", terms.activity),
        None => terms.activity.to_owned(),
    };
    lines.push(("activity", activity));
    lines.push(("ends", limits_text(&terms.session_limits)));
    if terms.request_limits != terms.session_limits || terms.request_limits.max_auth_age.is_some() {
        lines.push(("needs", limits_text(&terms.request_limits)));
    }
}

fn limits_text(limits: &LimitsInForce) -> String {
    let written = |limit: &Limit| humantime::format_duration(limit.duration());
    let mut parts = Vec::new();
    if let Some(idle) = &limits.idle {
        parts.push(format!("{} unused ({})", written(idle), idle.from));
    }
    if let Some(absolute) = &limits.absolute {
        parts.push(format!(
            "{} after sign-in ({})",
            written(absolute),
            absolute.from
        ));
    }
    if let Some(age) = &limits.max_auth_age {
        parts.push(format!(
            "sign-in of the last {} ({})",
            written(age),
            age.from
        ));
    }
    parts.join(", ")
}
