use std::io::Write;

use super::ConfigArgs;
use super::output::stdout;

/// Prints the effective configuration as TOML. The output is a valid configuration file.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let loaded = args.load()?;
    let text = toml::to_string(&loaded.effective)?;
    let mut out = stdout();
    writeln!(
        out,
        "# The configuration is valid. Effective values:\n\n{}",
        text.trim_end()
    )?;
    let hosts = loaded.config.rulebook.hosts.describe();
    writeln!(out, "\n# Named hosts: {hosts}.")?;
    for (name, policy) in loaded.config.rulebook.policies.iter() {
        let Some(preset) = policy.preset else {
            continue;
        };
        writeln!(
            out,
            "\n# policies.{name} has the preset {}: {}.",
            preset.name, preset.source
        )?;
    }
    Ok(())
}
