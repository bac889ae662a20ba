//! Even if no request arrives, Curfew publishes the end of a session in the audit log, in a Redis stream and through
//! the webhook. All replicas together publish each end exactly once.

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

/// Returns the session IDs in the Redis stream, including repetitions.
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

/// Returns a setup that has an idle limit of two seconds, and publishes session ends in a Redis stream.
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
    // Waits so long that a replica would publish an end again if no replica had acknowledged the end.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let published_ends = replicas
        .iter()
        .flat_map(|replica| replica.audit_events("session.ended"));
    let published_ends: Vec<String> = published_ends
        .map(|event| {
            assert_eq!(event["curfew.redelivered"], false, "{event}");
            event["curfew.session.id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(published_ends.len(), SESSION_COUNT);
    assert_eq!(
        published_ends.into_iter().collect::<BTreeSet<_>>(),
        sessions
    );
    let streamed = streamed_session_ids(&redis);
    assert_eq!(streamed.len(), SESSION_COUNT);
    assert_eq!(streamed.into_iter().collect::<BTreeSet<_>>(), sessions);
    let queue_length: usize = redis.command(&[b"ZCARD", b"curfew:{q}deadlines"]);
    assert_eq!(queue_length, 0, "the deadline queue is empty");
}

#[tokio::test]
async fn a_killed_replica_loses_no_end() {
    let redis = RedisServer::start();
    let setup = setup_with_stream(&redis);
    let (killed_replica, surviving_replica) = (setup.start(), setup.start());
    let sessions = start_many_sessions(&killed_replica).await;
    let published_ends = |replica: &Curfew| replica.audit_events("session.ended");
    eventually("the replica publishes ends", async || {
        !published_ends(&killed_replica).is_empty()
    })
    .await;
    killed_replica.signal("KILL");
    eventually("all sessions have ended", async || {
        streamed_session_ids(&redis).len() >= SESSION_COUNT
    })
    .await;
    let queue_length = || -> usize { redis.command(&[b"ZCARD", b"curfew:{q}deadlines"]) };
    eventually("all ends are published", async || queue_length() == 0).await;
    let streamed = streamed_session_ids(&redis);
    assert_eq!(
        streamed.len(),
        SESSION_COUNT,
        "the stream should contain each end once"
    );
    assert_eq!(streamed.into_iter().collect::<BTreeSet<_>>(), sessions);
    // The logs contain each end exactly once, except that a second event is allowed if it is marked as a
    // redelivery.
    let (mut first_ends, mut redelivered_ends) = (Vec::new(), Vec::new());
    for event in published_ends(&killed_replica)
        .into_iter()
        .chain(published_ends(&surviving_replica))
    {
        let name = event["curfew.session.id"].as_str().unwrap().to_owned();
        if event["curfew.redelivered"] == true {
            redelivered_ends.push(name);
        } else {
            first_ends.push(name);
        }
    }
    let distinct_ends: BTreeSet<String> = first_ends.iter().cloned().collect();
    assert_eq!(
        distinct_ends.len(),
        first_ends.len(),
        "each repeated event should have the mark of a redelivery"
    );
    let all: BTreeSet<String> = first_ends.into_iter().chain(redelivered_ends).collect();
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
    let mut webhook_requests = Vec::new();
    eventually("the webhook accepts the event", async || {
        webhook_requests.extend(backend.take());
        !webhook_requests.is_empty()
    })
    .await;
    let request = webhook_requests.remove(0);
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
    assert!(
        backend.take().is_empty(),
        "the webhook should receive the event once"
    );
}
