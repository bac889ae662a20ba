use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::ConfigArgs;
use super::colour::{FAILED_STYLE, NOTICE_STYLE, paint};
use super::output::to_json;
use crate::escape;
use crate::lint::{Finding, LintLimits, Severity, lint};

#[derive(Args, Debug)]
pub(super) struct LintArgs {
    /// Proxy configuration files: Kubernetes manifests, nginx.conf, files of Traefik, Envoy and
    /// oauth2-proxy.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The policy whose limits apply; the default policy if omitted.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints settings that bypass session limits; fails if there are errors.
pub(super) fn run(args: &LintArgs) -> anyhow::Result<()> {
    let limits = load_limits(args)?;
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
                write!(out, "{}", format_finding(&name, &finding))?;
            }
        }
    }
    if args.json {
        writeln!(out, "{}", to_json(&objects)?)?;
    }
    if errors > 0 {
        let settings = match errors {
            1 => "1 setting bypasses".to_owned(),
            count => format!("{count} settings bypass"),
        };
        bail!("{settings} the limits of sessions");
    }
    if !args.json {
        let notices = match notices {
            0 => String::new(),
            1 => "; 1 notice".to_owned(),
            count => format!("; {count} notices"),
        };
        writeln!(out, "no setting bypasses the limits of sessions{notices}")?;
    }
    Ok(())
}

fn load_limits(args: &LintArgs) -> anyhow::Result<LintLimits> {
    let policies = args.config.source().load_rulebook()?.policies;
    let name = args.policy.as_deref();
    let name = name.unwrap_or_else(|| policies.default_name().as_str());
    let Some((_, policy)) = policies.get(name) else {
        bail!("--policy {name}: the configuration has no policy of this name");
    };
    Ok(LintLimits {
        idle: policy.limits.idle,
        absolute: policy.limits.absolute,
        touch_interval: policy.touch_interval,
    })
}

/// Formats a finding as text, with its location, message and remedy.
fn format_finding(name: &str, finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => paint(FAILED_STYLE, "error"),
        Severity::Notice => paint(NOTICE_STYLE, "notice"),
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

    /// Formats a finding that has `text` in every field, without colours.
    pub(in crate::cli) fn formatted_finding(text: &str) -> String {
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
            format_finding(text, &finding)
        )
        .unwrap();
        String::from_utf8(plain).unwrap()
    }
}
