use std::io::Write;

use super::ConfigArgs;

/// Prints the configuration in force as TOML, which can be used as a configuration file again.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let loaded = args.load()?;
    let text = toml::to_string(&loaded.effective)?;
    writeln!(
        std::io::stdout(),
        "# The configuration is good. In force:\n\n{}",
        text.trim_end()
    )?;
    Ok(())
}
