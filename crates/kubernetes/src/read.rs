//! Reads objects from manifests, as `kubectl get -o yaml` and `-o json` print them.

use std::collections::{BTreeMap, BTreeSet};

use curfew_core::yaml;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::objects::{Metadata, Object, ObjectKey};
use crate::state::State;

/// A manifest that Curfew cannot read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not YAML or JSON.
    #[error("not YAML or JSON: {0}")]
    Yaml(String),
    /// A document is not a Kubernetes object.
    #[error("a document is not a Kubernetes object: it needs `kind` and `metadata.name`")]
    NoObject,
    /// An object has a member of another type than its kind defines.
    #[error("{kind} {key}: {error}")]
    Object {
        /// The kind.
        kind: String,
        /// The object.
        key: ObjectKey,
        /// The error.
        error: serde_json::Error,
    },
}

impl State {
    /// Adds the objects of a manifest: YAML documents, JSON, and lists of objects. Returns the kinds that Curfew does not
    /// use. Objects without a namespace are in `default`, as for `kubectl apply`.
    ///
    /// # Errors
    /// [`ReadError`] for the first part that Curfew cannot read. The objects before it are added.
    pub fn read(&mut self, text: &str) -> Result<BTreeSet<String>, ReadError> {
        yaml::check(text).map_err(|error| ReadError::Yaml(error.to_string()))?;
        let documents = YamlLoader::load_from_str(text);
        let documents = documents.map_err(|error| ReadError::Yaml(error.to_string()))?;
        let mut skipped = BTreeSet::new();
        for document in &documents {
            let value = to_json(document);
            // An empty document, for example after the last separator.
            if !value.is_null() {
                self.add(&value, &mut skipped)?;
            }
        }
        Ok(skipped)
    }

    fn add(&mut self, value: &Value, skipped: &mut BTreeSet<String>) -> Result<(), ReadError> {
        let kind = value["kind"].as_str().ok_or(ReadError::NoObject)?;
        if let Some(items) = value["items"].as_array()
            && kind.ends_with("List")
        {
            return items.iter().try_for_each(|item| self.add(item, skipped));
        }
        match kind {
            "Namespace" => insert(&mut self.namespaces, kind, value, false),
            "Service" => insert(&mut self.services, kind, value, true),
            "Ingress" => insert(&mut self.ingresses, kind, value, true),
            "IngressClass" => insert(&mut self.ingress_classes, kind, value, false),
            "Gateway" => insert(&mut self.gateways, kind, value, true),
            "HTTPRoute" => insert(&mut self.http_routes, kind, value, true),
            "GRPCRoute" => insert(&mut self.grpc_routes, kind, value, true),
            "SessionPolicy" => insert(&mut self.session_policies, kind, value, true),
            "ClusterSessionPolicy" => insert(&mut self.cluster_policies, kind, value, false),
            other => {
                skipped.insert(other.to_owned());
                Ok(())
            }
        }
    }
}

fn insert<Spec, Status>(
    objects: &mut BTreeMap<ObjectKey, Object<Spec, Status>>,
    kind: &str,
    value: &Value,
    is_namespaced: bool,
) -> Result<(), ReadError>
where
    Spec: DeserializeOwned + Default,
    Status: DeserializeOwned + Default,
{
    let metadata = Metadata::deserialize(&value["metadata"]).map_err(|_| ReadError::NoObject)?;
    if metadata.name.is_empty() {
        return Err(ReadError::NoObject);
    }
    let mut key = metadata.key();
    if is_namespaced && key.namespace.is_empty() {
        "default".clone_into(&mut key.namespace);
    }
    let object: Result<Object<Spec, Status>, _> = Object::deserialize(value);
    let mut object = object.map_err(|error| ReadError::Object {
        kind: kind.to_owned(),
        key: key.clone(),
        error,
    })?;
    object.metadata.namespace.clone_from(&key.namespace);
    objects.insert(key, object);
    Ok(())
}

pub(crate) fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(text) => text.parse::<f64>().map_or(Value::Null, Value::from),
        Yaml::String(text) => text.clone().into(),
        Yaml::Boolean(value) => (*value).into(),
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Hash(pairs) => {
            let pairs = pairs.iter();
            let pairs =
                pairs.filter_map(|(key, value)| Some((key.as_str()?.to_owned(), to_json(value))));
            Value::Object(pairs.collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_and_lists_are_read_and_mistakes_are_named() {
        let mut state = State::default();
        let skipped = state.read(
            "kind: List\nitems:\n- {kind: Namespace, metadata: {name: a}}\n- {kind: Secret, metadata: {name: b}}\n---\n\
             kind: Ingress\nmetadata: {name: c}\nspec: {rules: [{host: c.example.com}]}\n---\n",
        );
        assert_eq!(skipped.unwrap(), ["Secret".to_owned()].into());
        let key = ObjectKey::new("default", "c");
        assert_eq!(state.ingresses[&key].spec.rules.len(), 1);
        assert_eq!(state.namespaces.len(), 1);
        let json = r#"{"kind": "IngressClassList", "items": [{"kind": "IngressClass", "metadata": {"name": "nginx"}}]}"#;
        assert!(state.read(json).unwrap().is_empty());
        assert_eq!(state.ingress_classes.len(), 1);
        for (text, expected) in [
            ("a: [", "not YAML or JSON"),
            ("a: 1", "not a Kubernetes object"),
            ("{kind: Ingress, metadata: {}}", "not a Kubernetes object"),
            (
                "{kind: SessionPolicy, metadata: {name: x, namespace: y}, spec: {idle: [1]}}",
                "SessionPolicy y/x: invalid type",
            ),
        ] {
            let error = state.read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
