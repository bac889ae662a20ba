//! Finds the policies that have changed, for the audit log.

use std::collections::BTreeMap;

use curfew_kubernetes::{ClusterSessionPolicySpec, SessionPolicySpec, State};

use crate::telemetry::audit;

/// The spec of a policy of either kind.
#[derive(Clone, Debug, PartialEq)]
enum Spec {
    Session(SessionPolicySpec),
    Cluster(ClusterSessionPolicySpec),
}

/// The policies at the last comparison, each with its version; None before the first.
#[derive(Default)]
pub(super) struct Changes(Option<BTreeMap<String, (String, Spec)>>);

impl Changes {
    /// Writes an audit event for each policy whose spec has changed since the last comparison. The first comparison writes
    /// none.
    pub(super) fn audit(&mut self, state: &State) {
        let session = state.session_policies.iter().map(|(key, policy)| {
            let version = policy.metadata.resource_version.clone();
            let spec = Spec::Session(policy.spec.clone());
            (format!("SessionPolicy {key}"), (version, spec))
        });
        let cluster = state.cluster_policies.iter().map(|(key, policy)| {
            let version = policy.metadata.resource_version.clone();
            let spec = Spec::Cluster(policy.spec.clone());
            (format!("ClusterSessionPolicy {key}"), (version, spec))
        });
        let now: BTreeMap<_, _> = session.chain(cluster).collect();
        if let Some(before) = &self.0 {
            for (object, (version, spec)) in &now {
                match before.get(object) {
                    None => audit::policy_changed(object, version, "created"),
                    Some((_, old)) if old != spec => {
                        audit::policy_changed(object, version, "changed");
                    }
                    Some(_) => {}
                }
            }
            for (object, (version, _)) in before {
                if !now.contains_key(object) {
                    audit::policy_changed(object, version, "deleted");
                }
            }
        }
        self.0 = Some(now);
    }
}
