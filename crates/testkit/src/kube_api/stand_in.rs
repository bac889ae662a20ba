//! A stand-in for an API server, which keeps its objects in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::faults::Asked;
use super::{KINDS, Kind, error_response, json_response};

/// The interval between bookmarks. The server sends bookmarks only to a watch with `allowWatchBookmarks`.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct StandIn {
    state: Mutex<StandInState>,
    events: broadcast::Sender<Event>,
}

#[derive(Default)]
struct StandInState {
    version: u64,
    /// The objects, with plural, namespace and name as the key.
    objects: BTreeMap<(String, String, String), Value>,
    log: Vec<Event>,
}

#[derive(Clone)]
struct Event {
    version: u64,
    plural: String,
    kind: &'static str,
    object: Value,
}

impl Default for StandIn {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::channel(1024).0,
        }
    }
}

impl StandIn {
    pub(super) fn put(&self, plural: &str, object: Value) {
        self.record_change(plural.to_owned(), object, "ADDED");
    }

    pub(super) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let object = self.state.lock().unwrap().objects.remove(&key);
        self.record_change(plural.to_owned(), object.unwrap(), "DELETED");
    }

    /// Removes all events. Returns a version that is newer than all of them.
    pub(super) fn compact(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        state.log.clear();
        state.version
    }

    pub(super) fn object(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let state = self.state.lock().unwrap();
        state.objects.get(&key).cloned().unwrap_or_default()
    }

    pub(super) fn objects(&self, plural: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let objects = state.objects.iter().filter(|((of, ..), _)| of == plural);
        objects.map(|(_, object)| object.clone()).collect()
    }

    fn record_change(&self, plural: String, mut object: Value, kind: &'static str) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
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

pub(super) fn serve(cluster: &Arc<StandIn>, asked: Asked) -> Response {
    let path = asked.path().to_owned();
    let Asked { head, body, query } = asked;
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
    let kind_of = |plural: &str| KINDS.into_iter().find(|kind| kind.0 == plural);
    match (head.method, path_segments) {
        (Method::GET, [plural]) => match kind_of(plural) {
            Some(kind) if query.contains_key("watch") => watch(cluster, kind, namespace, &query),
            Some(kind) => list(cluster, kind, namespace, &query),
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
            let mut object = read_object(&body, namespace);
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
            let mut object = read_object(&body, namespace);
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
            write_status(cluster, plural, namespace.unwrap_or(""), name, &body)
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

fn read_object(body: &[u8], namespace: Option<&str>) -> Value {
    let mut object: Value = serde_json::from_slice(body).unwrap();
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// Answers a list request with one page: up to `limit` objects after the object in `continue`.
fn list(
    cluster: &StandIn,
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
    cluster: &Arc<StandIn>,
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
    let mut events = cluster.events.subscribe();
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
    let cluster = Arc::clone(cluster);
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
                () = sender.closed() => break,
            };
            if sent.is_err() {
                break;
            }
        }
    });
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), receiver))
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

/// Merges the status in `body` into an object (RFC 7386). If the body is not JSON, the object does not change.
fn write_status(
    cluster: &StandIn,
    plural: &str,
    namespace: &str,
    name: &str,
    body: &[u8],
) -> Response {
    let mut object = cluster.object(plural, namespace, name);
    if object.is_null() {
        return error_response(StatusCode::NOT_FOUND);
    }
    if let Ok(change) = serde_json::from_slice::<Value>(body) {
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
