//! Revalidation: for sessions in use, asks the identity provider whether the subject may still be signed in
//! (`login.revalidate`).
//!
//! A check only queues a session that is due ([`Revalidation::queue_if_due`]) and never waits. The worker ([`run`])
//! first writes a lease into the session record: the time in which no other replica asks the provider. Then the worker
//! sends the refresh token of the sign-in to the provider. A refusal ends the session. A failure of the provider ends
//! no session, and the worker asks again later.

mod diagnostics;
mod queue;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::login::{Login, MAX_REFRESH_TOKEN_BYTES, Provider, TokenResponse};
use crate::session::{self, RefreshGrant, Registration, Session, SessionId, Timestamp};
use crate::telemetry::{Diagnostics, Metrics};

pub use diagnostics::ProviderDiagnostics;
pub use queue::RevalidationQueue;
use task::RevalidationTask;

/// The interval at which the worker looks for providers whose backoff (the pause after a failed request) is over.
const BACKOFF_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The label of a provider's diagnostics.
const DIAGNOSTICS_SOURCE: &str = "login.revalidate";

/// The settings of revalidation, and its shared state.
#[derive(Clone)]
pub struct Revalidation {
    /// The time from the provider's last confirmation of a session until the next revalidation.
    pub interval: Duration,
    /// The names of the configured providers, by registration (a hash of the issuer and the OAuth client ID).
    pub providers: Arc<BTreeMap<Registration, String>>,
    /// The queue of sessions that are due. A reload of the configuration keeps it.
    pub queue: Arc<RevalidationQueue>,
    /// The state of the providers, for the operator. A reload of the configuration keeps it.
    pub provider_diagnostics: Arc<ProviderDiagnostics>,
    /// Counts the answers.
    pub metrics: Arc<Metrics>,
}

impl Revalidation {
    /// Creates the revalidation for `login`. Returns `None` if revalidation is off.
    #[must_use]
    pub fn for_login(
        login: &Login,
        queue: &Arc<RevalidationQueue>,
        provider_diagnostics: &Arc<ProviderDiagnostics>,
        metrics: &Arc<Metrics>,
    ) -> Option<Self> {
        let providers = login.providers.values();
        let named = providers.map(|it| (it.registration(), it.name().to_owned()));
        Some(Self {
            interval: login.revalidation_interval?,
            providers: Arc::new(named.collect()),
            queue: Arc::clone(queue),
            provider_diagnostics: Arc::clone(provider_diagnostics),
            metrics: Arc::clone(metrics),
        })
    }

    /// Queues a session in use if it is due. The call never waits.
    pub fn queue_if_due(&self, id: SessionId, session: &Session, now: Timestamp) {
        let details = session.details.as_deref();
        let Some(revalidation) = details.and_then(|details| details.revalidation) else {
            return;
        };
        if now < revalidation.due(self.interval) {
            return;
        }
        let Some(name) = self.providers.get(&revalidation.registration) else {
            return;
        };
        if !self.queue.add(id, revalidation.registration, now) {
            self.metrics.count_revalidation(name, "dropped");
        }
    }

    /// Returns the refresh token and the state to store with a new session. If the provider issued no usable refresh
    /// token, records this problem for the operator and returns `None`.
    #[must_use]
    pub fn refresh_grant(
        &self,
        provider: &Provider,
        tokens: &TokenResponse,
        now: Timestamp,
    ) -> Option<RefreshGrant> {
        let token = tokens.refresh_token.as_ref();
        let token = token.filter(|token| token.expose().len() <= MAX_REFRESH_TOKEN_BYTES);
        let name = provider.name();
        self.provider_diagnostics
            .record_refresh_token(name, token.is_some());
        if token.is_none() {
            self.metrics.count_revalidation(name, "no_refresh_token");
        }
        Some(RefreshGrant {
            token: token?.clone(),
            revalidation: session::Revalidation {
                registration: provider.registration(),
                confirmed: now,
                leased_until: Timestamp::default(),
                in_id_token: tokens.in_id_token,
            },
        })
    }
}

/// The parts of the current configuration that the worker uses.
pub struct WorkerContext {
    /// Ends and changes sessions.
    pub lifecycle: Lifecycle,
    /// The clock for decision time, the common time of all replicas.
    pub clock: Arc<dyn Clock>,
    /// The tasks that the process waits for before it stops.
    pub tasks: TaskTracker,
    /// The providers; `None` if Curfew does not sign people in.
    pub login: Option<Arc<Login>>,
    /// The sessions that are due; `None` if revalidation is off.
    pub revalidation: Option<Revalidation>,
}

/// Revalidates the sessions that are due, until `stop` is cancelled. The process then waits for the requests in
/// flight. `current_context` returns the parts of the current configuration.
pub async fn run(
    current_context: impl Fn() -> WorkerContext,
    diagnostics: Arc<Diagnostics>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let current = current_context();
        let revalidation = current.revalidation.as_ref();
        diagnostics.set_recommendations(
            DIAGNOSTICS_SOURCE,
            revalidation.map_or_else(Vec::new, diagnostics_of),
        );
        if let (Some(revalidation), Some(login)) = (revalidation, &current.login) {
            start_requests(&current, revalidation, login);
        }
        let changed = async {
            match revalidation {
                Some(revalidation) => revalidation.queue.wait_for_change().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = changed => {}
            () = tokio::time::sleep(BACKOFF_CHECK_INTERVAL) => {}
        }
    }
}

/// Starts as many requests as the limits for each provider allow.
fn start_requests(context: &WorkerContext, revalidation: &Revalidation, login: &Arc<Login>) {
    // While the process stops, no new request may start.
    if context.tasks.is_closed() {
        return;
    }
    for slot in revalidation.queue.take(context.clock.now()) {
        let task = RevalidationTask {
            lifecycle: context.lifecycle.clone(),
            clock: Arc::clone(&context.clock),
            revalidation: revalidation.clone(),
            login: Arc::clone(login),
        };
        context.tasks.spawn(async move {
            task.run(&slot).await;
        });
    }
}

/// Returns the diagnostics of the configured providers.
fn diagnostics_of(revalidation: &Revalidation) -> Vec<String> {
    let names = revalidation.providers.values().map(String::as_str);
    revalidation.provider_diagnostics.messages(names)
}

#[cfg(test)]
mod tests;
