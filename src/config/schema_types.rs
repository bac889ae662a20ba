//! Types that describe the formats of configuration strings in the JSON Schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A duration.
pub(super) struct Duration;

/// A duration, or `off`.
pub(super) struct DurationOrOff;

/// A list of strings, or one string.
pub(super) struct StringList;

/// A list of addresses, one string with addresses, or `off`.
pub(super) struct AddressesOrOff;

/// A list of admin tokens, or one string with their hashes.
pub(super) struct AdminTokens;

/// The pattern of a duration: numbers with units.
const DURATION_PATTERN: &str = r"([0-9]+ ?[a-zA-Z]+ ?)+";

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": format!("^{DURATION_PATTERN}$"),
            "examples": ["15m", "12h", "1h 30m"],
        })
    }
}

impl JsonSchema for DurationOrOff {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DurationOrOff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // YAML 1.1 parses `off` without quotes as `false`.
        json_schema!({
            "anyOf": [
                { "type": "string", "pattern": format!("^(off|{DURATION_PATTERN})$") },
                { "const": false },
            ],
            "examples": ["15m", "off"],
        })
    }
}

impl JsonSchema for AdminTokens {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AdminTokens".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let named = generator.subschema_for::<super::sections::RawNamedToken>();
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "anyOf": [{ "type": "string" }, named] } },
            ],
        })
    }
}

impl JsonSchema for StringList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StringList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
            ],
        })
    }
}

impl JsonSchema for AddressesOrOff {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AddressesOrOff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // YAML 1.1 parses `off` without quotes as `false`.
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
                { "const": false },
            ],
            "examples": ["[::]:9181", "off"],
        })
    }
}
