//! The JSON Schema of the configuration, by which editors complete and check it.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::raw::RawConfig;

/// The schema, in the draft that most editors know (7).
#[must_use]
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft07();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<RawConfig>();
    schema.insert("title".to_owned(), "Curfew's configuration".into());
    schema
}
