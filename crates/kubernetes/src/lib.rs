//! Session limits as Kubernetes resources.
//!
//! [`State`] holds the objects of a cluster that Curfew watches: its own policies, the routes that proxies serve, and
//! their namespaces and services. [`compile`] turns a state into a [`RouteIndex`](curfew_core::policy::RouteIndex),
//! which checks use, and into the status of each policy.
//!
//! This crate does no I/O. The caller watches the API server and writes the status.

mod annotations;
mod audit;
mod claims;
mod cluster_policy;
mod compile;
mod duration;
mod fields;
mod merge;
mod objects;
mod read;
mod routes;
mod session_policy;
mod state;
mod status;

pub use audit::{AuditedRoute, RouteReport, RouteState, audit};
pub use cluster_policy::{ClusterSessionPolicySpec, Forbidden};
pub use compile::{AnnotationMistake, Compiled, Context, compile, compile_alone};
pub use duration::{DurationError, parse_duration};
pub use merge::{Effective, Merged};
pub use objects::{
    GatewaySpec, GrpcRouteSpec, HttpRouteSpec, IngressClassSpec, IngressSpec, Metadata, NoSpec,
    Object, ObjectKey, RouteStatus, StoredStatus,
};
pub use read::ReadError;
pub use session_policy::{SessionPolicySpec, TargetRef};
pub use state::State;
pub use status::{Ancestor, Condition, EffectiveLimit, PolicyStatus};

use curfew_core::{policy, session};
