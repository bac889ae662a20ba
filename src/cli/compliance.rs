use std::io::Write;

use anyhow::bail;
use clap::Args;

use super::ConfigArgs;
use super::output::{stdout, to_json};
use crate::compliance::{Reauthentication, build_report};
use crate::policy::standards::{self, Requirement};

/// Arguments of `curfew compliance`.
#[derive(Args, Debug)]
pub(super) struct ComplianceArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Fail unless every policy meets this requirement, such as pci-dss; can be repeated.
    #[arg(long = "require", value_name = "NAME")]
    required: Vec<String>,
    /// Check the limits only, not whether people authenticate again after a timeout.
    #[arg(long)]
    limits_only: bool,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Prints the report. Fails if a policy does not meet a requirement of `--require`.
pub(super) fn run(args: &ComplianceArgs) -> anyhow::Result<()> {
    let mut required = Vec::new();
    for name in &args.required {
        let Some(requirement) = standards::from_name(name) else {
            let names = standards::ALL.map(|requirement| requirement.name);
            bail!("--require {name}: must be one of {}", names.join(", "));
        };
        required.push(requirement);
    }
    let settings = args.config.source().load_session_settings()?;
    let reauthentication = match args.limits_only {
        true => Reauthentication::Ignored,
        false => Reauthentication::Sources(&settings.sign_ins),
    };
    let report = build_report(
        &settings.rulebook,
        reauthentication,
        &settings.forwarded_hosts,
    );
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", to_json(&report)?)?;
    } else {
        write!(out, "{}", report.to_markdown())?;
    }
    let failures: Vec<String> = required
        .iter()
        .filter_map(|requirement| {
            failure_message(requirement, report.failing_policies(requirement))
        })
        .collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

/// Returns the error message for a requirement; `None` if no policy fails. `failing` has the policies that fail
/// because of their limits, and the policies that fail because of the configured ways to sign in.
fn failure_message(requirement: &Requirement, failing: [Vec<&str>; 2]) -> Option<String> {
    let phrases = [
        "is not met by",
        "requires a new authentication after a timeout, which is not ensured for",
    ];
    let parts = phrases.into_iter().zip(failing);
    let parts = parts.filter(|(_, policies)| !policies.is_empty());
    let parts: Vec<_> = parts
        .map(|(phrase, policies)| format!("{phrase}: {}", policies.join(", ")))
        .collect();
    let Requirement {
        name,
        standard,
        section,
        ..
    } = requirement;
    (!parts.is_empty()).then(|| format!("{name} ({standard}, {section}) {}", parts.join("; it ")))
}

#[cfg(test)]
mod tests;
