use std::io::Write;

use anyhow::bail;
use clap::Args;

use super::ConfigArgs;
use super::output::{stdout, to_json};
use crate::compliance::report;
use crate::policy::standards;

/// What to report.
#[derive(Args, Debug)]
pub(super) struct ComplianceArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Fail unless every policy meets this requirement, such as pci-dss; can be repeated.
    #[arg(long = "require", value_name = "NAME")]
    required: Vec<String>,
    /// Print JSON instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Prints each policy against what standards ask of session limits.
pub(super) fn run(args: &ComplianceArgs) -> anyhow::Result<()> {
    let mut required = Vec::new();
    for name in &args.required {
        let Some(requirement) = standards::named(name) else {
            let names = standards::ALL.map(|requirement| requirement.name);
            bail!("--require {name}: must be one of {}", names.join(", "));
        };
        required.push(requirement);
    }
    let report = report(&args.config.source().load_book()?);
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", to_json(&report)?)?;
    } else {
        write!(out, "{}", report.to_markdown())?;
    }
    let failures: Vec<String> = required
        .iter()
        .filter_map(|requirement| {
            let failing = report.failing(requirement);
            (!failing.is_empty()).then(|| {
                format!(
                    "{} ({}, {}) is not met by: {}",
                    requirement.name,
                    requirement.standard,
                    requirement.section,
                    failing.join(", ")
                )
            })
        })
        .collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}
