//! Tests that the documentation and the JSON Schema contain every key.

use super::*;

/// Collects the keys of a schema as paths with dots. `NAME` stands for any name, and `N` for any list index.
fn collect_keys(root: &Value, schema: &Value, prefix: &str, found: &mut Vec<String>) {
    let target = |schema: &Value| {
        let one = |schema: &Value| schema["$ref"].as_str().map(str::to_owned);
        let inside = ["allOf", "anyOf"].into_iter().filter_map(|of| {
            let parts = schema[of].as_array()?;
            parts.iter().find_map(one)
        });
        one(schema).or_else(|| inside.into_iter().next())
    };
    let resolve = |schema: &Value| {
        let path = target(schema)?;
        root.pointer(path.trim_start_matches('#')).cloned()
    };
    if let Some(section) = resolve(schema) {
        return collect_keys(root, &section, prefix, found);
    }
    let below = |part: &str| format!("{prefix}{part}").trim_start_matches('.').to_owned();
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            collect_keys(root, property, &below(&format!(".{name}")), found);
        }
    } else if resolve(&schema["additionalProperties"]).is_some() {
        collect_keys(
            root,
            &schema["additionalProperties"],
            &below(".NAME"),
            found,
        );
    } else if resolve(&schema["items"]).is_some() {
        collect_keys(root, &schema["items"], &below(".N"), found);
    } else {
        found.push(prefix.to_owned());
    }
}

/// Checks that the documentation has a row for every key, with its effective default, and no row for an unknown key.
#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../docs/configuration.md");
    let (page, _) = page.split_once("\n## Redis\n").unwrap();
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| {
            let (key, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let default = rest.split('|').next()?.trim();
            Some((key, default.trim_matches('`')))
        })
        .collect();
    let loaded = load(None, &Environment::new()).unwrap();
    let effective = serde_json::to_value(&loaded.effective).unwrap();
    let schema = serde_json::to_value(schema()).unwrap();
    let mut keys = Vec::new();
    collect_keys(&schema, &schema, "", &mut keys);
    // The keys of `tls` are the same for each listener.
    for name in ListenerName::ALL {
        let section = format!("tls.{}.", name.as_str());
        for key in &mut keys {
            *key = key.replace(&section, "tls.LISTENER.");
        }
    }
    for key in &keys {
        let row = rows.iter().find(|(documented, _)| documented == key);
        let (_, default) = row.unwrap_or_else(|| panic!("{key} is not documented"));
        let pointer = format!("/{}", key.replace("NAME", "default").replace('.', "/"));
        let value = effective.pointer(&pointer).map_or(String::new(), |value| {
            let text = value.as_str().map(str::to_owned);
            text.unwrap_or_else(|| value.to_string())
        });
        if key != "policies.NAME.touch_interval" {
            assert_eq!(*default, value, "the default of {key}");
        }
    }
    for (key, _) in rows {
        assert!(keys.iter().any(|known| known == key), "{key} is not a key");
    }
}

/// Checks that the schema in the repository is the output of `curfew schema`.
#[test]
fn the_committed_schema_is_up_to_date() {
    let committed = include_str!("../../../deploy/curfew/curfew.schema.json");
    let schema = serde_json::to_string_pretty(&schema()).unwrap();
    assert!(
        committed.trim_end() == schema,
        "the schema must be up to date: cargo run -- schema > deploy/curfew/curfew.schema.json"
    );
}
