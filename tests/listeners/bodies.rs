//! Tests proxies that send the client's body with the check: no upload fails.

use bytes::Bytes;
use futures_util::future::join_all;

use crate::support::backend::Backend;
use crate::support::curfew::{Setup, client};
use crate::support::deployment::{Server, envoy_address, read_deploy_file, replace_once};
use crate::support::{eventually, free_port, loopback, traefik};

/// Sends `count` uploads of this size, ten at a time. Returns the statuses other than 200.
async fn failed_upload_statuses(url: &str, cookie: &str, size: usize, count: usize) -> Vec<u16> {
    let client = client();
    let body = Bytes::from(vec![b'x'; size]);
    let mut other_statuses = Vec::new();
    for _ in 0..count / 10 {
        let uploads = (0..10).map(|_| {
            let request = client.post(url).header("cookie", cookie);
            request.body(body.clone()).send()
        });
        let statuses = join_all(uploads).await.into_iter();
        let statuses = statuses.map(|answer| answer.map_or(0, |answer| answer.status().as_u16()));
        other_statuses.extend(statuses.filter(|status| *status != 200));
    }
    other_statuses
}

#[tokio::test]
async fn traefik_forwards_bodies() {
    let curfew = Setup::memory().start();
    let backend = Backend::start().await;
    let files =
        ["traefik.yaml", "curfew.yaml"].map(|name| read_deploy_file(&format!("traefik/{name}")));
    let forward_auth_option = "        trustForwardHeader: false\n";
    let with_bodies = format!(
        "{forward_auth_option}        forwardBody: true\n        preserveRequestMethod: true\n"
    );
    let [static_configuration, dynamic_configuration] = files;
    let dynamic_configuration = replace_once(
        &dynamic_configuration,
        &[(forward_auth_option, with_bodies)],
    );
    let (address, _traefik) = traefik::start_with_files(
        &[static_configuration, dynamic_configuration],
        curfew.listeners(),
        "/forward-auth",
        backend.address,
    );
    let cookie = curfew.sign_in("alice").await.cookie();
    let url = format!("http://{address}/");
    eventually("Traefik is ready", async || {
        failed_upload_statuses(&url, &cookie, 10, 10)
            .await
            .is_empty()
    })
    .await;
    for (size, count) in [(50_000, 500), (2_000_000, 50)] {
        let other_statuses = failed_upload_statuses(&url, &cookie, size, count).await;
        assert!(other_statuses.is_empty(), "{size}: {other_statuses:?}");
    }
    let denied_statuses = failed_upload_statuses(&url, "a=b", 2_000_000, 20).await;
    assert_eq!(denied_statuses, [401; 20]);
}

#[tokio::test]
async fn envoy_sends_bodies() {
    let curfew = Setup::memory().start();
    let backend = Backend::start().await;
    let address = loopback(free_port());
    let text = replace_once(
        &read_deploy_file("envoy/http.yaml"),
        &[
            ("address: 0.0.0.0, port_value: 8080", envoy_address(address)),
            (
                "address: curfew, port_value: 9180",
                envoy_address(curfew.check),
            ),
            (
                "address: curfew, port_value: 9183",
                envoy_address(curfew.browser),
            ),
            (
                "address: application, port_value: 3000",
                envoy_address(backend.address),
            ),
            (
                "                      failure_mode_allow: false\n",
                "                      failure_mode_allow: false\n                      \
                 with_request_body: { max_request_bytes: 200000, allow_partial_message: true }\n"
                    .to_owned(),
            ),
        ],
    );
    let _envoy = Server::envoy(&text, &[address]);
    let cookie = curfew.sign_in("alice").await.cookie();
    let url = format!("http://{address}/");
    eventually("Envoy is ready", async || {
        failed_upload_statuses(&url, &cookie, 10, 10)
            .await
            .is_empty()
    })
    .await;
    let other_statuses = failed_upload_statuses(&url, &cookie, 100_000, 1_000).await;
    assert!(other_statuses.is_empty(), "{other_statuses:?}");
    assert_eq!(
        failed_upload_statuses(&url, "a=b", 100_000, 100).await,
        [401; 100]
    );
}
