//! A lease (coordination.k8s.io/v1): the replica that holds it writes the status of the policies.

use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::clock::Stopwatch;

/// The name of the lease.
const NAME: &str = "curfew-policies";

/// How long a holder that does not renew the lease keeps it.
const DURATION: Duration = Duration::from_secs(15);

/// The interval between renewals.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// The lease, as this replica sees it.
pub(super) struct Lease {
    api: Api<DynamicObject>,
    identity: String,
    /// The version that this replica saw last, and for how long it has seen no other. So the clocks of the replicas need
    /// not agree.
    seen: Option<(String, Stopwatch)>,
    /// For how long this replica has held the lease since its last renewal.
    renewed: Option<Stopwatch>,
}

impl Lease {
    pub(super) fn new(client: &kube::Client, namespace: &str, identity: String) -> Self {
        let resource = resource();
        Self {
            api: Api::namespaced_with(client.clone(), namespace, &resource),
            identity,
            seen: None,
            renewed: None,
        }
    }

    /// Whether this replica holds the lease, and no other replica can have taken it yet.
    pub(super) fn is_held(&self) -> bool {
        let is_fresh = |renewed: &Stopwatch| renewed.seconds() < DURATION.as_secs_f64() / 2.0;
        self.renewed.as_ref().is_some_and(is_fresh)
    }

    /// Takes the lease if nobody holds it, or renews it. `now` is the time in RFC 3339 with microseconds.
    ///
    /// # Errors
    /// The error of the API server.
    pub(super) async fn renew(&mut self, now: &str) -> kube::Result<()> {
        let started = Stopwatch::start();
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let new = self.lease(now);
            self.api.create(&PostParams::default(), &new).await?;
            self.renewed = Some(started);
            return Ok(());
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = lease.data["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default();
        let is_ours = holder == self.identity;
        let is_expired = match &self.seen {
            Some((seen, since)) if *seen == version => since.seconds() > DURATION.as_secs_f64(),
            _ => {
                self.seen = Some((version, Stopwatch::start()));
                false
            }
        };
        if !is_ours && !is_expired && !holder.is_empty() {
            self.renewed = None;
            return Ok(());
        }
        lease.data = json!({ "spec": self.spec(now) });
        // The API server refuses the change if another replica was faster.
        let replaced = self.api.replace(NAME, &PostParams::default(), &lease).await;
        match replaced {
            Ok(_) => {
                self.renewed = Some(started);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.renewed = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the lease up, so that another replica need not wait. Ignores errors: then the lease expires.
    pub(super) async fn release(&mut self, now: &str) {
        if !self.is_held() {
            return;
        }
        self.renewed = None;
        if let Ok(Some(mut lease)) = self.api.get_opt(NAME).await
            && lease.data["spec"]["holderIdentity"] == *self.identity
        {
            let mut spec = self.spec(now);
            spec["holderIdentity"] = json!("");
            lease.data = json!({ "spec": spec });
            let _ = self.api.replace(NAME, &PostParams::default(), &lease).await;
        }
    }

    fn lease(&self, now: &str) -> DynamicObject {
        let resource = resource();
        let lease = DynamicObject::new(NAME, &resource);
        lease.data(json!({ "spec": self.spec(now) }))
    }

    fn spec(&self, now: &str) -> Value {
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION.as_secs(),
            "renewTime": now,
        })
    }
}

fn resource() -> ApiResource {
    ApiResource {
        group: "coordination.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "coordination.k8s.io/v1".to_owned(),
        kind: "Lease".to_owned(),
        plural: "leases".to_owned(),
    }
}
