//! Answers checks: identifies the session, loads the session, decides, and records the activity.

mod answer;
mod applicable;
mod delegated;
mod detail;
mod original;
pub mod recording;
mod request;
mod stream;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::clock::{Clock, Stopwatch};
use crate::delegate::Delegate;
use crate::lifecycle::{LastKnownSessions, Lifecycle};
use crate::policy::{Activity, AddressHeader, Client, Contract, Rulebook};
use crate::revalidation::Revalidation;
use crate::session::{DenyReason, SessionId, Timestamp, Verdict};
use crate::sources::{CredentialError, FoundCredential, ResolvedCredential, Sources};
use crate::store::Stores;
use crate::telemetry::{DenialLog, Metrics, NO_POLICY, Throttle, audit, traces};

use answer::CheckContext;
pub use applicable::{MatchError, RuleMatch};
pub use detail::Detail;
pub use original::{InvalidUrl, MalformedOriginal, OriginalUrl};
use recording::Recorder;
pub use request::{CheckRequest, ClientAddress, Original, Outcome};
pub use stream::{StreamRegistry, match_stream};

/// Answers the checks of all contracts (the ways in which proxies send checks).
pub struct Checker {
    /// Loads and ends sessions.
    pub lifecycle: Lifecycle,
    /// The session records, and the cut-offs (all sessions of a subject that started before its cut-off have ended).
    pub stores: Stores,
    /// The clock of decision time, the common time of all replicas.
    pub clock: Arc<dyn Clock>,
    /// Counts checks.
    pub metrics: Arc<Metrics>,
    /// The sessions that a check may use while the store is unavailable.
    pub last_known_sessions: Arc<LastKnownSessions>,
    /// The rules and policies.
    pub rulebook: Arc<Rulebook>,
    /// Resolves a credential to a session ID.
    pub sources: Sources,
    /// Reads the client's address from the headers of the proxy.
    pub address: AddressHeader,
    /// The maximum time that one check waits for the store. After this time, the policy's `on_store_failure` decides.
    pub store_timeout: Duration,
    /// Writes denials to the audit log, records checks, and reports misconfigured proxies. After a reload of the
    /// configuration, the new checker uses the same observers.
    pub observers: Arc<Observers>,
    /// Queues sessions in use for revalidation; `None` if `login.revalidate` is off.
    pub revalidation: Option<Revalidation>,
    /// The registry of open streams, with its limits.
    pub stream_registry: StreamRegistry,
}

/// The outputs of a check besides metrics.
#[derive(Debug)]
pub struct Observers {
    /// Writes denials to the audit log.
    pub denials: DenialLog,
    /// Records checks as proxies send them, after an operator has started a recording.
    pub recorder: Recorder,
    /// Limits the log lines about a misconfigured proxy: one per minute for each contract and detail.
    warnings: Throttle<(Contract, Detail)>,
}

impl Default for Observers {
    fn default() -> Self {
        Self {
            denials: DenialLog::default(),
            recorder: Recorder::default(),
            warnings: Throttle::new(Duration::from_secs(60)),
        }
    }
}

impl Checker {
    /// Answers one check, counts it, and writes a denial to the audit log.
    pub async fn check(&self, request: &CheckRequest<'_>) -> Outcome {
        let span = traces::check_span(request.contract.as_str(), request.headers);
        if span.is_disabled() {
            return self.find_answer(request).await;
        }
        self.find_answer(request).instrument(span).await
    }

    /// Denies a check that got no permit, with the reason `overloaded`, and counts it.
    #[must_use]
    pub fn shed(&self, request: &CheckRequest<'_>) -> Outcome {
        let outcome = Outcome::deny(DenyReason::Overloaded);
        let contract = request.contract.as_str();
        let metrics = &self.metrics;
        metrics.record_check(contract, NO_POLICY, outcome.verdict, 0.0);
        outcome
    }

    async fn find_answer(&self, request: &CheckRequest<'_>) -> Outcome {
        let stopwatch = Stopwatch::start();
        let rule_match = self.match_rule(request, Some(self.clock.now()));
        let (id, outcome) = match &rule_match {
            Ok((rule_match, _)) if rule_match.public => (None, Outcome::PUBLIC),
            Ok((rule_match, original)) => match self.identify(request, original).await {
                Ok(credential) => {
                    let id = credential.id;
                    let context = CheckContext {
                        activity: None,
                        request,
                        original,
                        rule_match,
                        credential,
                    };
                    let outcome = self.answer(&context, id).await;
                    (Some(id), context.credential.complete_outcome(outcome))
                }
                Err(refused) => (None, *refused),
            },
            Err(detail) => (None, Outcome::deny_with_detail(*detail)),
        };
        self.record(
            request,
            rule_match.as_ref().ok().map(|(rule_match, _)| rule_match),
            id,
            &outcome,
            stopwatch,
        );
        outcome
    }

    /// Evaluates the session for a request to Curfew itself, such as a request for the session's status. The metrics do
    /// not count it as a check. The configured rules are for requests to the application. So the caller, not a rule,
    /// decides whether the request counts as activity, and the request needs a session even if a rule makes it public.
    pub async fn evaluate_passively(
        &self,
        request: &CheckRequest<'_>,
        activity: Activity,
    ) -> Outcome {
        let (rule_match, original) = match self.match_rule(request, None) {
            Ok(found) => found,
            Err(detail) => return Outcome::deny_with_detail(detail),
        };
        let credential = match self.identify(request, &original).await {
            Ok(credential) => credential,
            Err(refused) => return *refused,
        };
        let id = credential.id;
        let context = CheckContext {
            activity: Some(activity),
            request,
            original: &original,
            rule_match: &rule_match,
            credential,
        };
        let outcome = self.answer(&context, id).await;
        context.credential.complete_outcome(outcome)
    }

    /// Counts and records an answer, and writes a denial to the audit log.
    fn record(
        &self,
        request: &CheckRequest<'_>,
        rule_match: Option<&RuleMatch<'_>>,
        id: Option<SessionId>,
        outcome: &Outcome,
        stopwatch: Stopwatch,
    ) {
        let protected = rule_match.filter(|rule_match| !rule_match.public);
        let policy = match (
            protected.and_then(|rule_match| rule_match.requested_policy()),
            &outcome.session,
        ) {
            (Some(name), _) => name.as_str(),
            (None, Some((_, session))) => session.policy.as_str(),
            (None, None) => NO_POLICY,
        };
        self.metrics.record_check(
            request.contract.as_str(),
            policy,
            outcome.verdict,
            stopwatch.seconds(),
        );
        traces::record_answer(policy, outcome.verdict.as_str());
        if self.observers.recorder.is_running() {
            let now = self.clock.now();
            self.observers.recorder.record(request, outcome, now);
        }
        if let Verdict::Deny(reason) = outcome.verdict {
            self.warn(request.contract, outcome.detail);
            let found = outcome.session.as_ref();
            let original = request.original.as_ref().ok();
            let detail = outcome.detail.map(|detail| detail.to_string());
            let denied = audit::DeniedRequest {
                contract: request.contract.as_str(),
                session: id,
                subject: found.map(|(_, session)| session.subject.as_str()),
                address: self.client_address(request),
                host: original.map(|original| original.url.host),
                path: original.map(|original| original.url.path),
                method: original.map(|original| original.method.as_str()),
                rule: rule_match.and_then(|rule_match| rule_match.rule.map(|rule| rule.index)),
                peer: request.peer,
                detail: detail.as_deref(),
            };
            let now = self.clock.now();
            self.observers.denials.record(&denied, reason, now);
        }
    }

    /// Finds the rule and the policies that apply to the request. `check` is the time of a check of a proxy; `None` for a
    /// request to Curfew's own pages, which shows nothing about a route.
    fn match_rule<'a>(
        &'a self,
        request: &CheckRequest<'a>,
        check: Option<Timestamp>,
    ) -> Result<(RuleMatch<'a>, Original<'a>), Detail> {
        let original = request.original?;
        let CheckRequest {
            contract,
            policy,
            headers,
            ..
        } = *request;
        let rulebook = &self.rulebook;
        match RuleMatch::find_for_check(rulebook, contract, policy, &original, headers, check) {
            Ok(rule_match) => Ok((rule_match, original)),
            Err(error) => Err(error.detail(contract, original.url.path)),
        }
    }

    /// Logs that a proxy is misconfigured, at most once a minute for each contract and detail.
    pub(crate) fn warn(&self, contract: Contract, detail: Option<Detail>) {
        let Some(detail) = detail.filter(|detail| detail.is_proxy_mistake()) else {
            return;
        };
        if self.observers.warnings.admits((contract, detail)) {
            tracing::warn!(%contract, %detail, "proxy misconfigured");
        }
    }

    /// Finds the session of the request's credential. The error is the complete denial.
    async fn identify(
        &self,
        request: &CheckRequest<'_>,
        original: &Original<'_>,
    ) -> Result<ResolvedCredential<'_>, Box<Outcome>> {
        let credential = match self.sources.find_credential(request.headers) {
            Ok(FoundCredential::Own(id)) => return Ok(ResolvedCredential::of_own_token(id)),
            Ok(FoundCredential::Jwt(text)) => {
                let identifying = self.sources.resolve_jwt(text, &*self.clock);
                let credential = tokio::time::timeout(self.store_timeout, identifying).await;
                // A timeout means that the issuer's keys are still being fetched.
                let timeout = CredentialError::Refused(DenyReason::SourceUnavailable);
                credential.unwrap_or(Err(timeout))
            }
            Err(error) => Err(error),
        };
        let error = match credential {
            Ok(credential) => return Ok(credential),
            Err(error) => error,
        };
        let delegate = match error {
            CredentialError::Refused(_) | CredentialError::NoAuthTime => None,
            CredentialError::Missing | CredentialError::Foreign => {
                Delegate::for_host(&self.sources.delegates, original.url.host)
            }
        };
        match (delegate, error) {
            (Some(delegate), _) => self.ask_delegate(delegate, request, original).await,
            (None, CredentialError::Refused(DenyReason::MalformedRequest)) => {
                Err(Box::new(self.deny_two_credentials(request)))
            }
            (None, CredentialError::NoAuthTime) => {
                Err(Box::new(Outcome::deny_with_detail(Detail::NoAuthTime)))
            }
            (None, error) => Err(Box::new(Outcome::deny(error.into()))),
        }
    }

    /// Denies a request with two different credentials.
    fn deny_two_credentials(&self, request: &CheckRequest<'_>) -> Outcome {
        let cookies = self.sources.ambiguous_cookies(request.headers);
        Outcome::deny_with_detail(match cookies.is_empty() {
            true => Detail::TwoCredentials,
            false => Detail::TwoCookies,
        })
    }

    /// Returns the address and the user agent of the client.
    #[must_use]
    pub fn client(&self, request: &CheckRequest<'_>) -> Client {
        Client::new(self.client_address(request), request.headers)
    }

    /// Returns the address of the client; `None` if the proxy does not send it.
    #[must_use]
    pub fn client_address(&self, request: &CheckRequest<'_>) -> Option<IpAddr> {
        match request.address {
            ClientAddress::InField(address) => address,
            ClientAddress::InHeader => self.address.read(request.headers),
        }
    }
}

#[cfg(test)]
mod tests;
