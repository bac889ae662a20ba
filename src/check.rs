//! The one use case: a proxy asks, and is answered. Identify, load, decide, touch.

mod answer;
mod applicable;
mod delegated;
mod detail;
mod original;
pub mod recording;
mod request;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::clock::Stopwatch;
use crate::delegate::Delegate;
use crate::lifecycle::Lifecycle;
use crate::policy::{Activity, AddressHeader, Client, Contract, Rulebook};
use crate::revalidation::Revalidation;
use crate::session::{DenyReason, SessionId, Verdict};
use crate::sources::{CredentialError, Presented, ResolvedCredential, Sources};
use crate::telemetry::{DenialLog, NO_POLICY, Throttle, audit, traces};

use answer::Asked;
pub use applicable::{Decision, MatchError, RuleMatch};
pub use detail::Detail;
pub use original::{InvalidUrl, MalformedOriginal, OriginalUrl};
use recording::Recorder;
pub use request::{CheckRequest, ClientAddress, Original, Outcome};

/// Answers checks.
pub struct Checker {
    /// Where sessions are found, and ended.
    pub lifecycle: Lifecycle,
    /// What applies to which request.
    pub book: Arc<Rulebook>,
    /// Make the name of a session of a credential.
    pub sources: Sources,
    /// Finds the client's address.
    pub address: AddressHeader,
    /// The most time that one check spends on the store; it is answered nearly at once after that
    /// when the store has not answered.
    pub budget: Duration,
    /// The audit log, the recorder and the warnings. A change of the configuration keeps them.
    pub observers: Arc<Observers>,
    /// Whose identity providers are asked about sessions in use; `None` where none is.
    pub revalidation: Option<Revalidation>,
}

/// The records of checks besides metrics.
#[derive(Debug)]
pub struct Observers {
    /// Writes denials to the audit log.
    pub denials: DenialLog,
    /// Records what proxies send, while an operator wants it.
    pub recorder: Recorder,
    /// Bounds the warnings about proxies that are not set up well.
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
    /// Answers one check; counts and audits the answer.
    pub async fn check(&self, request: &CheckRequest<'_>) -> Outcome {
        let span = traces::check(request.contract.as_str(), request.headers);
        if span.is_disabled() {
            return self.find_answer(request).await;
        }
        self.find_answer(request).instrument(span).await
    }

    /// Answers a check for which there is no time; counts the answer.
    #[must_use]
    pub fn shed(&self, request: &CheckRequest<'_>) -> Outcome {
        let outcome = Outcome::deny(DenyReason::Overloaded);
        let contract = request.contract.as_str();
        let metrics = &self.lifecycle.metrics;
        metrics.check(contract, NO_POLICY, outcome.verdict, 0.0);
        outcome
    }

    async fn find_answer(&self, request: &CheckRequest<'_>) -> Outcome {
        let stopwatch = Stopwatch::start();
        let ruling = self.ruling(request);
        let (id, outcome) = match &ruling {
            Ok((ruling, _)) if ruling.public => (None, Outcome::PUBLIC),
            Ok((ruling, original)) => match self.identify(request, original).await {
                Ok(identified) => {
                    let id = identified.id;
                    let asked = Asked {
                        activity: None,
                        request,
                        original,
                        ruling,
                        identified,
                    };
                    let outcome = self.answer(&asked, id).await;
                    (Some(id), asked.identified.complete(outcome))
                }
                Err(refused) => (None, *refused),
            },
            Err(detail) => (None, Outcome::malformed(*detail)),
        };
        self.tell(
            request,
            ruling.ok().map(|(ruling, _)| ruling),
            id,
            &outcome,
            stopwatch,
        );
        outcome
    }

    /// Looks at the session of a request that is for Curfew itself, whatever the rules call public or
    /// passive: `activity` says whether it counts. Not a check, and not counted as one.
    pub async fn evaluate_passively(
        &self,
        request: &CheckRequest<'_>,
        activity: Activity,
    ) -> Outcome {
        let (ruling, original) = match self.ruling(request) {
            Ok(found) => found,
            Err(detail) => return Outcome::malformed(detail),
        };
        let identified = match self.identify(request, &original).await {
            Ok(identified) => identified,
            Err(refused) => return *refused,
        };
        let id = identified.id;
        let asked = Asked {
            activity: Some(activity),
            request,
            original: &original,
            ruling: &ruling,
            identified,
        };
        let outcome = self.answer(&asked, id).await;
        asked.identified.complete(outcome)
    }

    /// Counts and audits an answer.
    fn tell(
        &self,
        request: &CheckRequest<'_>,
        ruling: Option<RuleMatch<'_>>,
        id: Option<SessionId>,
        outcome: &Outcome,
        stopwatch: Stopwatch,
    ) {
        let asked = ruling.filter(|ruling| !ruling.public);
        let policy = match (asked.and_then(|ruling| ruling.asked()), &outcome.session) {
            (Some(name), _) => name.as_str(),
            (None, Some((_, session))) => session.policy.as_str(),
            (None, None) => NO_POLICY,
        };
        self.lifecycle.metrics.check(
            request.contract.as_str(),
            policy,
            outcome.verdict,
            stopwatch.seconds(),
        );
        traces::answered(policy, outcome.verdict.as_str());
        if self.observers.recorder.is_running() {
            let now = self.lifecycle.clock.now();
            self.observers.recorder.note(request, outcome, now);
        }
        if let Verdict::Deny(reason) = outcome.verdict {
            self.warn(request.contract, outcome.detail);
            let found = outcome.session.as_ref();
            let original = request.original.as_ref().ok();
            let detail = outcome.detail.map(|detail| detail.to_string());
            let denied = audit::Denied {
                contract: request.contract.as_str(),
                session: id,
                subject: found.map(|(_, session)| session.subject.as_str()),
                address: self.client_address(request),
                host: original.map(|original| original.url.host),
                path: original.map(|original| original.url.path),
                method: original.map(|original| original.method.as_str()),
                rule: ruling.and_then(|ruling| ruling.rule.map(|rule| rule.index)),
                peer: request.peer,
                detail: detail.as_deref(),
            };
            let now = self.lifecycle.clock.now();
            self.observers.denials.note(&denied, reason, now);
        }
    }

    /// What applies to the request.
    fn ruling<'a>(
        &'a self,
        request: &CheckRequest<'a>,
    ) -> Result<(RuleMatch<'a>, Original<'a>), Detail> {
        let original = request.original?;
        let CheckRequest {
            contract,
            policy,
            headers,
            ..
        } = *request;
        match RuleMatch::on(&self.book, contract, policy, &original, headers) {
            Ok(ruling) => Ok((ruling, original)),
            Err(undecidable) => Err(undecidable.detail(contract, original.url.path)),
        }
    }

    /// Tells the operator what is wrong with a proxy's checks, once a minute.
    pub(crate) fn warn(&self, contract: Contract, detail: Option<Detail>) {
        let Some(detail) = detail.filter(|detail| detail.is_set_up()) else {
            return;
        };
        if self.observers.warnings.admits((contract, detail)) {
            tracing::warn!(%contract, %detail, "a proxy is not set up well");
        }
    }

    /// The session that the request's credential names; or the answer where it names none.
    async fn identify(
        &self,
        request: &CheckRequest<'_>,
        original: &Original<'_>,
    ) -> Result<ResolvedCredential<'_>, Box<Outcome>> {
        let identified = match self.sources.present(request.headers) {
            Ok(Presented::Ours(id)) => return Ok(ResolvedCredential::ours(id)),
            Ok(Presented::Jwt(text)) => {
                let identifying = self.sources.identify_jwt(text, &*self.lifecycle.clock);
                let identified = tokio::time::timeout(self.budget, identifying).await;
                // An issuer's keys are on their way.
                let late = CredentialError::Refused(DenyReason::SourceUnavailable);
                identified.unwrap_or(Err(late))
            }
            Err(unidentified) => Err(unidentified),
        };
        let unidentified = match identified {
            Ok(identified) => return Ok(identified),
            Err(unidentified) => unidentified,
        };
        let delegate = match unidentified {
            CredentialError::Refused(_) | CredentialError::NoAuthTime => None,
            CredentialError::Nothing | CredentialError::Foreign => {
                Delegate::of(&self.sources.delegates, original.url.host)
            }
        };
        match (delegate, unidentified) {
            (Some(delegate), _) => self.ask(delegate, request, original).await,
            (None, CredentialError::Refused(DenyReason::MalformedRequest)) => {
                Err(Box::new(self.two_credentials(request)))
            }
            (None, CredentialError::NoAuthTime) => {
                Err(Box::new(Outcome::malformed(Detail::NoAuthTime)))
            }
            (None, unidentified) => Err(Box::new(Outcome::deny(unidentified.into()))),
        }
    }

    /// Denies a request with several credentials that differ.
    fn two_credentials(&self, request: &CheckRequest<'_>) -> Outcome {
        let cookies = self.sources.ambiguous_cookies(request.headers);
        Outcome::malformed(match cookies.is_empty() {
            true => Detail::TwoCredentials,
            false => Detail::TwoCookies,
        })
    }

    /// Who sends a request.
    #[must_use]
    pub fn client(&self, request: &CheckRequest<'_>) -> Client {
        Client::new(self.client_address(request), request.headers)
    }

    /// The address of the client, where the proxy tells it.
    #[must_use]
    pub fn client_address(&self, request: &CheckRequest<'_>) -> Option<IpAddr> {
        match request.address {
            ClientAddress::Told(address) => address,
            ClientAddress::InHeader => self.address.read(request.headers),
        }
    }
}

#[cfg(test)]
mod tests;
