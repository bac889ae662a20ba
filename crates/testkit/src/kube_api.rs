//! A Kubernetes API server for tests. Usually it is a stand-in: LIST with pages, WATCH with bookmarks and 410, and status
//! writes, without schemas and authentication. `scripts/cluster.sh` sets the address of a real one: then the tests use that,
//! through the same listener, which injects the same faults.

mod faults;
mod real;
mod stand_in;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::serve::Listener;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use yaml_rust2::{Yaml, YamlLoader};

use super::tls::{Certificates, TlsListener};
use faults::{Asked, Faults};
use real::RealServer;
use stand_in::StandIn;

/// The resources that the tests use: plural name, API version and kind.
const KINDS: [Kind; 14] = [
    ("leases", "coordination.k8s.io/v1", "Lease"),
    ("namespaces", "v1", "Namespace"),
    ("gateways", "gateway.networking.k8s.io/v1", "Gateway"),
    ("httproutes", "gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("grpcroutes", "gateway.networking.k8s.io/v1", "GRPCRoute"),
    ("sessionpolicies", "curfew.dev/v1alpha1", "SessionPolicy"),
    (
        "clustersessionpolicies",
        "curfew.dev/v1alpha1",
        "ClusterSessionPolicy",
    ),
    ("ingresses", "networking.k8s.io/v1", "Ingress"),
    ("ingressclasses", "networking.k8s.io/v1", "IngressClass"),
    ("endpointslices", "discovery.k8s.io/v1", "EndpointSlice"),
    ("services", "v1", "Service"),
    ("events", "events.k8s.io/v1", "Event"),
    ("secrets", "v1", "Secret"),
    ("configmaps", "v1", "ConfigMap"),
];

/// The resources that belong to no namespace.
const CLUSTER_WIDE: [&str; 3] = ["namespaces", "ingressclasses", "clustersessionpolicies"];

type Kind = (&'static str, &'static str, &'static str);

pub struct KubeApi {
    pub address: SocketAddr,
    server: Arc<Server>,
}

struct Server {
    faults: Faults,
    backend: Backend,
}

enum Backend {
    StandIn(Arc<StandIn>),
    Real(RealServer),
}

impl KubeApi {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, Self::backend().await)
    }

    /// Starts a stand-in, also where the tests have a real server.
    pub async fn start_stand_in() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, Backend::StandIn(Arc::default()))
    }

    /// Starts a server with TLS, with the certificate `server`.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TlsListener::new(listener, certificates);
        Self::serve(listener, Self::backend().await)
    }

    async fn backend() -> Backend {
        match RealServer::take().await {
            Some(real) => Backend::Real(real),
            None => Backend::StandIn(Arc::default()),
        }
    }

    fn serve(listener: impl Listener<Addr = SocketAddr>, backend: Backend) -> Self {
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Server {
            faults: Faults::default(),
            backend,
        });
        let router = Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&server));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, server }
    }

    /// Creates or replaces the objects of a manifest.
    pub fn apply(&self, manifest: &str) {
        for document in YamlLoader::load_from_str(manifest).unwrap() {
            let object = yaml_to_json(&document);
            if KINDS.iter().any(|kind| object["kind"] == kind.2) {
                self.put(object);
            }
        }
    }

    /// Creates or replaces an object.
    pub fn put(&self, mut object: Value) {
        let plural = plural_of(&object);
        if object["metadata"]["namespace"].is_null() && !CLUSTER_WIDE.contains(&plural) {
            object["metadata"]["namespace"] = json!("default");
        }
        match &self.server.backend {
            Backend::StandIn(cluster) => cluster.put(plural, object),
            Backend::Real(real) => real.put(plural, object),
        }
    }

    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        match &self.server.backend {
            Backend::StandIn(cluster) => cluster.delete(plural, namespace, name),
            Backend::Real(real) => real.delete(plural, namespace, name),
        }
    }

    /// Removes all events so far, so that a watch from an older version gets 410.
    pub fn compact(&self) {
        let version = match &self.server.backend {
            Backend::StandIn(cluster) => cluster.compact(),
            Backend::Real(real) => real.compact(),
        };
        self.server.faults.compact(version);
    }

    /// Returns an object; null if there is none.
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Value {
        match &self.server.backend {
            Backend::StandIn(cluster) => cluster.object(plural, namespace, name),
            Backend::Real(real) => real.object(plural, namespace, name),
        }
    }

    /// Returns all objects of a resource.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        match &self.server.backend {
            Backend::StandIn(cluster) => cluster.objects(plural),
            Backend::Real(real) => real.objects(plural),
        }
    }

    /// Makes the server answer every request with a status, and ends all watches. With `None`, it works again.
    pub fn fail(&self, status: Option<StatusCode>) {
        self.server.faults.fail(status);
    }

    /// Ends all watches, as a restart of the server does.
    pub fn end_watches(&self) {
        self.server.faults.end_watches();
    }

    /// Makes the server accept only this token, and ends all watches.
    pub fn require_token(&self, token: &str) {
        self.server.faults.require_token(token);
    }

    /// Makes the server wait before each answer and each event.
    pub fn slow_down(&self, delay: Duration) {
        self.server.faults.slow_down(delay);
    }

    /// Removes a resource from the server, as without its definition.
    pub fn remove_resource(&self, plural: &str) {
        self.server.faults.remove_resource(plural);
    }

    /// Returns the status writes so far: path, content type, body.
    pub fn statuses(&self) -> Vec<(String, String, Bytes)> {
        self.server.faults.statuses()
    }

    /// Returns the requests so far, each with method, path and query.
    pub fn requests(&self) -> Vec<String> {
        self.server.faults.requests()
    }
}

async fn serve(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let asked = Asked::new(head, body);
    if let Some(failure) = server.faults.answer(&asked).await {
        return failure;
    }
    let is_watch = asked.is_watch();
    let answer = match &server.backend {
        Backend::StandIn(cluster) => stand_in::serve(cluster, asked),
        Backend::Real(real) => real.forward(asked).await,
    };
    match is_watch {
        true => server.faults.disturb(answer),
        false => answer,
    }
}

fn error_response(status: StatusCode) -> Response {
    let reason = match status {
        StatusCode::GONE => "Expired",
        StatusCode::CONFLICT => "Conflict",
        _ => "NotFound",
    };
    json_response(
        status,
        &json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
            "code": status.as_u16(), "metadata": {},
        }),
    )
}

fn json_response(status: StatusCode, object: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(object.to_string()))
        .unwrap()
}

fn plural_of(object: &Value) -> &'static str {
    let kind = KINDS.iter().find(|kind| object["kind"] == kind.2);
    kind.unwrap_or_else(|| panic!("{object}")).0
}

/// Converts YAML to JSON.
pub fn yaml_to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(text) => json!(text.parse::<f64>().unwrap()),
        Yaml::Integer(number) => json!(number),
        Yaml::String(text) => json!(text),
        Yaml::Boolean(value) => json!(value),
        Yaml::Array(items) => items.iter().map(yaml_to_json).collect(),
        Yaml::Hash(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| {
                let key = yaml_to_json(key);
                (
                    key.as_str().map_or(key.to_string(), str::to_owned),
                    yaml_to_json(value),
                )
            });
            Value::Object(pairs.collect())
        }
        _ => Value::Null,
    }
}
