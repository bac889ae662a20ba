//! Policies of the Kubernetes cluster.

use super::{AuditAction, event};
use crate::actor::Actor;

/// Records that an object of the Kubernetes cluster changed limits: the `object`, such as `SessionPolicy team-crm/crm`, its
/// `resourceVersion`, and the `change`: `created`, `changed` or `deleted`. The audit log of the API server says who
/// changed it.
pub fn policy_changed(object: &str, version: &str, change: &'static str) {
    event!(info, AuditAction::PolicyChanged, "success", &Actor::CURFEW, {
        curfew.object.name = object,
        curfew.object.version = version,
        curfew.object.change = change,
    }, "policy changed");
}
