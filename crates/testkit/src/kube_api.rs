//! A fake Kubernetes API server: LIST with pages, WATCH with bookmarks and 410, and status writes. It has no schemas,
//! no validation and no authentication.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::serve::Listener;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use url::form_urlencoded::parse;
use yaml_rust2::{Yaml, YamlLoader};

use super::tls::{Certificates, TlsListener};

/// The resources that the server offers: plural name, API version and kind.
const KINDS: [(&str, &str, &str); 14] = [
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

/// The interval between bookmarks. The server sends bookmarks only to a watch with `allowWatchBookmarks`.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(1);

pub struct KubeApi {
    pub address: SocketAddr,
    cluster: Arc<Cluster>,
}

struct Cluster {
    state: Mutex<ClusterState>,
    events: broadcast::Sender<Event>,
    /// Ends the watches.
    ends: broadcast::Sender<()>,
}

#[derive(Default)]
struct ClusterState {
    version: u64,
    /// The objects, with plural, namespace and name as the key.
    objects: BTreeMap<(String, String, String), Value>,
    log: Vec<Event>,
    /// The resource version up to which the server has removed the events. A watch from an older version gets 410.
    compacted_version: u64,
    /// The bodies of status writes, with path and content type.
    statuses: Vec<(String, String, Bytes)>,
    requests: Vec<String>,
    /// The status of every answer, while the server fails.
    failure: Option<StatusCode>,
    /// The resources that the server does not have.
    missing: Vec<String>,
    /// The only token that the server accepts. Without it, the server accepts all requests.
    token: Option<String>,
    /// The pause before each answer and each event.
    delay: Duration,
}

#[derive(Clone)]
struct Event {
    version: u64,
    plural: String,
    kind: &'static str,
    object: Value,
}

impl KubeApi {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener)
    }

    /// Starts a server with TLS, with the certificate `server`.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(TlsListener::new(listener, certificates))
    }

    fn serve(listener: impl Listener<Addr = SocketAddr>) -> Self {
        let address = listener.local_addr().unwrap();
        let cluster = Arc::new(Cluster {
            state: Mutex::default(),
            events: broadcast::channel(1024).0,
            ends: broadcast::channel(1).0,
        });
        let router = Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&cluster));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, cluster }
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

    pub fn put(&self, object: Value) {
        let plural = plural_of(&object);
        self.cluster.record_change(plural, object, "ADDED");
    }

    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let object = self.cluster.state.lock().unwrap().objects.remove(&key);
        self.cluster
            .record_change(plural.to_owned(), object.unwrap(), "DELETED");
    }

    /// Removes all events so far, so that a watch from an older version gets 410.
    pub fn compact(&self) {
        let mut state = self.cluster.state.lock().unwrap();
        state.version += 1;
        state.compacted_version = state.version;
        state.log.clear();
    }

    /// Returns an object; null if there is none.
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let state = self.cluster.state.lock().unwrap();
        state.objects.get(&key).cloned().unwrap_or_default()
    }

    /// Returns all objects of a resource.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let state = self.cluster.state.lock().unwrap();
        let objects = state.objects.iter().filter(|((of, ..), _)| of == plural);
        objects.map(|(_, object)| object.clone()).collect()
    }

    /// Makes the server answer every request with a status, and ends all watches. With `None`, it works again.
    pub fn fail(&self, status: Option<StatusCode>) {
        self.cluster.state.lock().unwrap().failure = status;
        self.end_watches();
    }

    /// Ends all watches, as a restart of the server does.
    pub fn end_watches(&self) {
        let _ = self.cluster.ends.send(());
    }

    /// Makes the server accept only this token, and ends all watches.
    pub fn require_token(&self, token: &str) {
        self.cluster.state.lock().unwrap().token = Some(token.to_owned());
        self.end_watches();
    }

    /// Makes the server wait before each answer and each event.
    pub fn slow_down(&self, delay: Duration) {
        self.cluster.state.lock().unwrap().delay = delay;
    }

    /// Removes a resource from the server, as without its definition.
    pub fn remove_resource(&self, plural: &str) {
        let mut state = self.cluster.state.lock().unwrap();
        state.missing.push(plural.to_owned());
    }

    /// Returns the status writes so far: path, content type, body.
    pub fn statuses(&self) -> Vec<(String, String, Bytes)> {
        self.cluster.state.lock().unwrap().statuses.clone()
    }

    /// Returns the requests so far, each with method, path and query.
    pub fn requests(&self) -> Vec<String> {
        self.cluster.state.lock().unwrap().requests.clone()
    }
}

impl Cluster {
    async fn wait(&self) {
        let delay = self.state.lock().unwrap().delay;
        tokio::time::sleep(delay).await;
    }

    fn record_change(&self, plural: String, mut object: Value, kind: &'static str) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
        if object["metadata"]["namespace"].is_null() && !CLUSTER_WIDE.contains(&&*plural) {
            object["metadata"]["namespace"] = json!("default");
        }
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (
            plural.clone(),
            text(&object["metadata"]["namespace"]),
            text(&object["metadata"]["name"]),
        );
        let mut kind = kind;
        if kind != "DELETED" && state.objects.insert(key, object.clone()).is_some() {
            kind = "MODIFIED";
        }
        let event = Event {
            version,
            plural,
            kind,
            object,
        };
        state.log.push(event.clone());
        let _ = self.events.send(event);
    }
}

async fn serve(State(cluster): State<Arc<Cluster>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or(""));
    let request_line = format!("{} {path}?{query}", head.method);
    {
        let mut state = cluster.state.lock().unwrap();
        state.requests.push(request_line);
        if let Some(status) = state.failure {
            return error_response(status);
        }
        let token = head.headers.get("authorization");
        let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
        if expected.is_some_and(|expected| token.is_none_or(|token| *token != *expected)) {
            return error_response(StatusCode::UNAUTHORIZED);
        }
    }
    cluster.wait().await;
    let query: BTreeMap<String, String> = parse(query.as_bytes()).into_owned().collect();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    // The path is `api/v1/…` or `apis/GROUP/VERSION/…`.
    let path_segments = match parts.as_slice() {
        ["api", "v1", path_segments @ ..] => path_segments,
        ["apis", _, _, path_segments @ ..] => path_segments,
        _ => return error_response(StatusCode::NOT_FOUND),
    };
    let (namespace, path_segments) = match path_segments {
        ["namespaces", namespace, path_segments @ ..] if !path_segments.is_empty() => {
            (Some(*namespace), path_segments)
        }
        path_segments => (None, path_segments),
    };
    let missing = cluster.state.lock().unwrap().missing.clone();
    let kind_of = |plural: &str| {
        let mut kinds = KINDS.into_iter();
        kinds.find(|kind| kind.0 == plural && !missing.iter().any(|it| it == plural))
    };
    match (head.method, path_segments) {
        (Method::GET, [plural]) => match kind_of(plural) {
            Some(kind) if query.contains_key("watch") => watch(&cluster, kind, namespace, &query),
            Some(kind) => list(&cluster, kind, namespace, &query),
            None => error_response(StatusCode::NOT_FOUND),
        },
        (Method::GET, [plural, name]) => {
            let key = key_of(plural, namespace, name);
            let state = cluster.state.lock().unwrap();
            match state.objects.get(&key) {
                Some(object) => json_response(StatusCode::OK, object),
                None => error_response(StatusCode::NOT_FOUND),
            }
        }
        (Method::POST, [plural]) => {
            let mut object = read_object(body, namespace).await;
            let name = object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if !is_dns_subdomain(&name) {
                return error_response(StatusCode::UNPROCESSABLE_ENTITY);
            }
            let key = key_of(plural, namespace, &name);
            if cluster.state.lock().unwrap().objects.contains_key(&key) {
                return error_response(StatusCode::CONFLICT);
            }
            cluster.record_change((*plural).to_owned(), object.take(), "ADDED");
            let state = cluster.state.lock().unwrap();
            json_response(StatusCode::CREATED, &state.objects[&key])
        }
        (Method::PUT, [plural, name]) => {
            let mut object = read_object(body, namespace).await;
            let key = key_of(plural, namespace, name);
            {
                let state = cluster.state.lock().unwrap();
                let Some(before) = state.objects.get(&key) else {
                    return error_response(StatusCode::NOT_FOUND);
                };
                let version = |of: &Value| of["metadata"]["resourceVersion"].clone();
                if version(before) != version(&object) {
                    return error_response(StatusCode::CONFLICT);
                }
            }
            cluster.record_change((*plural).to_owned(), object.take(), "MODIFIED");
            let state = cluster.state.lock().unwrap();
            json_response(StatusCode::OK, &state.objects[&key])
        }
        (Method::PATCH | Method::PUT, [plural, name, "status"]) => {
            let kind = head.headers.get("content-type");
            let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            write_status(
                &cluster,
                plural,
                namespace.unwrap_or(""),
                name,
                &path,
                &kind,
                body,
            )
        }
        _ => error_response(StatusCode::NOT_FOUND),
    }
}

/// Whether the API server accepts a name (RFC 1123).
fn is_dns_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let edges = [label.as_bytes().first(), label.as_bytes().last()];
        edges.into_iter().all(|byte| byte.is_some_and(is_edge))
            && label.bytes().all(|byte| byte == b'-' || is_edge(&byte))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn key_of(plural: &str, namespace: Option<&str>, name: &str) -> (String, String, String) {
    let namespace = namespace.unwrap_or_default();
    (plural.to_owned(), namespace.to_owned(), name.to_owned())
}

async fn read_object(body: Body, namespace: Option<&str>) -> Value {
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut object: Value = serde_json::from_slice(&body).unwrap();
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

type Kind = (&'static str, &'static str, &'static str);

/// Answers a list request with one page: up to `limit` objects after the object in `continue`.
fn list(
    cluster: &Cluster,
    (plural, version, kind): Kind,
    namespace: Option<&str>,
    query: &BTreeMap<String, String>,
) -> Response {
    let state = cluster.state.lock().unwrap();
    let skipped: usize = query
        .get("continue")
        .map_or(0, |token| token.parse().unwrap());
    let limit = query.get("limit").and_then(|limit| limit.parse().ok());
    let limit: usize = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let mut all = state.objects.iter().filter(|((of, within, _), _)| {
        of == plural && namespace.is_none_or(|namespace| within == namespace)
    });
    let items: Vec<&Value> = all
        .by_ref()
        .skip(skipped)
        .take(limit)
        .map(|(_, it)| it)
        .collect();
    let remaining = all.count();
    let mut metadata = json!({ "resourceVersion": state.version.to_string() });
    if remaining > 0 {
        metadata["continue"] = json!((skipped + items.len()).to_string());
        metadata["remainingItemCount"] = json!(remaining);
    }
    json_response(
        StatusCode::OK,
        &json!({ "kind": format!("{kind}List"), "apiVersion": version, "metadata": metadata, "items": items }),
    )
}

/// Answers a watch request with a stream of events: first all objects, if the client sets
/// `sendInitialEvents`, and then the changes.
fn watch(
    cluster: &Arc<Cluster>,
    kind: Kind,
    namespace: Option<&str>,
    query: &BTreeMap<String, String>,
) -> Response {
    let is_set = |name: &str| query.get(name).is_some_and(|value| value == "true");
    let (initial, bookmarks) = (is_set("sendInitialEvents"), is_set("allowWatchBookmarks"));
    let from: Option<u64> = query.get("resourceVersion").and_then(|it| it.parse().ok());
    let (sender, receiver) = mpsc::unbounded_channel();
    let within = namespace.map(str::to_owned);
    let is_watched = move |plural: &str, object: &Value| {
        let namespaced = |wanted: &String| object["metadata"]["namespace"] == **wanted;
        plural == kind.0 && within.as_ref().is_none_or(namespaced)
    };
    let state = cluster.state.lock().unwrap();
    if !initial && from.is_some_and(|from| from > 0 && from < state.compacted_version) {
        return error_response(StatusCode::GONE);
    }
    let mut events = cluster.events.subscribe();
    let mut ends = cluster.ends.subscribe();
    if initial {
        for ((plural, ..), object) in &state.objects {
            if is_watched(plural, object) {
                let _ = sender.send(event_line("ADDED", object));
            }
        }
        let end = json!({ "k8s.io/initial-events-end": "true" });
        let _ = sender.send(event_line(
            "BOOKMARK",
            &bookmark_object(kind, state.version, end),
        ));
    } else if let Some(from) = from {
        for event in state.log.iter().filter(|event| event.version > from) {
            if is_watched(&event.plural, &event.object) {
                let _ = sender.send(event_line(event.kind, &event.object));
            }
        }
    }
    drop(state);
    let (cluster, waiting) = (Arc::clone(cluster), Arc::clone(cluster));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(BOOKMARK_INTERVAL);
        ticks.tick().await;
        loop {
            let sent = tokio::select! {
                event = events.recv() => match event {
                    Ok(event) if is_watched(&event.plural, &event.object) => {
                        sender.send(event_line(event.kind, &event.object))
                    }
                    Ok(_) => Ok(()),
                    Err(_) => break,
                },
                _ = ticks.tick(), if bookmarks => {
                    let version = cluster.state.lock().unwrap().version;
                    sender.send(event_line("BOOKMARK", &bookmark_object(kind, version, json!({}))))
                }
                _ = ends.recv() => break,
                () = sender.closed() => break,
            };
            if sent.is_err() {
                break;
            }
        }
    });
    let lines =
        futures_util::stream::unfold((receiver, waiting), |(mut receiver, waiting)| async {
            let line = receiver.recv().await?;
            waiting.wait().await;
            Some((Ok::<_, std::convert::Infallible>(line), (receiver, waiting)))
        });
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from_stream(lines))
        .unwrap()
}

fn bookmark_object((_, version, kind): Kind, resource_version: u64, annotations: Value) -> Value {
    let metadata =
        json!({ "resourceVersion": resource_version.to_string(), "annotations": annotations });
    json!({ "kind": kind, "apiVersion": version, "metadata": metadata })
}

fn event_line(kind: &str, object: &Value) -> Bytes {
    format!("{}\n", json!({ "type": kind, "object": object })).into()
}

/// Merges the status in `body` into an object (RFC 7386). If the body is not JSON, the server records the body, but
/// does not change the object.
fn write_status(
    cluster: &Cluster,
    plural: &str,
    namespace: &str,
    name: &str,
    path: &str,
    content_type: &str,
    body: Bytes,
) -> Response {
    let status_write = (path.to_owned(), content_type.to_owned(), body.clone());
    let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
    let object = {
        let mut state = cluster.state.lock().unwrap();
        state.statuses.push(status_write);
        state.objects.get(&key).cloned()
    };
    let Some(mut object) = object else {
        return error_response(StatusCode::NOT_FOUND);
    };
    if let Ok(change) = serde_json::from_slice::<Value>(&body) {
        merge(&mut object["status"], &change["status"]);
        cluster.record_change(plural.to_owned(), object.clone(), "MODIFIED");
    }
    json_response(StatusCode::OK, &object)
}

fn merge(target: &mut Value, change: &Value) {
    let Some(fields) = change.as_object() else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
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

fn plural_of(object: &Value) -> String {
    let kind = KINDS.iter().find(|kind| object["kind"] == kind.2);
    kind.unwrap_or_else(|| panic!("{object}")).0.to_owned()
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
