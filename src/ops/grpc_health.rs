//! The health that gRPC clients ask for.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::ops::Ops;

/// How often the health of the gRPC service is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps the health that gRPC clients see (`grpc.health.v1`) the same as `/readyz`: of the server as a whole, whose name
/// is empty, and of a service.
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
        let pause = stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await;
        if pause.is_none() {
            break;
        }
    }
    for service in services {
        let stopping = ServingStatus::NotServing;
        reporter.set_service_status(service, stopping).await;
    }
}
