//! Tests the fake Kubernetes API server that other tests use: it must behave as Kubernetes clients expect.

use serde_json::{Value, json};

use crate::support::curfew::client;
use crate::support::eventually;
use crate::support::kube_api::KubeApi;

fn service(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": {} })
}

async fn get(api: &KubeApi, path: &str) -> (u16, Value) {
    let answer = client()
        .get(format!("http://{}{path}", api.address))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// A watch request, and the text of all events so far.
struct Watch {
    response: reqwest::Response,
    text: String,
}

impl Watch {
    async fn start(api: &KubeApi, query: &str) -> Self {
        let url = format!("http://{}/api/v1/services?watch=true&{query}", api.address);
        let response = client().get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    /// Waits for an event of this type for this object, and returns it.
    async fn wait_for_event(&mut self, kind: &str, name: &str) -> Value {
        loop {
            let events = self
                .text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let found = { events }.find(|event: &Value| {
                event["type"] == kind
                    && (name.is_empty() || event["object"]["metadata"]["name"] == name)
            });
            if let Some(found) = found {
                return found;
            }
            let chunk = self.response.chunk().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let api = KubeApi::start_stand_in().await;
    for number in 0..5 {
        api.put(service(&format!("s{number}")));
    }
    let mut names = Vec::new();
    let mut next = String::new();
    for _ in 0..3 {
        let (status, page) = get(&api, &format!("/api/v1/services?limit=2{next}")).await;
        assert_eq!((status, &page["kind"]), (200, &json!("ServiceList")));
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names.extend(
            items
                .iter()
                .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()),
        );
        match page["metadata"]["continue"].as_str() {
            Some(token) => next = format!("&continue={token}"),
            None => break,
        }
    }
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
    let (_, other_namespace) = get(&api, "/api/v1/namespaces/other/services").await;
    assert_eq!(other_namespace["items"], json!([]));
    assert_eq!(get(&api, "/api/v1/nonesuch").await.0, 404);
}

#[tokio::test]
async fn watches_have_events_and_bookmarks_and_expire() {
    let api = KubeApi::start_stand_in().await;
    api.put(service("before"));
    let (_, list) = get(&api, "/api/v1/services").await;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut watch = Watch::start(
        &api,
        &format!("resourceVersion={version}&allowWatchBookmarks=true"),
    )
    .await;
    api.put(service("after"));
    watch.wait_for_event("ADDED", "after").await;
    api.put(service("after"));
    watch.wait_for_event("MODIFIED", "after").await;
    api.delete("services", "default", "after");
    watch.wait_for_event("DELETED", "after").await;
    let bookmark = watch.wait_for_event("BOOKMARK", "").await;
    assert!(bookmark["object"]["metadata"]["resourceVersion"].is_string());
    // The server first sends all objects, if the client asks for them.
    let mut initial = Watch::start(&api, "sendInitialEvents=true&allowWatchBookmarks=true").await;
    initial.wait_for_event("ADDED", "before").await;
    let end = initial.wait_for_event("BOOKMARK", "").await;
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    // After the compaction, the resource version of the client is too old.
    api.compact();
    let (status, too_old) = get(
        &api,
        &format!("/api/v1/services?watch=true&resourceVersion={version}"),
    )
    .await;
    assert_eq!((status, &too_old["reason"]), (410, &json!("Expired")));
}

#[tokio::test]
async fn a_status_is_merged_and_shown() {
    let api = KubeApi::start_stand_in().await;
    api.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "app" }, "spec": {}, "status": { "a": 1, "b": 2 },
    }));
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/app/status";
    let patch = json!({ "status": { "b": null, "c": { "d": 3 } } });
    let answer = client()
        .patch(format!("http://{}{path}", api.address))
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let (_, list) = get(&api, "/apis/networking.k8s.io/v1/ingresses").await;
    assert_eq!(
        list["items"][0]["status"],
        json!({ "a": 1, "c": { "d": 3 } })
    );
    eventually("the status is stored", async || api.statuses().len() == 1).await;
    assert!(api.requests().iter().any(|line| line.starts_with("PATCH ")));
}
