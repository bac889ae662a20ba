//! A real API server, which `scripts/cluster.sh` starts.

use std::sync::OnceLock;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::super::curfew::client;
use super::faults::Asked;
use super::{CLUSTER_WIDE, KINDS};

/// The URL at which the server answers as for the ServiceAccount of Curfew.
const CURFEW_URL: &str = "CURFEW_TEST_KUBERNETES_URL";

/// The URL at which the server answers as for an administrator.
const ADMIN_URL: &str = "CURFEW_TEST_KUBERNETES_ADMIN_URL";

/// The URL of etcd, in which the server stores the objects.
const ETCD_URL: &str = "CURFEW_TEST_ETCD_URL";

/// The resources of which a test may leave objects behind.
const LEFT_BEHIND: [&str; 6] = [
    "sessionpolicies",
    "clustersessionpolicies",
    "ingresses",
    "ingressclasses",
    "events",
    "leases",
];

/// The tests share the server, so they use it one after the other.
static IN_USE: Mutex<()> = Mutex::const_new(());

pub(super) struct RealServer {
    curfew: String,
    admin: String,
    etcd: String,
    client: OnceLock<reqwest::Client>,
    _guard: MutexGuard<'static, ()>,
}

impl RealServer {
    /// Waits until no other test uses the server, and removes what earlier tests left. `None` if there is no server.
    pub(super) async fn take() -> Option<Self> {
        let url = |name: &str| std::env::var(name).ok();
        let curfew = url(CURFEW_URL)?;
        let server = Self {
            curfew,
            admin: url(ADMIN_URL).unwrap(),
            etcd: url(ETCD_URL).unwrap(),
            client: OnceLock::new(),
            _guard: IN_USE.lock().await,
        };
        for plural in LEFT_BEHIND {
            for object in server.objects(plural) {
                let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
                let is_of_test = plural != "leases" || text("name").starts_with("curfew");
                if is_of_test {
                    server.delete(plural, text("namespace"), text("name"));
                }
            }
        }
        Some(server)
    }

    /// Answers a request to the listener of the test.
    pub(super) async fn forward(&self, asked: Asked) -> Response {
        let http = self.client.get_or_init(client);
        let path_and_query = asked.head.uri.path_and_query().unwrap();
        let mut request = http.request(
            asked.head.method.clone(),
            format!("{}{path_and_query}", self.curfew),
        );
        for name in ["accept", "content-type"] {
            if let Some(value) = asked.head.headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.body(asked.body).send().await.unwrap();
        let (head, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        let mut response = Response::builder().status(head.status);
        if let Some(kind) = head.headers.get("content-type") {
            response = response.header("content-type", kind);
        }
        response.body(Body::new(body)).unwrap()
    }

    pub(super) fn put(&self, plural: &str, mut object: Value) {
        // The server sets these fields.
        for name in ["uid", "creationTimestamp"] {
            object["metadata"].as_object_mut().unwrap().remove(name);
        }
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
        let path = path_of(plural, text("namespace"), text("name"));
        let query = "fieldManager=test&force=true&fieldValidation=Strict";
        let url = format!("{}{path}?{query}", self.admin);
        let status = object.as_object_mut().unwrap().remove("status");
        let (code, answer) = call("PATCH", &url, Some(&object));
        assert!(code.is_success(), "{object}: {answer}");
        // The server ignores the status in a write of the object.
        if let Some(status) = status {
            object["status"] = status;
            let url = format!("{}{path}/status?{query}", self.admin);
            let (code, answer) = call("PATCH", &url, Some(&object));
            assert!(code.is_success(), "{object}: {answer}");
        }
    }

    pub(super) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let path = path_of(plural, namespace, name);
        let (code, answer) = call("DELETE", &format!("{}{path}", self.admin), None);
        let is_gone = code.is_success() || code == StatusCode::NOT_FOUND;
        assert!(is_gone, "{path}: {answer}");
    }

    pub(super) fn object(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let path = path_of(plural, namespace, name);
        let (code, answer) = call("GET", &format!("{}{path}", self.admin), None);
        match code {
            StatusCode::NOT_FOUND => Value::Null,
            _ => answer,
        }
    }

    pub(super) fn objects(&self, plural: &str) -> Vec<Value> {
        let path = path_of(plural, "", "");
        let (code, mut answer) = call("GET", &format!("{}{path}", self.admin), None);
        assert!(code.is_success(), "{path}: {answer}");
        match answer["items"].take() {
            Value::Array(items) => items,
            other => panic!("{path}: {other}"),
        }
    }

    /// Removes the events from etcd. Returns the version of the newest object.
    pub(super) fn compact(&self) -> u64 {
        // A new version, so that a list has a newer version than each earlier list.
        let name = json!({ "name": "compacted", "namespace": "default" });
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let data = json!({ "number": format!("{random:?}") });
        let object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": data });
        self.put("configmaps", object);
        let object = self.object("configmaps", "default", "compacted");
        let version = object["metadata"]["resourceVersion"].as_str().unwrap();
        let url = format!("{}/v3/kv/compaction", self.etcd);
        let (code, answer) = call("POST", &url, Some(&json!({ "revision": version })));
        assert!(code.is_success(), "{answer}");
        version.parse().unwrap()
    }
}

/// Returns the path of an object, or of all objects if the name is empty.
fn path_of(plural: &str, namespace: &str, name: &str) -> String {
    let kind = KINDS.iter().find(|kind| kind.0 == plural).unwrap();
    let prefix = match kind.1.contains('/') {
        true => "/apis",
        false => "/api",
    };
    let base = format!("{prefix}/{}", kind.1);
    match (name, CLUSTER_WIDE.contains(&plural)) {
        ("", _) => format!("{base}/{plural}"),
        (name, true) => format!("{base}/{plural}/{name}"),
        (name, false) => format!("{base}/namespaces/{namespace}/{plural}/{name}"),
    }
}

/// Sends a request from a thread of its own, because the caller may run in an asynchronous task.
fn call(method: &str, url: &str, body: Option<&Value>) -> (StatusCode, Value) {
    loop {
        let call = || call_here(method, url, body);
        let answer = std::thread::scope(|scope| scope.spawn(call).join().unwrap());
        // The server answers so while it prepares a new resource.
        if answer.0 != StatusCode::TOO_MANY_REQUESTS {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn call_here(method: &str, url: &str, body: Option<&Value>) -> (StatusCode, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let method = method.parse().unwrap();
        let mut request = client().request(method, url);
        if let Some(body) = body {
            // Server-side apply.
            let kind = "application/apply-patch+yaml";
            request = request.header("content-type", kind).body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    })
}
