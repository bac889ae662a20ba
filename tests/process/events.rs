//! Curfew publishes the end of a session without a request, in the audit log, the stream and the webhook. All
//! replicas together publish each end exactly once.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;
use crate::support::backend::Backend;
use crate::support::curfew::Curfew;
use crate::support::{free_port, loopback};

/// The number of sessions that end at about the same time.
const SESSION_COUNT: usize = 400;

/// Starts [`SESSION_COUNT`] sessions, and returns their IDs.
async fn start_many_sessions(curfew: &Curfew) -> BTreeSet<String> {
    let starts = (0..SESSION_COUNT).map(async |number| {
        let subject = format!("user {}", number % 50);
        curfew.sign_in_with(&subject, json!({})).await
    });
    let started = futures_util::future::join_all(starts).await;
    started.into_iter().map(|session| session.id).collect()
}

/// Returns the session IDs in the stream, including repetitions.
fn streamed_session_ids(redis: &RedisServer) -> Vec<String> {
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis.command(&[b"XRANGE", b"curfew:{q}events", b"-", b"+"]);
    let names = entries.into_iter().map(|(_, fields)| {
        let fields: BTreeMap<String, String> = fields.into_iter().collect();
        assert_eq!(fields["event"], "session.ended");
        assert_eq!(fields["reason"], "idle_timeout");
        assert_eq!(
            (&*fields["actor_kind"], &*fields["actor_name"]),
            ("policy", "default")
        );
        fields["session"].clone()
    });
    names.collect()
}

/// Returns a setup with an idle limit of two seconds and an event stream.
fn setup_with_stream(redis: &RedisServer) -> Setup {
    Setup::redis(&redis.url())
        .limits("2s", "1h")
        .set("EVENTS__STREAM", "true")
        // The sessions start at the same time, so Redis may answer late.
        .set("STORE__COMMAND_TIMEOUT", "5s")
        .set("LOG__FILTER", "warn,curfew::audit=info")
}

#[tokio::test]
async fn two_replicas_publish_every_end_once() {
    let redis = RedisServer::start();
    let setup = setup_with_stream(&redis);
    let replicas = [setup.start(), setup.start()];
    let sessions = start_many_sessions(&replicas[0]).await;
    eventually("all sessions have ended", async || {
        streamed_session_ids(&redis).len() >= SESSION_COUNT
    })
    .await;
    // Waits until a replica would redeliver an end that was not acknowledged.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let told = replicas
        .iter()
        .flat_map(|replica| replica.audit_events("session.ended"));
    let told: Vec<String> = told
        .map(|event| {
            assert_eq!(event["curfew.redelivered"], false, "{event}");
            event["curfew.session.id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(told.len(), SESSION_COUNT);
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), sessions);
    let streamed = streamed_session_ids(&redis);
    assert_eq!(streamed.len(), SESSION_COUNT);
    assert_eq!(streamed.into_iter().collect::<BTreeSet<_>>(), sessions);
    let left: usize = redis.command(&[b"ZCARD", b"curfew:{q}deadlines"]);
    assert_eq!(left, 0, "the deadline queue is empty");
}

#[tokio::test]
async fn a_killed_replica_loses_no_end() {
    let redis = RedisServer::start();
    let setup = setup_with_stream(&redis);
    let (dying, surviving) = (setup.start(), setup.start());
    let sessions = start_many_sessions(&dying).await;
    let told = |replica: &Curfew| replica.audit_events("session.ended");
    eventually("the replica publishes ends", async || {
        !told(&dying).is_empty()
    })
    .await;
    dying.signal("KILL");
    eventually("all sessions have ended", async || {
        streamed_session_ids(&redis).len() >= SESSION_COUNT
    })
    .await;
    let queued = || -> usize { redis.command(&[b"ZCARD", b"curfew:{q}deadlines"]) };
    eventually("all ends are published", async || queued() == 0).await;
    let streamed = streamed_session_ids(&redis);
    assert_eq!(
        streamed.len(),
        SESSION_COUNT,
        "the stream should contain each end once"
    );
    assert_eq!(streamed.into_iter().collect::<BTreeSet<_>>(), sessions);
    // The logs contain each end exactly once. A second event is allowed only if it is marked as a redelivery.
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for event in told(&dying).into_iter().chain(told(&surviving)) {
        let name = event["curfew.session.id"].as_str().unwrap().to_owned();
        if event["curfew.redelivered"] == true {
            again.push(name);
        } else {
            first.push(name);
        }
    }
    let once: BTreeSet<String> = first.iter().cloned().collect();
    assert_eq!(
        once.len(),
        first.len(),
        "each repeated event should have the mark of a redelivery"
    );
    let all: BTreeSet<String> = first.into_iter().chain(again).collect();
    assert_eq!(all, sessions);
}

#[tokio::test]
async fn a_webhook_is_signed_and_retried_until_accepted() {
    let secret = [7; 32];
    let address = loopback(free_port());
    let curfew = Setup::memory()
        .limits("1s", "1h")
        .set(
            "EVENTS__WEBHOOK_URL",
            &format!("http://{address}/hook?key=topsecret"),
        )
        .set(
            "EVENTS__WEBHOOK_SECRET",
            &format!("whsec_{}", STANDARD.encode(secret)),
        )
        .start();
    let session = curfew.sign_in("alice").await;
    eventually("a failed delivery is logged", async || {
        curfew
            .log()
            .contains("could not deliver a session end to the webhook")
    })
    .await;
    let backend = Backend::start_at(address).await;
    let mut seen = Vec::new();
    eventually("the webhook accepts the event", async || {
        seen.extend(backend.take());
        !seen.is_empty()
    })
    .await;
    let request = seen.remove(0);
    let header = |name: &str| request.header_values(name)[0];
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["type"], "session.ended");
    assert_eq!(body["data"]["session"], session.id.as_str());
    assert_eq!(body["data"]["reason"], "idle_timeout");
    let actor = json!({ "kind": "policy", "name": "default" });
    assert_eq!(body["data"]["actor"], actor);
    assert_eq!(
        header("webhook-id"),
        format!("session-ended-{}", session.id)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&request.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), expected);
    eventually("the delivery is counted", async || {
        let metrics = curfew.get_ops("/metrics").await.1;
        metrics.contains(r#"curfew_webhooks_total{result="sent"} 1"#)
    })
    .await;
    assert!(!curfew.log().contains("topsecret"), "{}", curfew.log());
    assert!(backend.take().is_empty(), "once");
}
