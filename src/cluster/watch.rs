//! Watches one kind of object after the other, and turns the events into changes of the state.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use curfew_kubernetes::{
    ClusterSessionPolicySpec, GatewaySpec, GrpcRouteSpec, HttpRouteSpec, IngressClassSpec,
    IngressSpec, NoSpec, Object, ObjectKey, RouteStatus, SessionPolicySpec, State, StoredStatus,
};
use futures_util::StreamExt;
use kube::Api;
use kube::api::ApiResource;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;

use super::watched::Watched;
use crate::clock::Stopwatch;
use crate::session::Timestamp;

/// The first pause after an error. Each further error doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// After a watch has worked for this time, the next error starts again with the first pause.
const STEADY: Duration = Duration::from_secs(60);

/// The longest pause, and the pause before Curfew looks again for a kind that the cluster does not have.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The kinds of objects that Curfew watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Namespaces,
    Services,
    Ingresses,
    IngressClasses,
    Gateways,
    HttpRoutes,
    GrpcRoutes,
    SessionPolicies,
    ClusterSessionPolicies,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Namespaces,
        Self::Services,
        Self::Ingresses,
        Self::IngressClasses,
        Self::Gateways,
        Self::HttpRoutes,
        Self::GrpcRoutes,
        Self::SessionPolicies,
        Self::ClusterSessionPolicies,
    ];

    /// The group, the version, the kind and the plural name.
    const fn resource(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Namespaces => ("", "v1", "Namespace", "namespaces"),
            Self::Services => ("", "v1", "Service", "services"),
            Self::Ingresses => ("networking.k8s.io", "v1", "Ingress", "ingresses"),
            Self::IngressClasses => ("networking.k8s.io", "v1", "IngressClass", "ingressclasses"),
            Self::Gateways => ("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
            Self::HttpRoutes => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::GrpcRoutes => ("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes"),
            Self::SessionPolicies => ("curfew.dev", "v1alpha1", "SessionPolicy", "sessionpolicies"),
            Self::ClusterSessionPolicies => (
                "curfew.dev",
                "v1alpha1",
                "ClusterSessionPolicy",
                "clustersessionpolicies",
            ),
        }
    }

    pub(super) const fn plural(self) -> &'static str {
        self.resource().3
    }

    /// Whether the objects are policies of Curfew.
    pub(super) const fn is_policy(self) -> bool {
        matches!(self, Self::SessionPolicies | Self::ClusterSessionPolicies)
    }

    /// The kind of the objects with this name, such as `Ingress`.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.resource().2 == name)
    }

    /// Whether a cluster can lack the kind, because it belongs to an optional API.
    const fn is_optional(self) -> bool {
        matches!(self, Self::Gateways | Self::HttpRoutes | Self::GrpcRoutes)
    }

    pub(super) fn api_resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.resource();
        let api_version = match group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// A change of the state.
pub(super) enum Change {
    /// Changes some objects.
    Edit(Box<dyn FnOnce(&mut State) + Send>),
    /// All objects of a kind are known.
    Synced(Kind),
    /// The replicas have shared which routes send checks, since this time.
    Observed(Timestamp),
    /// The watch of a kind fails, with the reason.
    Failed(Kind, String),
}

/// The objects of one kind in the state.
type Objects<Spec, Status> = BTreeMap<ObjectKey, Object<Spec, Status>>;
type Select<Spec, Status> = fn(&mut State) -> &mut Objects<Spec, Status>;

/// Watches all kinds. Returns when nobody receives the changes any more.
pub(super) async fn watch_all(client: &kube::Client, sender: Sender<Change>) {
    tokio::join!(
        watch::<NoSpec, NoSpec>(client, Kind::Namespaces, |it| &mut it.namespaces, &sender),
        watch::<NoSpec, NoSpec>(client, Kind::Services, |it| &mut it.services, &sender),
        watch::<IngressSpec, NoSpec>(client, Kind::Ingresses, |it| &mut it.ingresses, &sender),
        watch::<IngressClassSpec, NoSpec>(
            client,
            Kind::IngressClasses,
            |it| &mut it.ingress_classes,
            &sender
        ),
        watch::<GatewaySpec, NoSpec>(client, Kind::Gateways, |it| &mut it.gateways, &sender),
        watch::<HttpRouteSpec, RouteStatus>(
            client,
            Kind::HttpRoutes,
            |it| &mut it.http_routes,
            &sender
        ),
        watch::<GrpcRouteSpec, RouteStatus>(
            client,
            Kind::GrpcRoutes,
            |it| &mut it.grpc_routes,
            &sender
        ),
        watch::<SessionPolicySpec, StoredStatus>(
            client,
            Kind::SessionPolicies,
            |it| &mut it.session_policies,
            &sender
        ),
        watch::<ClusterSessionPolicySpec, StoredStatus>(
            client,
            Kind::ClusterSessionPolicies,
            |it| &mut it.cluster_policies,
            &sender
        ),
    );
}

async fn watch<Spec, Status>(
    client: &kube::Client,
    kind: Kind,
    select: Select<Spec, Status>,
    sender: &Sender<Change>,
) where
    Spec: Clone + Debug + Default + DeserializeOwned + Send + Sync + 'static,
    Status: Clone + Debug + Default + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<Watched<Spec, Status>> = Api::all_with(client.clone(), &kind.api_resource());
    let start = || watcher::watcher(api.clone(), watcher::Config::default());
    let mut events = pin!(start());
    let mut pause = FIRST_PAUSE;
    let mut age = Stopwatch::start();
    let mut listed: Objects<Spec, Status> = BTreeMap::new();
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(Event::Apply(object)) => {
                let object = slim(kind, object);
                Change::Edit(Box::new(move |state| {
                    select(state).insert(object.metadata.key(), object);
                }))
            }
            Ok(Event::Delete(object)) => {
                let key = object.object.metadata.key();
                Change::Edit(Box::new(move |state| {
                    select(state).remove(&key);
                }))
            }
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                let object = slim(kind, object);
                listed.insert(object.metadata.key(), object);
                continue;
            }
            Ok(Event::InitDone) => {
                let all = std::mem::take(&mut listed);
                let edit = Change::Edit(Box::new(move |state| *select(state) = all));
                if sender.send(edit).await.is_err() {
                    return;
                }
                Change::Synced(kind)
            }
            Err(error) => {
                let is_missing = kind.is_optional() && is_not_found(&error);
                let change = if is_missing {
                    // The definition can have been removed together with the objects.
                    let clear = Change::Edit(Box::new(move |state| select(state).clear()));
                    if sender.send(clear).await.is_err() {
                        return;
                    }
                    Change::Synced(kind)
                } else {
                    Change::Failed(kind, error.to_string())
                };
                if sender.send(change).await.is_err() {
                    return;
                }
                if age.seconds() > STEADY.as_secs_f64() {
                    pause = FIRST_PAUSE;
                }
                tokio::time::sleep(jittered(if is_missing { LONGEST_PAUSE } else { pause })).await;
                pause = LONGEST_PAUSE.min(pause * 2);
                age = Stopwatch::start();
                // A new watch lists all objects again. So Curfew knows when it has caught up.
                events.set(start());
                continue;
            }
        };
        if sender.send(change).await.is_err() {
            return;
        }
    }
}

/// Keeps the parts of an object that Curfew reads. Only a selector of namespaces reads labels, and only events name the
/// unique ID.
fn slim<Spec, Status>(kind: Kind, watched: Watched<Spec, Status>) -> Object<Spec, Status> {
    let mut object = watched.object;
    if kind != Kind::Namespaces {
        object.metadata.labels = BTreeMap::new();
    }
    if !object.metadata.has_annotation() && !kind.is_policy() {
        object.metadata.uid = String::new();
    }
    object
}

/// Returns a pause between the half and the whole of `pause`, so that replicas do not list at the same time.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    pause / 2 + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

fn is_not_found(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) =
        error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
