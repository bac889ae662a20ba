use std::sync::Arc;
use std::time::Duration;

use super::Revalidation;
use super::queue::Slot;
use crate::actor::Actor;
use crate::clock::Clock;
use crate::lifecycle::{LeasedSession, Lifecycle, Renewal, RenewalOutcome};
use crate::login::{
    Login, LoginError, MAX_REFRESH_TOKEN_BYTES, Provider, RefreshAnswer, SubjectUpdate,
};
use crate::session::SessionId;
use crate::store::StoreError;
use crate::telemetry::audit;

/// The maximum number of sequential requests of one task: metadata, keys, token, again metadata and keys (if the ID
/// token names an unknown key), and UserInfo.
const MAX_REQUESTS: u32 = 6;
/// The part of the lease that is reserved for storing the answer. The lease is the time in which only this replica
/// asks the provider about the session.
const STORE_MARGIN: Duration = Duration::from_secs(10);

/// The revalidation of one session.
pub(super) struct RevalidationTask {
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) revalidation: Revalidation,
    pub(super) login: Arc<Login>,
}

impl RevalidationTask {
    /// Asks the provider about a session, and applies the answer.
    pub(super) async fn run(&self, slot: &Slot) {
        let mut providers = self.login.providers.values();
        let provider = providers.find(|it| it.registration() == slot.registration);
        // A reload of the configuration can have removed the provider.
        let Some(provider) = provider else { return };
        let lease = provider.settings.timeout * MAX_REQUESTS + STORE_MARGIN;
        let interval = self.revalidation.interval;
        let leased = self.lifecycle.lease_revalidation(slot.id, interval, lease);
        let leased = match leased.await {
            Ok(Some(leased)) => leased,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, session = %slot.id, "could not reserve a revalidation for this replica");
                return;
            }
        };
        let now = self.clock.now();
        let (token, due) = (&leased.refresh_token, leased.revalidation);
        let answer = provider.refresh(token, &leased.session, due, now).await;
        let problem = self.apply_answer(provider, slot.id, leased, answer).await;
        let now = self.clock.now();
        let queue = &self.revalidation.queue;
        queue.record_result(slot.registration, problem.is_none(), now);
        self.revalidation
            .provider_diagnostics
            .record_problem(provider.name(), problem);
    }

    /// Applies and counts an answer. If the answer neither confirms nor refuses the subject, returns the cause.
    async fn apply_answer(
        &self,
        provider: &Provider,
        id: SessionId,
        leased: LeasedSession,
        answer: RefreshAnswer,
    ) -> Option<String> {
        let metrics = &self.revalidation.metrics;
        let count = |result| metrics.count_revalidation(provider.name(), result);
        if self.clock.now() >= leased.revalidation.leased_until {
            // Another replica may have taken the lease, and only the answer to that replica may be stored.
            count("late");
            return Some("the answer arrived too late".to_owned());
        }
        let (rotated, update) = match answer {
            RefreshAnswer::Granted { rotated, update } => (rotated, update),
            RefreshAnswer::Refused(error) => {
                self.end(provider, id, &leased, "refused", error).await;
                return None;
            }
            RefreshAnswer::Failed(error) => {
                count(result_label(&error));
                return Some(error.to_string());
            }
        };
        let rotated = rotated.filter(|it| it.expose().len() <= MAX_REFRESH_TOKEN_BYTES);
        let (attributes, problem) = match update {
            SubjectUpdate::OtherSubject => {
                let reason = "other_subject";
                self.end(provider, id, &leased, reason, reason).await;
                return None;
            }
            SubjectUpdate::NoClaims => (None, None),
            SubjectUpdate::Attributes(attributes) => (Some(attributes), None),
            SubjectUpdate::Unusable(error) => (None, Some(error)),
        };
        let renewal = Renewal {
            new_refresh_token: rotated,
            confirmed: problem.is_none(),
            attributes,
        };
        let actor = provider_actor(provider);
        let stored = self
            .lifecycle
            .store_renewal(id, leased, renewal, &actor)
            .await;
        count(match (&problem, stored) {
            (Some(error), _) => result_label(error),
            (None, Ok(RenewalOutcome::Unchanged)) => "ok",
            (None, Ok(RenewalOutcome::Changed)) => "changed",
            (None, Ok(RenewalOutcome::NotStored)) => "late",
            (None, Err(error)) => {
                tracing::warn!(%error, session = %id, "could not store the answer of an identity provider");
                "not_kept"
            }
        });
        problem.map(|error| error.to_string())
    }

    /// Ends a session because the provider refused its subject or named another subject.
    async fn end(
        &self,
        provider: &Provider,
        id: SessionId,
        leased: &LeasedSession,
        result: &str,
        reason: &'static str,
    ) {
        let actor = provider_actor(provider);
        let ended = self.lifecycle.revoke(id, &actor).await;
        self.revalidation
            .metrics
            .count_revalidation(provider.name(), result);
        audit::provider_refused(id, &leased.session, provider.name(), reason, &actor);
        if let Err(error) = ended.map(drop) {
            log_retry(id, &error);
        }
    }
}

/// Logs that a session could not be ended. After the end of the lease, a replica asks the provider again, and gets
/// the same answer.
fn log_retry(id: SessionId, error: &StoreError) {
    tracing::warn!(%error, session = %id, "could not end a session that its identity provider refused; retrying");
}

fn provider_actor(provider: &Provider) -> Actor {
    Actor::provider(&provider.settings.issuer.issuer.issuer, None)
}

/// Returns the metric label for a failed request.
const fn result_label(error: &LoginError) -> &'static str {
    match error {
        LoginError::Unavailable(_) => "unavailable",
        LoginError::Refused(_) => "client_refused",
        LoginError::Invalid(_) | LoginError::NoMatchingAttempt(_) => "invalid",
    }
}
