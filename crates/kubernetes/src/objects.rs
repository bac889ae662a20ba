//! The parts of Kubernetes objects that Curfew reads. Everything else is dropped while an object is read.

mod metadata;

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

pub use metadata::Metadata;
pub(crate) use metadata::{CLASS_ANNOTATION, DEFAULT_CLASS, PREFIX};

/// The namespace and the name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace; empty for an object of the whole cluster.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object: its metadata and the parts that Curfew reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(bound(
    deserialize = "Spec: Default + Deserialize<'de>, Status: Default + Deserialize<'de>"
))]
pub struct Object<Spec, Status = NoSpec> {
    /// The metadata.
    #[serde(default)]
    pub metadata: Metadata,
    /// `spec`.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: Spec,
    /// `status`.
    #[serde(default, deserialize_with = "nullable")]
    pub status: Status,
}

/// Reads a value; the default for `null`.
fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The status of a policy as JSON text, because parsed JSON needs ten times the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredStatus(Option<Box<str>>);

impl StoredStatus {
    /// The status; null if there is none.
    #[must_use]
    pub fn value(&self) -> Value {
        let text = self.0.as_deref();
        // The text was JSON before.
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for StoredStatus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = (!value.is_null()).then(|| value.to_string().into_boxed_str());
        Ok(Self(text))
    }
}

/// `spec` of an `Ingress` (networking.k8s.io/v1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// The class; `None` for the default class.
    pub ingress_class_name: Option<String>,
    /// The service for requests that meet no rule.
    pub default_backend: Option<IngressBackend>,
    /// The rules.
    pub rules: Box<[IngressRule]>,
}

/// A rule of an `Ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// The host; `None` for every host.
    pub host: Option<String>,
    /// The paths.
    pub http: IngressPaths,
}

/// The paths of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressPaths {
    /// The paths.
    pub paths: Box<[IngressPath]>,
}

/// A path of an `Ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPath {
    /// The path; `/` if it is missing.
    pub path: Option<String>,
    /// `Exact`, `Prefix` or `ImplementationSpecific`.
    pub path_type: String,
    /// The service.
    pub backend: IngressBackend,
}

/// The service of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    /// The service, if it is a service.
    pub service: Option<Named>,
}

/// A reference by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// `spec` of an `IngressClass`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressClassSpec {
    /// The controller that serves the class.
    pub controller: String,
}

/// `spec` of an `HTTPRoute` (gateway.networking.k8s.io/v1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteSpec {
    /// The Gateways.
    pub parent_refs: Box<[ParentRef]>,
    /// The hosts; empty for the hosts of the listeners.
    pub hostnames: Box<[String]>,
    /// The rules.
    pub rules: Box<[HttpRouteRule]>,
}

/// A rule of an `HTTPRoute`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteRule {
    /// The name, which `sectionName` refers to.
    pub name: Option<String>,
    /// The conditions; a request must meet one of them. Empty for every request.
    pub matches: Box<[HttpRouteMatch]>,
    /// The services.
    pub backend_refs: Box<[Backend]>,
}

/// A condition of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteMatch {
    /// The path; `None` for every path.
    pub path: Option<HttpPathMatch>,
    /// The method.
    pub method: Option<String>,
    /// The conditions on headers.
    pub headers: Box<[Named]>,
    /// The conditions on the query.
    pub query_params: Box<[Named]>,
}

/// A condition on the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HttpPathMatch {
    /// `Exact`, `PathPrefix` (the default) or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The path; `/` if it is missing.
    pub value: Option<String>,
}

/// `spec` of a `GRPCRoute` (gateway.networking.k8s.io/v1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteSpec {
    /// The Gateways.
    pub parent_refs: Box<[ParentRef]>,
    /// The hosts; empty for the hosts of the listeners.
    pub hostnames: Box<[String]>,
    /// The rules.
    pub rules: Box<[GrpcRouteRule]>,
}

/// A rule of a `GRPCRoute`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteRule {
    /// The name, which `sectionName` refers to.
    pub name: Option<String>,
    /// The conditions; a request must meet one of them. Empty for every request.
    pub matches: Box<[GrpcRouteMatch]>,
    /// The services.
    pub backend_refs: Box<[Backend]>,
}

/// A condition of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrpcRouteMatch {
    /// The service and the method; `None` for every method.
    pub method: Option<GrpcMethodMatch>,
    /// The conditions on headers.
    pub headers: Box<[Named]>,
}

/// A condition on the service and the method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GrpcMethodMatch {
    /// `Exact` (the default) or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
}

/// A reference to a service of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Backend {
    /// The kind; `Service` if it is missing.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// The namespace; the namespace of the route if it is missing.
    pub namespace: Option<String>,
}

/// A reference from a route to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentRef {
    /// The kind; `Gateway` if it is missing.
    pub kind: Option<String>,
    /// The namespace; the namespace of the route if it is missing.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The listener; `None` for all listeners.
    pub section_name: Option<String>,
}

/// `status` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RouteStatus {
    /// What each Gateway says about the route.
    pub parents: Box<[RouteParentStatus]>,
}

/// What one Gateway says about a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteParentStatus {
    /// The Gateway.
    pub parent_ref: ParentRef,
    /// The controller of the Gateway.
    pub controller_name: String,
    /// The conditions.
    pub conditions: Box<[RouteCondition]>,
}

impl ParentRef {
    /// The Gateway that a route of a namespace refers to.
    pub(crate) fn gateway(&self, namespace: &str) -> ObjectKey {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        ObjectKey::new(namespace, &self.name)
    }
}

/// A condition in the status of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RouteCondition {
    /// The type, such as `Accepted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// `spec` of a `Gateway`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GatewaySpec {
    /// The listeners.
    pub listeners: Box<[GatewayListener]>,
}

/// A listener of a `Gateway`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GatewayListener {
    /// The name, which `sectionName` refers to.
    pub name: String,
    /// The host; `None` for every host.
    pub hostname: Option<String>,
}

/// A part of an object of which Curfew reads nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct NoSpec {}
