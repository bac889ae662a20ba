//! Envoy logs the metadata of gRPC answers, and uses the gRPC health check.

use crate::support::backend::Backend;
use crate::support::curfew::{Setup, client};
use crate::support::deployment::{Server, envoy_address, read_deploy_file, replace_once};
use crate::support::redis::RedisServer;
use crate::support::{eventually, free_port, loopback};

#[tokio::test]
async fn logs_have_metadata_and_the_cluster_has_health() {
    let mut redis = RedisServer::start();
    let curfew = Setup::redis(&redis.url()).start();
    let backend = Backend::start().await;
    eventually("Curfew is ready", async || {
        curfew.get_ops("/readyz").await.0 == 200
    })
    .await;
    let address = loopback(free_port());
    let metadata_fields = ["verdict", "subject", "session", "policy", "idle_remaining"];
    let metadata_fields = metadata_fields
        .map(|field| format!("%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{field})%"));
    let text = replace_once(
        &read_deploy_file("envoy/grpc.yaml"),
        &[
            ("address: 0.0.0.0, port_value: 8080", envoy_address(address)),
            ("address: curfew, port_value: 9181", envoy_address(curfew.grpc.unwrap())),
            ("address: application, port_value: 3000", envoy_address(backend.address)),
            (
                "                stat_prefix: web\n",
                format!(
                    "                stat_prefix: web
                access_log:
                  - name: envoy.access_loggers.file
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: access.log
                      log_format: {{ text_format_source: {{ inline_string: \"{}\\n\" }} }}
",
                    metadata_fields.join(" ")
                ),
            ),
            (
                "    - name: curfew\n",
                "    - name: curfew
      common_lb_config: { healthy_panic_threshold: { value: 0 } }
      health_checks:
        - timeout: 0.5s
          interval: 0.1s
          unhealthy_threshold: 1
          healthy_threshold: 1
          no_traffic_interval: 0.1s
          grpc_health_check: {}
"
                .to_owned(),
            ),
        ],
    );
    let envoy = Server::envoy(&text, &[address]);
    let session = curfew.sign_in("alice").await;
    let status_of = async |cookie: &str| {
        let request = client().get(format!("http://{address}/"));
        let response = request.header("cookie", cookie).send().await.unwrap();
        response.status().as_u16()
    };
    eventually("Envoy finds Curfew healthy", async || {
        status_of(&session.cookie()).await == 200
    })
    .await;
    assert_eq!(status_of("a=1").await, 401);
    let allow_line = format!("allow alice {} default 900", session.id);
    eventually("Envoy's log contains both answers", async || {
        let log = envoy.read("access.log");
        log.contains(&allow_line) && log.contains("no_credential - - - -")
    })
    .await;

    // Without Redis, Curfew becomes unhealthy. Then Envoy answers with 503 itself and sends no more checks, so the number
    // of checks stays the same.
    redis.stop();
    let check_count = || async {
        let (_, metrics) = curfew.get_ops("/metrics").await;
        let line = metrics
            .lines()
            .find(|line| line.contains("verdict=\"store_unavailable\""));
        line.map(str::to_owned)
    };
    eventually("Envoy reports Curfew as unhealthy", async || {
        let before = check_count().await;
        status_of(&session.cookie()).await == 503 && check_count().await == before
    })
    .await;
    redis.start_again();
    eventually("Envoy reports Curfew as healthy again", async || {
        status_of(&session.cookie()).await == 200
    })
    .await;
}
