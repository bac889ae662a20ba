//! Converts objects of the client to the slim objects that Curfew keeps.

use std::collections::BTreeMap;

use curfew_kubernetes::{Metadata, Object};
use kube::core::ObjectMeta;

use super::watch::Kind;

/// The prefix of the annotations of Curfew.
const PREFIX: &str = "curfew.dev/";

/// The annotations that Curfew keeps.
fn is_kept(name: &str) -> bool {
    name.starts_with(PREFIX)
        || matches!(
            name,
            "ingressclass.kubernetes.io/is-default-class" | "kubernetes.io/ingress.class"
        )
}

/// Keeps the parts of an object that Curfew reads. Only a selector of namespaces reads labels, and only events name the
/// unique ID.
pub(super) fn slim<Spec: Clone, Status: Clone + Default>(
    kind: Kind,
    object: kube::core::Object<Spec, Status>,
) -> Object<Spec, Status> {
    let mut metadata = slim_metadata(object.metadata);
    if kind != Kind::Namespaces {
        metadata.labels = BTreeMap::new();
    }
    let has_annotation = metadata.annotations.keys().any(|it| it.starts_with(PREFIX));
    if !has_annotation && !kind.is_policy() {
        metadata.uid = String::new();
    }
    Object {
        metadata,
        spec: object.spec,
        status: object.status.unwrap_or_default(),
    }
}

fn slim_metadata(metadata: ObjectMeta) -> Metadata {
    let annotations = metadata.annotations.unwrap_or_default().into_iter();
    let annotations: BTreeMap<String, String> =
        annotations.filter(|(name, _)| is_kept(name)).collect();
    let created = metadata.creation_timestamp;
    Metadata {
        name: metadata.name.unwrap_or_default(),
        namespace: metadata.namespace.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        annotations,
        creation_timestamp: created.map(|time| time.0.to_string()).unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
    }
}
