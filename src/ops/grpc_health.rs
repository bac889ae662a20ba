//! The gRPC health service.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::ops::Ops;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the gRPC health status (`grpc.health.v1`) equal to the answer of `/readyz`, both for `service` and for the
/// whole server (the empty service name).
pub async fn report(
    ops: Arc<Ops>,
    reporter: HealthReporter,
    service: &'static str,
    stop: CancellationToken,
) {
    let services = ["", service];
    loop {
        let status = match ops.ready().await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        for service in services {
            reporter.set_service_status(service, status).await;
        }
        let slept = stop
            .run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL))
            .await;
        if slept.is_none() {
            break;
        }
    }
    for service in services {
        let status = ServingStatus::NotServing;
        reporter.set_service_status(service, status).await;
    }
}
