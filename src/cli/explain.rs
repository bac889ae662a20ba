mod objects;
mod recording;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::ConfigArgs;
use super::output::{stdout, to_json};
use crate::check::{Original, OriginalUrl};
use crate::escape::line;
use crate::explain::{ExplainedRequest, Explanation, explain, sample_session};
use crate::policy::{Client, Contract};
use crate::session::{Attributes, Timestamp};

/// Arguments of `curfew explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The URL that the client requests.
    #[arg(long, value_name = "URL", required_unless_present = "recording")]
    url: Option<String>,
    /// Explain the checks of a recording instead: a file with the response of `GET /api/v1/recording`. `-` reads
    /// standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "method", "headers"])]
    recording: Option<PathBuf>,
    /// The HTTP method.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: Method,
    /// A header that the client sends, as `Name: value`; can be repeated.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The groups of the session's subject, separated by commas.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<String>,
    /// The session's home policy; the default policy if omitted.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Whether the session is a "remember me" session.
    #[arg(long)]
    remembered: bool,
    /// The contract of the proxy: auth-request, forward-auth, ext-authz, ext-authz-grpc or spoe.
    #[arg(long, value_name = "CONTRACT", default_value = "auth-request")]
    contract: String,
    /// The policy that the proxy requests, as in /policy/NAME/auth-request.
    #[arg(long, value_name = "NAME")]
    proxy_policy: Option<String>,
    /// Also apply Kubernetes objects from a file, as `kubectl get -A -o yaml` prints them: policies, routes, their classes,
    /// Gateways, namespaces and services. Can be repeated. `-` reads standard input.
    #[arg(long = "objects", value_name = "FILE")]
    objects: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the rule, the policies, the activity and the limits of a request.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let rulebook = args.config.source().load_rulebook()?;
    let notes = objects::apply(&args.objects, &rulebook)?;
    if args.json || args.recording.is_some() {
        objects::warn(&notes);
    }
    if let Some(path) = &args.recording {
        return recording::explain_all(path, &rulebook, args.json);
    }
    let url = args.url.as_deref().unwrap_or_default();
    let url = OriginalUrl::parse(url.as_bytes())
        .context("--url: not an absolute address such as https://app.example.com/orders?page=2")?;
    let Some(contract) = Contract::from_name(&args.contract) else {
        let names = Contract::ALL.map(Contract::as_str);
        bail!("--contract: must be one of {}", names.join(", "));
    };
    let headers = parse_headers(&args.headers)?;
    let name = args.policy.as_deref();
    let name = name.unwrap_or_else(|| rulebook.policies.default_name().as_str());
    let Some((_, policy)) = rulebook.policies.get(name) else {
        bail!("--policy {name}: the configuration has no policy of this name");
    };
    if args.remembered && policy.remember.is_none() {
        bail!("--remembered: policies.{name} has no `remember`");
    }
    let groups = BTreeMap::from([("groups".to_owned(), args.groups.clone())]);
    let attributes = Attributes::new(groups).context("--groups")?;
    let now = Timestamp::default();
    let session = sample_session(&rulebook.policies, name, args.remembered, attributes, now);
    let session = session.context("--policy: could not create a sample session")?;
    let original = Original::new(&args.method, url);
    let explained_request = ExplainedRequest {
        contract,
        policy: args.proxy_policy.as_deref(),
        original,
        headers: &headers,
        client: Client::default(),
    };
    let explanation = explain(&rulebook, &explained_request, &session, now);
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", to_json(&explanation)?)?;
    } else {
        writeln!(out, "{:<10} {}", "hosts", rulebook.hosts.describe())?;
        write!(out, "{}", format_explanation(&explanation))?;
        for note in notes {
            writeln!(out, "{:<10} {}", "note", line(&note))?;
        }
    }
    Ok(())
}

fn parse_headers(arguments: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for argument in arguments {
        let parsed = argument.split_once(':').and_then(|(name, value)| {
            let name = name.trim().parse::<HeaderName>().ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = parsed
            .context("--header: must be a name and a value such as \"Sec-Fetch-Mode: navigate\"")?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Formats the explanation as text, one line per fact.
fn format_explanation(explanation: &Explanation) -> String {
    let lines = explanation.label_text_pairs();
    let mut text: String = lines
        .iter()
        .map(|(name, text)| format!("{name:<10} {}\n", line(text)))
        .collect();
    // The last line is the verdict. Add that it is for a new session, because it depends on the age of the session.
    if explanation.match_error.is_none() {
        text.truncate(text.trim_end().len());
        text += ", for a new session\n";
    }
    text
}
