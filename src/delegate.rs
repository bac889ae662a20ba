//! Delegated services: other authorization services that Curfew asks before it answers a check.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use crate::clock::Stopwatch;
use crate::credential::delegated::{AllowedResponse, DelegatedCheck, DelegatedService, SessionKey};
use crate::http_client::{http_client, read_body};
use crate::policy::HostPattern;
use crate::session::{DenyReason, PolicyName, Timestamp};
use crate::telemetry::Metrics;

/// The maximum size of a denial's body that Curfew relays from the service to the client. Curfew omits a larger body.
const MAX_DENIAL_BODY_BYTES: usize = 64 * 1024;

/// The headers of a denial that Curfew relays from the service to the client.
const RELAYED_HEADERS: [HeaderName; 3] = [LOCATION, SET_COOKIE, WWW_AUTHENTICATE];

/// The settings of a delegated service.
#[derive(Clone, Debug)]
pub struct DelegateSettings {
    /// Defines the requests to the service, and how to read its answers.
    pub service: DelegatedService,
    /// The address to which Curfew sends its requests.
    pub url: Url,
    /// PEM certificates of trusted authorities; `None` for the authorities of the system.
    pub authorities: Option<Vec<u8>>,
    /// Timeout for one request to the service.
    pub timeout: Duration,
    /// The hosts that the service answers for. If the list is empty, the service answers for all hosts that no other
    /// service names.
    pub hosts: Vec<HostPattern>,
    /// The home policy of the service's sessions, fixed at their start; `None` for the default policy.
    pub policy: Option<PolicyName>,
}

/// The client of a delegated service.
#[derive(Clone)]
pub struct Delegate {
    settings: Arc<DelegateSettings>,
    client: reqwest::Client,
    metrics: Arc<Metrics>,
}

/// The service's decision.
#[derive(Debug)]
pub enum DelegateDecision {
    /// The service allows the request, with this session.
    Allow(Box<(AllowedResponse, RelayedResponse)>),
    /// The service denies the request.
    Deny(DenyReason, Box<RelayedResponse>),
}

/// The part of a delegated service's answer that Curfew's reply contains.
#[derive(Clone, Default)]
pub struct RelayedResponse {
    /// The status of a denial: 302, 401 or 403.
    pub status: Option<StatusCode>,
    /// If the service allows the request: the configured headers and the cookies. If it denies the request: the
    /// redirect, the cookies and the challenge.
    pub headers: HeaderMap,
    /// The content type and the text of a denial.
    pub body: Option<(HeaderValue, String)>,
}

/// Shows only the status, because headers and bodies may contain secrets.
impl fmt::Debug for RelayedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayedResponse")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why the service gave no usable decision.
#[derive(Debug, thiserror::Error)]
enum DelegateError {
    #[error("{0}")]
    Http(String),
    #[error("unexpected status {0}")]
    Status(StatusCode),
    #[error("invalid answer: {0}")]
    UnusableResponse(#[from] crate::credential::delegated::UnusableResponse),
}

impl From<reqwest::Error> for DelegateError {
    fn from(error: reqwest::Error) -> Self {
        use std::error::Error;
        // The URL may contain a password.
        let error = error.without_url();
        let cause = error.source().map(|cause| format!(": {cause}"));
        Self::Http(format!("{error}{}", cause.unwrap_or_default()))
    }
}

impl Delegate {
    /// Creates the client of a service.
    ///
    /// # Errors
    /// [`reqwest::Error`] for invalid certificates.
    pub fn new(settings: DelegateSettings, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = http_client(settings.timeout, settings.authorities.as_deref())?;
        Ok(Self {
            settings: Arc::new(settings),
            client,
            metrics,
        })
    }

    /// Returns the service for a host: the first service that names the host, or else the service for all hosts.
    #[must_use]
    pub fn for_host<'a>(delegates: &'a [Self], host: &str) -> Option<&'a Self> {
        let names_host = |it: &&Self| {
            it.settings
                .hosts
                .iter()
                .any(|pattern| pattern.matches(host))
        };
        let serves_all_hosts = |it: &&Self| it.settings.hosts.is_empty();
        let mut all = delegates.iter();
        let named = all.clone().find(names_host);
        named.or_else(|| all.find(serves_all_hosts))
    }

    /// Defines the requests to the service, and how to read its answers.
    #[must_use]
    pub fn service(&self) -> &DelegatedService {
        &self.settings.service
    }

    /// The home policy of the service's sessions; `None` for the default policy.
    #[must_use]
    pub fn policy(&self) -> Option<&PolicyName> {
        self.settings.policy.as_ref()
    }

    /// Asks the service about a request. `cookie` is the cookie that identifies the session, if there is one.
    ///
    /// # Errors
    /// [`DenyReason::SourceUnavailable`] if the request fails or times out, or if the answer neither allows nor denies.
    pub async fn ask(
        &self,
        check: &DelegatedCheck<'_>,
        cookie: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<DelegateDecision, DenyReason> {
        let stopwatch = Stopwatch::start();
        let decision = self.try_ask(check, cookie, now).await;
        let name = &*self.service().name;
        let answer_label = match &decision {
            Ok(DelegateDecision::Allow(_)) => "allow",
            Ok(DelegateDecision::Deny(..)) => "deny",
            Err(_) => "error",
        };
        self.metrics
            .record_delegate_answer(name, answer_label, stopwatch.seconds());
        decision.map_err(|error| {
            tracing::warn!(service = name, %error, "no usable answer from a delegated service");
            DenyReason::SourceUnavailable
        })
    }

    async fn try_ask(
        &self,
        check: &DelegatedCheck<'_>,
        cookie: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<DelegateDecision, DelegateError> {
        let headers = self.service().request_headers(check, cookie);
        let is_anonymous = match self.service().key {
            SessionKey::Cookie { .. } => cookie.is_none(),
            _ => !headers.contains_key("cookie") && !headers.contains_key("authorization"),
        };
        let reason_without_session = if is_anonymous {
            DenyReason::NoCredential
        } else {
            DenyReason::InvalidCredential
        };
        let request = self.client.get(self.settings.url.clone()).headers(headers);
        let mut response = request.send().await?;
        let status = response.status();
        let reason = match status {
            StatusCode::FORBIDDEN => DenyReason::Forbidden,
            StatusCode::UNAUTHORIZED => reason_without_session,
            _ if status.is_redirection() && response.headers().contains_key(LOCATION) => {
                reason_without_session
            }
            _ if status.is_success() => {
                let headers = response.headers();
                return match self.service().interpret_response(cookie, headers, now) {
                    Ok(allowed) => {
                        let relayed_names =
                            self.service().passed_headers.iter().chain([&SET_COOKIE]);
                        let relayed = RelayedResponse {
                            headers: pick_headers(headers, relayed_names),
                            ..RelayedResponse::default()
                        };
                        Ok(DelegateDecision::Allow(Box::new((allowed, relayed))))
                    }
                    // Deny the request, although the service allows it: the service names no subject, and Curfew needs
                    // a session.
                    Err(_) if is_anonymous => Ok(DelegateDecision::Deny(
                        DenyReason::NoCredential,
                        Box::default(),
                    )),
                    Err(error) => Err(error.into()),
                };
            }
            _ => return Err(DelegateError::Status(status)),
        };
        let is_redirect = status.is_redirection();
        let mut relayed = RelayedResponse {
            status: Some(if is_redirect {
                StatusCode::FOUND
            } else {
                status
            }),
            headers: pick_headers(response.headers(), &RELAYED_HEADERS),
            body: None,
        };
        if !is_redirect && let Some(content_type) = response.headers().get(CONTENT_TYPE).cloned() {
            let body = read_body(&mut response, MAX_DENIAL_BODY_BYTES).await?;
            let text = body.and_then(|body| String::from_utf8(body).ok());
            relayed.body = text
                .filter(|text| !text.is_empty())
                .map(|text| (content_type, text));
        }
        Ok(DelegateDecision::Deny(reason, Box::new(relayed)))
    }
}

/// Returns the headers with these names.
fn pick_headers<'a>(
    headers: &HeaderMap,
    names: impl IntoIterator<Item = &'a HeaderName>,
) -> HeaderMap {
    let mut picked = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            picked.append(name.clone(), value.clone());
        }
    }
    picked
}
