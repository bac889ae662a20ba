//! Writes SessionPolicies as YAML.

use std::fmt::Write;
use std::time::Duration;

use super::duration;
use crate::escape;

/// A SessionPolicy for one Ingress of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionPolicy {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) idle: Option<Duration>,
    pub(super) absolute: Option<Duration>,
    pub(super) require_groups: Vec<String>,
}

impl SessionPolicy {
    /// Whether the policy changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.idle.is_none() && self.absolute.is_none() && self.require_groups.is_empty()
    }

    /// Writes the policy as a YAML document without a separator.
    pub(super) fn write(&self, to: &mut String) {
        to.push_str("apiVersion: curfew.dev/v1alpha1\nkind: SessionPolicy\nmetadata:\n");
        let name = quote(&self.name);
        let _ = writeln!(to, "  name: {name}");
        if let Some(namespace) = &self.namespace {
            let _ = writeln!(to, "  namespace: {}", quote(namespace));
        }
        to.push_str("spec:\n  targetRefs:\n    - group: networking.k8s.io\n      kind: Ingress\n");
        let _ = writeln!(to, "      name: {name}");
        for (limit, key) in [(self.idle, "idle"), (self.absolute, "absolute")] {
            if let Some(limit) = limit {
                let _ = writeln!(to, "  {key}: {}", duration::format(limit));
            }
        }
        if !self.require_groups.is_empty() {
            to.push_str("  requireGroups:\n");
            for group in &self.require_groups {
                let _ = writeln!(to, "    - {}", quote(group));
            }
        }
    }
}

/// Writes a comment on one line.
pub(super) fn write_comment(to: &mut String, text: &str) {
    let text = escape::line(text).replace(is_noncharacter, "\u{fffd}");
    let _ = writeln!(to, "# {}", text.trim());
}

/// Returns a double-quoted scalar. Always quotes, because a plain scalar such as `on` or `1e3` can have another type.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if escape::is_unsafe(character) || is_noncharacter(character) => {
                // YAML has no surrogate pairs, unlike JSON.
                let _ = write!(quoted, "\\U{:08X}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Characters that YAML forbids and that are not unsafe to read.
const fn is_noncharacter(character: char) -> bool {
    matches!(character, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use yaml_rust2::YamlLoader;

    use super::*;

    #[test]
    fn a_policy_has_only_the_known_fields() {
        let mut yaml = String::new();
        let policy = SessionPolicy {
            name: "crm".to_owned(),
            namespace: Some("team-crm".to_owned()),
            idle: Some(Duration::from_secs(5400)),
            require_groups: vec!["a: #b".to_owned(), "on".to_owned()],
            ..SessionPolicy::default()
        };
        policy.write(&mut yaml);
        let expected = r#"apiVersion: curfew.dev/v1alpha1
kind: SessionPolicy
metadata:
  name: "crm"
  namespace: "team-crm"
spec:
  targetRefs:
    - group: networking.k8s.io
      kind: Ingress
      name: "crm"
  idle: 1h30m
  requireGroups:
    - "a: #b"
    - "on"
"#;
        assert_eq!(yaml, expected);
        assert!(!policy.is_empty());
        assert!(SessionPolicy::default().is_empty());
    }

    fn any_text() -> impl Strategy<Value = String> {
        let special = prop_oneof![
            Just("\n---\nkind: Secret\n".to_owned()),
            Just("\"\\\r\u{85}\u{2028}\u{feff}\u{fffe}\u{e0041}\0\t".to_owned()),
            Just("#: {}[]&*!|>'%@`".to_owned()),
            Just("\u{1F600}".to_owned()),
            any::<String>(),
        ];
        proptest::collection::vec(special, 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn every_text_stays_a_value(
            name in any_text(),
            namespace in proptest::option::of(any_text()),
            groups in proptest::collection::vec(any_text(), 0..4),
            comment in any_text(),
        ) {
            let policy = SessionPolicy {
                name,
                namespace,
                require_groups: groups,
                ..SessionPolicy::default()
            };
            let mut yaml = "---\n".to_owned();
            write_comment(&mut yaml, &comment);
            policy.write(&mut yaml);
            let documents = YamlLoader::load_from_str(&yaml).unwrap();
            prop_assert_eq!(documents.len(), 1);
            let document = &documents[0];
            prop_assert_eq!(document.as_hash().unwrap().len(), 4);
            prop_assert_eq!(document["kind"].as_str(), Some("SessionPolicy"));
            prop_assert_eq!(document["metadata"]["name"].as_str(), Some(&*policy.name));
            prop_assert_eq!(document["metadata"]["namespace"].as_str(), policy.namespace.as_deref());
            prop_assert_eq!(document["spec"]["targetRefs"][0]["name"].as_str(), Some(&*policy.name));
            let groups = document["spec"]["requireGroups"].as_vec().into_iter().flatten();
            let groups: Vec<_> = groups.map(|group| group.as_str().unwrap()).collect();
            prop_assert_eq!(groups, policy.require_groups);
        }
    }
}
