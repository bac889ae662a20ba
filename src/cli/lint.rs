use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::ConfigArgs;
use super::colour::{BAD, LOOK, painted};
use super::output::to_json;
use crate::escape;
use crate::lint::{Finding, Limits, Severity, lint};

#[derive(Args, Debug)]
pub(super) struct LintArgs {
    /// Files of a proxy: Kubernetes manifests, nginx.conf, files of Traefik and Envoy, oauth2-proxy's.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The policy whose limits must not be got around; the default one when left out.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Looks for what would defeat the limits of sessions; fails where there is any.
pub(super) fn run(args: &LintArgs) -> anyhow::Result<()> {
    let limits = limits(args)?;
    let (mut errors, mut notices, mut objects) = (0, 0, Vec::new());
    let mut out = anstream::stdout();
    for path in &args.files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
        for finding in lint(&text, &limits).with_context(|| name.clone())? {
            match finding.severity {
                Severity::Error => errors += 1,
                Severity::Notice => notices += 1,
            }
            if args.json {
                objects.push(json!({ "file": name, "finding": finding }));
            } else {
                write!(out, "{}", shown(&name, &finding))?;
            }
        }
    }
    if args.json {
        writeln!(out, "{}", to_json(&objects)?)?;
    }
    if errors > 0 {
        bail!("{} would defeat the limits of sessions", things(errors));
    }
    if !args.json {
        let notices = if notices > 0 {
            format!("; {} to look at", things(notices))
        } else {
            String::new()
        };
        writeln!(
            out,
            "nothing here would defeat the limits of sessions{notices}"
        )?;
    }
    Ok(())
}

fn limits(args: &LintArgs) -> anyhow::Result<Limits> {
    let policies = args.config.source().load_book()?.policies;
    let name = args.policy.as_deref();
    let name = name.unwrap_or_else(|| policies.default_name().as_str());
    let Some((_, policy)) = policies.get(name) else {
        bail!("--policy: there is no policy of this name in the configuration");
    };
    Ok(Limits {
        idle: policy.limits.idle,
        absolute: policy.limits.absolute,
        touch_interval: policy.touch_interval,
    })
}

fn things(count: usize) -> String {
    match count {
        1 => "one thing".to_owned(),
        count => format!("{count} things"),
    }
}

/// A finding for people: where, what, and what to do.
fn shown(name: &str, finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => painted(BAD, "error"),
        Severity::Notice => painted(LOOK, "notice"),
    };
    let Finding {
        line,
        rule,
        message,
        remedy,
        ..
    } = finding;
    format!(
        "{}:{line}: {severity}[{rule}]: {}\n    {}\n",
        escape::line(name),
        escape::line(message),
        escape::line(remedy)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A finding about a text, without colours.
    pub(in crate::cli) fn finding(text: &str) -> String {
        let finding = Finding {
            line: 1,
            severity: Severity::Error,
            rule: "rule",
            message: text.to_owned(),
            remedy: text.to_owned(),
        };
        let mut plain = Vec::new();
        write!(
            anstream::StripStream::new(&mut plain),
            "{}",
            shown(text, &finding)
        )
        .unwrap();
        String::from_utf8(plain).unwrap()
    }
}
