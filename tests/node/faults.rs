//! Restarts, drains and losses, under load.

use crate::load::Service;
use crate::overlays::install;
use crate::pods::{Process, count_ready, count_restarts, kill_redis, list};
use crate::support::kubectl::{kubectl, try_kubectl, wait_until};
use crate::{NAMESPACE, Namespace, start_redis, wait_for_rollout};

const OVERLAY: &str = "deploy/kubernetes/overlays/redis";

async fn start() -> (Namespace, Service) {
    start_redis();
    let namespace = Namespace::create();
    install(OVERLAY);
    let service = Service::start(&namespace).await;
    (namespace, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_answer() {
    let (_namespace, service) = start().await;
    let counts = service
        .during("rolling restart", || {
            let arguments = ["rollout", "restart", "deployment/curfew"];
            kubectl(&[&arguments[..], &["--namespace", NAMESPACE]].concat(), "");
            wait_for_rollout();
            // The old pods still serve requests for the time shutdown_delay.
            wait_until("the old processes have ended", || {
                Process::list().len() == 2
            });
        })
        .await;
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
}

/// With one node, the pods that a drain evicts have no other place. The budget keeps one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_respects_the_budget() {
    let (_namespace, service) = start().await;
    let counts = service
        .during("drain", || {
            let drain = [
                "drain",
                "node",
                "--ignore-daemonsets",
                "--delete-emptydir-data",
            ];
            let selection = [
                "--pod-selector=app.kubernetes.io/name=curfew",
                "--timeout=15s",
            ];
            let error = try_kubectl(&[&drain[..], &selection].concat(), "").unwrap_err();
            assert!(
                error.contains("would violate the pod's disruption budget"),
                "{error}"
            );
            assert_eq!(count_ready(), 1);
            kubectl(&["uncordon", "node"], "");
            wait_for_rollout();
        })
        .await;
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
    assert_eq!(count_ready(), 2);
}

/// A killed container starts again. Requests that it had open, and those until the node notices, have no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_comes_back() {
    let (_namespace, service) = start().await;
    let counts = service
        .during("killed replica", || {
            Process::list()[0].signal("KILL");
            wait_until("the container starts again", || count_restarts() == 1);
            wait_until("both replicas are ready", || count_ready() == 2);
        })
        .await;
    let count = counts.errors.len();
    assert!(count < counts.allowed / 2, "{:?}", counts.errors);
}

/// A replica that does not answer any more leaves the Service, and the node starts its container again.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_is_replaced() {
    let (_namespace, service) = start().await;
    let counts = service
        .during("frozen replica", || {
            Process::list()[0].signal("STOP");
            wait_until("the replica is not ready", || count_ready() == 1);
            wait_until("the container starts again", || count_restarts() == 1);
            wait_until("both replicas are ready", || count_ready() == 2);
        })
        .await;
    println!("errors: {:?}", counts.errors.first());
}

/// Redis starts again with its data. Until then, checks get 503, and no session ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_ends_no_session() {
    let (_namespace, service) = start().await;
    let counts = service
        .during("Redis restarts", || {
            kill_redis();
            let selector = ["--selector", "app=redis", "--output"];
            let output = "jsonpath={.items[0].status.containerStatuses[0].restartCount}";
            wait_until("Redis starts again", || {
                let arguments = ["get", "pods", "--namespace", "redis"];
                kubectl(&[&arguments[..], &selector, &[output]].concat(), "") == "1"
            });
            wait_until("both replicas are ready", || count_ready() == 2);
        })
        .await;
    assert!(
        counts.errors.iter().all(|error| error == "503"),
        "{:?}",
        counts.errors
    );
    // The probe of Curfew's life does not depend on Redis.
    assert_eq!(count_restarts(), 0);
    assert_eq!(list().len(), 2);
}
