use std::io::Write;

use super::output::{stdout, to_json};
use crate::config;

/// Prints the JSON Schema of the configuration.
pub(super) fn run() -> anyhow::Result<()> {
    let text = to_json(&config::schema())?;
    writeln!(stdout(), "{text}")?;
    Ok(())
}
