use std::io::Write;

use crate::config;

/// Prints the JSON Schema of the configuration.
pub(super) fn run() -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&config::schema())?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
