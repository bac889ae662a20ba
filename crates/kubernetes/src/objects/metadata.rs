//! The metadata of objects.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ObjectKey, nullable};

/// The prefix of the annotations of Curfew.
pub(crate) const PREFIX: &str = "curfew.dev/";

/// The annotation of the class for Ingresses that name none.
pub(crate) const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// The older way to name the class of an Ingress.
pub(crate) const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The metadata of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The name.
    pub name: String,
    /// The namespace; empty for an object of the whole cluster.
    pub namespace: String,
    /// The labels. Only namespaces keep them.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// The annotations that begin with `curfew.dev/`, and those that select a class.
    #[serde(deserialize_with = "kept_annotations")]
    pub annotations: BTreeMap<String, String>,
    /// The time of the creation in RFC 3339, in UTC, so that the texts sort by time.
    #[serde(deserialize_with = "nullable")]
    pub creation_timestamp: String,
    /// The number of changes of the spec.
    pub generation: i64,
    /// The unique ID. Only policies and objects with annotations of Curfew keep it, because events name it.
    pub uid: String,
    /// The version of the object.
    pub resource_version: String,
}

impl Metadata {
    /// The key of the object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }

    /// Whether the object has an annotation of Curfew.
    #[must_use]
    pub fn has_annotation(&self) -> bool {
        self.annotations.keys().any(|name| name.starts_with(PREFIX))
    }
}

/// Reads the annotations that Curfew keeps, and skips the others, which can be large.
fn kept_annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Kept;

    impl<'de> Visitor<'de> for Kept {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if name.starts_with(PREFIX) || name == DEFAULT_CLASS || name == CLASS_ANNOTATION {
                    kept.insert(name, map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(kept)
        }
    }

    deserializer.deserialize_any(Kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_annotations_are_kept_and_null_is_empty() {
        let text = r#"{"name": "a", "labels": null, "creationTimestamp": null,
            "managedFields": [{"manager": "x"}],
            "annotations": {"curfew.dev/idle": "5m", "kubectl.kubernetes.io/last-applied-configuration": "{}",
                            "kubernetes.io/ingress.class": "nginx"}}"#;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        let names: Vec<_> = metadata.annotations.keys().collect();
        assert_eq!(names, ["curfew.dev/idle", "kubernetes.io/ingress.class"]);
        assert!(metadata.has_annotation());
        let metadata: Metadata = serde_json::from_str(r#"{"annotations": null}"#).unwrap();
        assert!(metadata.annotations.is_empty());
    }
}
