//! Writes the status of the policies, and events. Only the replica that holds the lease writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use curfew_kubernetes::{Compiled, ObjectKey, State};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::events::{self, Announcer, Notice};
use super::lease::{INTERVAL, Lease};
use super::watch::Kind;
use crate::clock::Clock;
use crate::session::Timestamp;

/// The interval at which a refused status is written again.
const RETRY: Duration = Duration::from_secs(60);

/// How long a stopping process waits for the release of the lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the API server lacks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Missing {
    statuses: BTreeMap<(Kind, ObjectKey), Value>,
    /// What the events must say, in order.
    notices: Vec<Notice>,
}

impl Missing {
    /// Compares the statuses with those in the objects. `now` is the time in RFC 3339.
    pub(super) fn of(state: &State, compiled: &Compiled, now: &str) -> Self {
        let mut missing = BTreeMap::new();
        for (key, status) in &compiled.session_policies {
            let object = state.session_policies.get(key);
            let written = object.and_then(|object| {
                status.render(&object.status.value(), object.metadata.generation, now)
            });
            missing.extend(written.map(|it| ((Kind::SessionPolicies, key.clone()), it)));
        }
        for (name, status) in &compiled.cluster_policies {
            let key = ObjectKey::new("", name);
            let object = state.cluster_policies.get(&key);
            let written = object.and_then(|object| {
                status.render(&object.status.value(), object.metadata.generation, now)
            });
            missing.extend(written.map(|it| ((Kind::ClusterSessionPolicies, key), it)));
        }
        Self {
            statuses: missing,
            notices: events::notices(state, compiled),
        }
    }
}

/// Writes statuses while this replica holds the lease.
pub(super) struct Writer {
    pub(super) client: kube::Client,
    pub(super) lease: Lease,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) announcer: Announcer,
    pub(super) missing: watch::Receiver<Missing>,
}

impl Writer {
    /// Runs until nobody sends statuses any more.
    pub(super) async fn run(&mut self) {
        let mut renewal = tokio::time::interval(INTERVAL);
        let mut retry = tokio::time::interval(RETRY);
        loop {
            let was_held = self.lease.is_held();
            let is_retry = tokio::select! {
                _ = renewal.tick() => {
                    let now = microseconds(self.clock.now());
                    if let Err(error) = self.lease.renew(&now).await {
                        tracing::warn!(%error, "could not renew the lease of the policies");
                    }
                    false
                }
                changed = self.missing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    true
                }
                _ = retry.tick() => true,
            };
            let is_held = self.lease.is_held();
            if is_held && (is_retry || !was_held) {
                let missing = self.missing.borrow_and_update().clone();
                self.write(missing.statuses).await;
                let now = microseconds(self.clock.now());
                self.announcer
                    .announce(&missing.notices, &now, &self.lease)
                    .await;
            }
        }
    }

    /// Gives the lease up.
    pub(super) async fn stop(&mut self) {
        let now = microseconds(self.clock.now());
        let releasing = self.lease.release(&now);
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, releasing).await;
    }

    async fn write(&self, statuses: BTreeMap<(Kind, ObjectKey), Value>) {
        for ((kind, key), status) in statuses {
            if !self.lease.is_held() {
                return;
            }
            let resource = kind.api_resource();
            let client = self.client.clone();
            let api: Api<DynamicObject> = match &*key.namespace {
                "" => Api::all_with(client, &resource),
                namespace => Api::namespaced_with(client, namespace, &resource),
            };
            let patch = Patch::Merge(json!({ "status": with_removals(status) }));
            let parameters = PatchParams::default();
            let written = api.patch_status(&key.name, &parameters, &patch).await;
            if let Err(error) = written {
                tracing::warn!(%error, kind = kind.plural(), policy = %key, "could not write the status");
            }
        }
    }
}

/// Adds `null` for the members that the status does not have, because a merge patch (RFC 7386) keeps members that it does
/// not name.
fn with_removals(mut status: Value) -> Value {
    let mut remove = |names: &[&str], at: fn(&mut Value) -> &mut Value| {
        if let Some(object) = at(&mut status).as_object_mut() {
            for name in names {
                object.entry(*name).or_insert(Value::Null);
            }
        }
    };
    remove(&["ancestors", "conditions", "effective"], |status| status);
    remove(
        &["idle", "absolute", "maxAuthAge"],
        |status| &mut status["effective"],
    );
    status
}

/// The time in RFC 3339 with exactly six decimals, as a lease must have it.
fn microseconds(now: Timestamp) -> String {
    let text = now.to_string();
    format!("{}000Z", text.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_that_kubernetes_requires() {
        let now = Timestamp::from_millis(1_796_000_000_123);
        assert_eq!(now.to_rfc3339_seconds(), "2026-11-30T00:53:20Z");
        assert_eq!(microseconds(now), "2026-11-30T00:53:20.123000Z");
    }

    #[test]
    fn a_patch_removes_what_the_status_does_not_have() {
        let patch = with_removals(json!({ "effective": { "idle": 1 } }));
        let expected = json!({
            "ancestors": null, "conditions": null,
            "effective": { "idle": 1, "absolute": null, "maxAuthAge": null },
        });
        assert_eq!(patch, expected);
        assert_eq!(with_removals(json!({}))["effective"], Value::Null);
    }
}
