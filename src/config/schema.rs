//! The JSON Schema of the configuration. Editors use it to complete and check configuration files.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::sections::RawConfig;

/// Builds the JSON Schema in draft 7, which most editors support.
#[must_use]
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft07();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<RawConfig>();
    schema.insert("title".to_owned(), "Curfew's configuration".into());
    schema
}
