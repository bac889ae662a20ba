//! The health of the applications. Curfew asks each application with a health path at an interval. While an application
//! is unhealthy, Curfew answers its requests at once, so that clients do not wait for a time limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::upstream::Upstream;
use super::upstreams::Upstreams;
use crate::live::Live;
use crate::policy::HostPattern;
use crate::telemetry::{Diagnostics, Metrics};

/// How often the task looks for a check that is due.
const TICK: Duration = Duration::from_millis(250);
/// The number of failed checks after which an application is unhealthy. One successful check makes it healthy again.
const FAILURE_THRESHOLD: u32 = 2;
/// The longest time for one check. It also ends at the interval.
const MAX_CHECK_TIME: Duration = Duration::from_secs(5);
/// The number of bytes that Curfew reads of an answer, so that the connection can be used again.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The name of this module in the recommendations.
const DIAGNOSTICS_SOURCE: &str = "proxy";

/// How Curfew checks the health of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path of the check.
    pub path: String,
    /// The time between two checks.
    pub interval: Duration,
}

impl HealthCheck {
    /// The default of [`Self::interval`].
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
}

/// The health of one application. It is healthy until checks fail.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The number of failed checks since the last successful one.
    failures: AtomicU32,
    /// When the next check is due; at once if unset.
    due: Mutex<Option<Instant>>,
    is_checking: AtomicBool,
}

impl Health {
    /// Whether requests can be sent to the application.
    pub(super) fn is_healthy(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < FAILURE_THRESHOLD
    }

    fn record(&self, is_success: bool) {
        if is_success {
            self.failures.store(0, Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Checks the applications of the current configuration, until `stop`.
pub async fn check_upstreams(
    upstreams: Live<Upstreams>,
    metrics: Arc<Metrics>,
    diagnostics: Arc<Diagnostics>,
    stop: CancellationToken,
) {
    let mut reported = BTreeSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let current = upstreams.current();
        for upstream in current.all() {
            begin_check_if_due(upstream);
        }
        report(&current, &metrics, &diagnostics, &mut reported);
    }
}

/// Starts a check in a task of its own, so that a slow application does not delay the checks of the others.
fn begin_check_if_due(upstream: &Arc<Upstream>) {
    let Some(check) = &upstream.settings.health else {
        return;
    };
    let now = Instant::now();
    let health = &upstream.health;
    let is_due = health.due.lock().is_none_or(|due| due <= now);
    if !is_due || health.is_checking.swap(true, Ordering::Relaxed) {
        return;
    }
    *health.due.lock() = Some(now + check.interval);
    let (upstream, check) = (Arc::clone(upstream), check.clone());
    tokio::spawn(async move {
        let time_limit = check.interval.min(MAX_CHECK_TIME);
        let answer = tokio::time::timeout(time_limit, ask(&upstream, &check.path)).await;
        let is_success = answer == Ok(true);
        upstream.health.record(is_success);
        upstream.health.is_checking.store(false, Ordering::Relaxed);
    });
}

/// Returns whether the application answers with a status from 200 to 399.
async fn ask(upstream: &Upstream, path: &str) -> bool {
    let settings = &upstream.settings;
    let exact = settings.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => Some(host.to_string()),
        HostPattern::Subdomains(_) => None,
    });
    // An application can serve several hosts, and answer for a foreign host with an error.
    let host = exact
        .filter(|_| settings.preserve_host)
        .unwrap_or_else(|| settings.target.authority().to_string());
    let uri = path.parse().map_err(http::Error::from);
    let Ok(uri) = uri.and_then(|uri| upstream.uri(&host, &uri)) else {
        return false;
    };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
    let Ok(host) = HeaderValue::from_str(&host) else {
        return false;
    };
    headers.insert(HOST, host);
    let Ok(response) = upstream.send(request).await else {
        return false;
    };
    let status = response.status();
    let _ = Limited::new(response.into_body(), MAX_BODY_BYTES)
        .collect()
        .await;
    (StatusCode::OK..StatusCode::BAD_REQUEST).contains(&status)
}

const USER_AGENT_TEXT: &str = concat!("curfew/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Shows the health of all applications in the metrics, and the unhealthy ones in the recommendations.
fn report(
    upstreams: &Upstreams,
    metrics: &Metrics,
    diagnostics: &Diagnostics,
    reported: &mut BTreeSet<String>,
) {
    let checked = upstreams.all().filter(|it| it.settings.health.is_some());
    let mut all: BTreeMap<String, bool> = BTreeMap::new();
    for upstream in checked {
        let target = upstream.settings.target.to_string();
        *all.entry(target).or_insert(true) &= upstream.health.is_healthy();
    }
    for target in reported.iter().filter(|target| !all.contains_key(*target)) {
        let _ = metrics
            .streams
            .upstream_healthy
            .remove_label_values(&[target]);
    }
    for (target, is_healthy) in &all {
        let gauge = metrics
            .streams
            .upstream_healthy
            .with_label_values(&[target]);
        gauge.set(i64::from(*is_healthy));
    }
    let unhealthy = all.iter().filter(|(_, is_healthy)| !**is_healthy);
    let lines = unhealthy.map(|(target, _)| {
        format!("the application {target} is unhealthy: Curfew answers its requests with 503")
    });
    let lines = lines.collect();
    *reported = all.into_keys().collect();
    diagnostics.set_recommendations(DIAGNOSTICS_SOURCE, lines);
}
