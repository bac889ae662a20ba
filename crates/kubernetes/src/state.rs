//! The objects of a cluster, as the last events of the API server left them.

use std::collections::BTreeMap;

use crate::objects::{
    GatewaySpec, GrpcRouteSpec, HttpRouteSpec, IngressClassSpec, IngressSpec, NoSpec, Object,
    ObjectKey, RouteStatus, StoredStatus,
};
use crate::{ClusterSessionPolicySpec, SessionPolicySpec};

/// All objects that Curfew watches.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Namespaces, for their labels and annotations.
    pub namespaces: BTreeMap<ObjectKey, Object<NoSpec>>,
    /// Services, for their annotations.
    pub services: BTreeMap<ObjectKey, Object<NoSpec>>,
    /// Ingresses.
    pub ingresses: BTreeMap<ObjectKey, Object<IngressSpec>>,
    /// The classes of Ingresses.
    pub ingress_classes: BTreeMap<ObjectKey, Object<IngressClassSpec>>,
    /// Gateways.
    pub gateways: BTreeMap<ObjectKey, Object<GatewaySpec>>,
    /// HTTPRoutes.
    pub http_routes: BTreeMap<ObjectKey, Object<HttpRouteSpec, RouteStatus>>,
    /// GRPCRoutes.
    pub grpc_routes: BTreeMap<ObjectKey, Object<GrpcRouteSpec, RouteStatus>>,
    /// SessionPolicies.
    pub session_policies: BTreeMap<ObjectKey, Object<SessionPolicySpec, StoredStatus>>,
    /// ClusterSessionPolicies.
    pub cluster_policies: BTreeMap<ObjectKey, Object<ClusterSessionPolicySpec, StoredStatus>>,
}
