//! Events: what a person who looks at an object with `kubectl describe` must see.

use std::collections::BTreeMap;
use std::time::Duration;

use curfew_kubernetes::{Compiled, Condition, Metadata, ObjectKey, State};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde_json::json;

use super::lease::Lease;
use super::watch::Kind;
use crate::clock::Stopwatch;

/// An event is written again after this time while its cause lasts. The API server keeps events for an hour.
const REPEAT: Duration = Duration::from_secs(30 * 60);

/// The most events in one round. Further events follow a minute later.
const MAX_PER_ROUND: usize = 100;

/// The longest note of an event, in bytes (events.k8s.io/v1).
const MAX_NOTE: usize = 1024;

/// The reason of an event about annotations.
const UNREADABLE: &str = "UnreadableAnnotation";

/// Something that a person must see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Notice {
    kind: Kind,
    key: ObjectKey,
    uid: String,
    /// Whether somebody must act.
    is_warning: bool,
    reason: &'static str,
    note: String,
}

/// Returns what the owners of the objects must see: unreadable annotations, policies that do not apply, and values that
/// another object overrides.
pub(super) fn notices(state: &State, compiled: &Compiled) -> Vec<Notice> {
    let mut notices = Vec::new();
    for mistake in &compiled.mistakes {
        let Some(kind) = Kind::from_name(mistake.kind) else {
            continue;
        };
        let effect = "All other limits apply.";
        notices.extend(metadata(state, kind, &mistake.key).map(|metadata| Notice {
            kind,
            key: mistake.key.clone(),
            uid: metadata.uid.clone(),
            is_warning: true,
            reason: UNREADABLE,
            note: format!("{}. {effect}", mistake.message),
        }));
    }
    let of_policy = |kind, key: &ObjectKey, metadata: &Metadata, condition: &Condition| {
        let is_overridden = condition.reason == "Overridden";
        (condition.is_refusal() || is_overridden).then(|| Notice {
            kind,
            key: key.clone(),
            uid: metadata.uid.clone(),
            is_warning: !is_overridden,
            reason: condition.reason,
            note: condition.message.clone(),
        })
    };
    for (key, status) in &compiled.session_policies {
        if let Some(policy) = state.session_policies.get(key) {
            let conditions = status.ancestors.iter().flat_map(|it| &it.conditions);
            notices.extend(conditions.filter_map(|condition| {
                of_policy(Kind::SessionPolicies, key, &policy.metadata, condition)
            }));
        }
    }
    for (name, status) in &compiled.cluster_policies {
        let key = ObjectKey::new("", name);
        if let Some(policy) = state.cluster_policies.get(&key) {
            notices.extend(status.conditions.iter().filter_map(|condition| {
                let kind = Kind::ClusterSessionPolicies;
                of_policy(kind, &key, &policy.metadata, condition)
            }));
        }
    }
    notices.sort_unstable();
    notices.dedup();
    notices
}

fn metadata<'a>(state: &'a State, kind: Kind, key: &ObjectKey) -> Option<&'a Metadata> {
    match kind {
        Kind::Namespaces => state.namespaces.get(key).map(|it| &it.metadata),
        Kind::Services => state.services.get(key).map(|it| &it.metadata),
        Kind::Ingresses => state.ingresses.get(key).map(|it| &it.metadata),
        Kind::HttpRoutes => state.http_routes.get(key).map(|it| &it.metadata),
        Kind::GrpcRoutes => state.grpc_routes.get(key).map(|it| &it.metadata),
        _ => None,
    }
}

/// Writes events, and remembers which it has written.
pub(super) struct Announcer {
    client: kube::Client,
    /// The name of this replica.
    instance: String,
    /// The events whose causes last, each with the time since it was written.
    written: BTreeMap<Notice, Stopwatch>,
}

impl Announcer {
    pub(super) const fn new(client: kube::Client, instance: String) -> Self {
        Self {
            client,
            instance,
            written: BTreeMap::new(),
        }
    }

    /// Writes the events that nobody has seen recently, the new ones first, while this replica holds the lease. `now` is the
    /// time in RFC 3339 with microseconds.
    pub(super) async fn announce(&mut self, notices: &[Notice], now: &str, lease: &Lease) {
        self.written
            .retain(|notice, _| notices.binary_search(notice).is_ok());
        let is_old = |since: &Stopwatch| since.seconds() > REPEAT.as_secs_f64();
        let new = notices.iter().filter(|it| !self.written.contains_key(it));
        let again = notices
            .iter()
            .filter(|it| self.written.get(it).is_some_and(is_old));
        let due: Vec<&Notice> = new.chain(again).take(MAX_PER_ROUND).collect();
        for notice in due {
            if !lease.is_held() {
                return;
            }
            match self.write(notice, now).await {
                Ok(()) => {}
                // For example, the namespace is being deleted. The other events do not depend on it.
                Err(kube::Error::Api(status)) => {
                    let object = &notice.key;
                    tracing::warn!(code = status.code, reason = status.reason, kind = notice.kind.plural(), %object, "an event was refused");
                }
                Err(error) => {
                    tracing::warn!(%error, "could not write events");
                    return;
                }
            }
            self.written.insert(notice.clone(), Stopwatch::start());
        }
    }

    async fn write(&self, notice: &Notice, now: &str) -> kube::Result<()> {
        let resource = ApiResource {
            group: "events.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "events.k8s.io/v1".to_owned(),
            kind: "Event".to_owned(),
            plural: "events".to_owned(),
        };
        // The API server wants events about objects of the cluster in the namespace `default`.
        let namespace = match &*notice.key.namespace {
            "" => "default",
            namespace => namespace,
        };
        let object = notice.kind.api_resource();
        let mut event = DynamicObject::new("", &resource).data(json!({
            "eventTime": now,
            "reportingController": "curfew.dev/controller",
            "reportingInstance": self.instance,
            "action": "ApplyLimits",
            "reason": notice.reason,
            "type": if notice.is_warning { "Warning" } else { "Normal" },
            "note": shortened(&notice.note),
            "regarding": {
                "apiVersion": object.api_version, "kind": object.kind,
                "namespace": notice.key.namespace, "name": notice.key.name, "uid": notice.uid,
            },
        }));
        let random = getrandom::u64().unwrap_or_default();
        event.metadata.name = Some(format!("{}.{random:016x}", notice.key.name));
        event.metadata.namespace = Some(namespace.to_owned());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        api.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

/// The note, cut at a character so that the API server accepts it.
fn shortened(note: &str) -> &str {
    let end = (0..=MAX_NOTE.min(note.len())).rev();
    let end = end.into_iter().find(|end| note.is_char_boundary(*end));
    &note[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(MAX_NOTE);
        assert_eq!(shortened(&long).len(), MAX_NOTE);
        assert_eq!(shortened(&format!("x{long}")).len(), MAX_NOTE - 1);
    }
}
