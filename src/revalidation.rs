//! Asks identity providers whether the subjects of sessions in use may still be signed in (`login.revalidate`).
//!
//! A check only notes that a session is due ([`Revalidation::note`]) and never waits. The worker ([`run`]) takes the
//! session for a while, in its record, so that one replica asks; then it asks the provider with the refresh token of the
//! sign-in. A refusal ends the session. Trouble with the provider never does: it is asked again later.

mod ask;
mod notes;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;
use crate::login::{Login, MAX_REFRESH_TOKEN_BYTES, Provider, TokenResponse};
use crate::session::{self, RefreshGrant, Registration, Session, SessionId, Timestamp};
use crate::telemetry::{Diagnostics, Metrics};

use ask::Question;
pub use notes::ProviderNotes;
pub use queue::RevalidationQueue;

/// How often the worker looks for providers whose pause is over.
const TICK: Duration = Duration::from_secs(1);
/// The label of a provider's diagnostics.
const SOURCE: &str = "login.revalidate";

/// Which sessions are revalidated, how often, and what is known of their providers.
#[derive(Clone)]
pub struct Revalidation {
    /// How often a provider is asked of a session.
    pub interval: Duration,
    /// The names of the providers.
    pub providers: Arc<BTreeMap<Registration, String>>,
    /// The sessions that are due. A change of the configuration keeps it.
    pub queue: Arc<RevalidationQueue>,
    /// What the operator should know of providers. A change of the configuration keeps it.
    pub notes: Arc<ProviderNotes>,
    /// Counts answers.
    pub metrics: Arc<Metrics>,
}

impl Revalidation {
    /// The revalidation that `login` asks for; `None` where it is off.
    #[must_use]
    pub fn of(
        login: &Login,
        queue: &Arc<RevalidationQueue>,
        notes: &Arc<ProviderNotes>,
        metrics: &Arc<Metrics>,
    ) -> Option<Self> {
        let providers = login.providers.values();
        let named = providers.map(|it| (it.registration(), it.name().to_owned()));
        Some(Self {
            interval: login.revalidate?,
            providers: Arc::new(named.collect()),
            queue: Arc::clone(queue),
            notes: Arc::clone(notes),
            metrics: Arc::clone(metrics),
        })
    }

    /// Notes that a session is used, which its provider may have to be asked about. It never waits.
    pub fn note(&self, id: SessionId, session: &Session, now: Timestamp) {
        let details = session.details.as_deref();
        let Some(due) = details.and_then(|details| details.revalidation) else {
            return;
        };
        if now < due.due(self.interval) {
            return;
        }
        let Some(name) = self.providers.get(&due.registration) else {
            return;
        };
        if !self.queue.add(id, due.registration, now) {
            self.metrics.revalidated(name, "dropped");
        }
    }

    /// What a session keeps of a sign-in; `None` if the provider issues no refresh token; Curfew logs that once.
    #[must_use]
    pub fn grant(
        &self,
        provider: &Provider,
        redeemed: &TokenResponse,
        now: Timestamp,
    ) -> Option<RefreshGrant> {
        let token = redeemed.refresh_token.as_ref();
        let token = token.filter(|token| token.expose().len() <= MAX_REFRESH_TOKEN_BYTES);
        let name = provider.name();
        self.notes.gives_tokens(name, token.is_some());
        if token.is_none() {
            self.metrics.revalidated(name, "no_refresh_token");
        }
        Some(RefreshGrant {
            token: token?.clone(),
            revalidation: session::Revalidation {
                registration: provider.registration(),
                confirmed: now,
                leased_until: Timestamp::default(),
                in_id_token: redeemed.in_id_token,
            },
        })
    }
}

/// What the worker needs of the current configuration.
pub struct Work {
    /// Ends and changes sessions.
    pub lifecycle: Lifecycle,
    /// Asks the providers; `None` where Curfew does not sign people in.
    pub login: Option<Arc<Login>>,
    /// Which sessions are due; `None` where revalidation is off.
    pub revalidation: Option<Revalidation>,
}

/// Asks about sessions that are due, until stopped. Every question that was started is finished before the process
/// stops. `work` tells the current configuration.
pub async fn run(work: impl Fn() -> Work, advice: Arc<Diagnostics>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let current = work();
        let revalidation = current.revalidation.as_ref();
        advice.set(SOURCE, revalidation.map_or_else(Vec::new, told));
        if let (Some(revalidation), Some(login)) = (revalidation, &current.login) {
            begin(&current.lifecycle, revalidation, login);
        }
        let noted = async {
            match revalidation {
                Some(revalidation) => revalidation.queue.noted().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = noted => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Begins as many questions as there may be at once.
fn begin(lifecycle: &Lifecycle, revalidation: &Revalidation, login: &Arc<Login>) {
    // The process stops.
    if lifecycle.tasks.is_closed() {
        return;
    }
    for place in revalidation.queue.take(lifecycle.clock.now()) {
        let question = Question {
            lifecycle: lifecycle.clone(),
            revalidation: revalidation.clone(),
            login: Arc::clone(login),
        };
        lifecycle.tasks.spawn(async move {
            question.ask(&place).await;
        });
    }
}

/// What the operator should know of the configured providers.
fn told(revalidation: &Revalidation) -> Vec<String> {
    let names = revalidation.providers.values().map(String::as_str);
    revalidation.notes.lines(names)
}

#[cfg(test)]
mod tests;
