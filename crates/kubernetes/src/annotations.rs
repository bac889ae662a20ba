//! The short form of a `SessionPolicy`: annotations of a route, a service or a namespace.

use std::collections::BTreeMap;

use crate::fields::{FieldParser, Fields};
use crate::objects::PREFIX;

/// The names of the annotations after the prefix.
const NAMES: [&str; 4] = ["idle", "absolute", "max-auth-age", "policy"];

/// Returns the fields in annotations, and the mistakes. `None` without such annotations.
pub(crate) fn parse(annotations: &BTreeMap<String, String>) -> Option<(Fields, Vec<String>)> {
    let ours = annotations
        .keys()
        .filter_map(|key| key.strip_prefix(PREFIX));
    let ours: Vec<&str> = ours.collect();
    if ours.is_empty() {
        return None;
    }
    let mut parser = FieldParser::default();
    let value = |name: &str| {
        annotations
            .get(&format!("{PREFIX}{name}"))
            .map(String::as_str)
    };
    let key = |name: &str| format!("{PREFIX}{name}");
    let fields = Fields {
        idle: parser.duration(&key("idle"), value("idle")),
        absolute: parser.duration(&key("absolute"), value("absolute")),
        max_auth_age: parser.duration(&key("max-auth-age"), value("max-auth-age")),
        policy: parser.policy(&key("policy"), value("policy")),
        ..Fields::default()
    };
    for name in ours.into_iter().filter(|name| !NAMES.contains(name)) {
        let known = NAMES.map(key).join(", ");
        parser.mistakes.push(format!(
            "{PREFIX}{name}: is not an annotation of Curfew: {known}"
        ));
    }
    Some((fields, parser.mistakes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn reads_the_annotations_and_names_each_mistake() {
        assert!(parse(&annotations(&[("example.com/idle", "5m")])).is_none());
        let (fields, mistakes) = parse(&annotations(&[
            ("curfew.dev/idle", "15m"),
            ("curfew.dev/absolute", "8 hours"),
            ("curfew.dev/idel", "5m"),
            ("curfew.dev/policy", "payments"),
        ]))
        .unwrap();
        assert_eq!(fields.idle, Some(Duration::from_secs(900)));
        assert_eq!(fields.absolute, None);
        assert_eq!(fields.policy.unwrap().as_str(), "payments");
        assert_eq!(
            mistakes,
            [
                "curfew.dev/absolute = \"8 hours\": must be one to four numbers with the units h, m, s or ms, such as \
                 15m or 1h30m",
                "curfew.dev/idel: is not an annotation of Curfew: curfew.dev/idle, curfew.dev/absolute, \
                 curfew.dev/max-auth-age, curfew.dev/policy",
            ]
        );
    }
}
