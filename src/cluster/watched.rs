//! The type that the client reads: only the parts of an object that Curfew keeps, so that reading 10,000 objects does not
//! allocate the others.

use std::borrow::Cow;

use curfew_kubernetes::Object;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer};

/// An object of the watch.
#[derive(Clone, Debug)]
pub(super) struct Watched<Spec, Status> {
    pub(super) object: Object<Spec, Status>,
    /// What the client needs: the name, the namespace and the version.
    meta: ObjectMeta,
}

impl<'de, Spec, Status> Deserialize<'de> for Watched<Spec, Status>
where
    Object<Spec, Status>: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(deserializer)?;
        let meta = ObjectMeta {
            name: Some(object.metadata.name.clone()),
            namespace: Some(object.metadata.namespace.clone()).filter(|it| !it.is_empty()),
            resource_version: Some(object.metadata.resource_version.clone()),
            ..ObjectMeta::default()
        };
        Ok(Self { object, meta })
    }
}

impl<Spec, Status> Resource for Watched<Spec, Status> {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
