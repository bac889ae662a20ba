//! Reports on the routes of a cluster, for the admin API and the console.

use curfew_kubernetes::RouteReport;
use tokio::sync::{mpsc, oneshot};

/// The number of requests for reports that can wait.
#[cfg(feature = "kubernetes")]
const QUEUE: usize = 4;

/// Asks the watch of the cluster for reports. A report is built on request, because it is large.
#[derive(Clone, Debug)]
pub struct RouteReports(mpsc::Sender<oneshot::Sender<RouteReport>>);

/// The requests for reports, for the watch of the cluster.
#[cfg(feature = "kubernetes")]
pub type ReportRequests = mpsc::Receiver<oneshot::Sender<RouteReport>>;

impl RouteReports {
    /// Creates both ends.
    #[cfg(feature = "kubernetes")]
    #[must_use]
    pub fn channel() -> (Self, ReportRequests) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Returns a report; `None` if the objects of the cluster are not known yet.
    pub async fn report(&self) -> Option<RouteReport> {
        let (answer, report) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        report.await.ok()
    }
}
