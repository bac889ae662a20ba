//! Other authorization services, which are asked before Curfew answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use crate::clock::Stopwatch;
use crate::credential::delegated::{Allowed, Delegated, Question, SessionKey};
use crate::http_client::{http_client, read_body};
use crate::policy::HostPattern;
use crate::session::{DenyReason, PolicyName, Timestamp};
use crate::telemetry::Metrics;

/// The most bytes of a denial that is handed on.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What of a denial is handed on besides its status and its body.
const HANDED_ON: [HeaderName; 3] = [LOCATION, SET_COOKIE, WWW_AUTHENTICATE];

/// How another authorization service is asked.
#[derive(Clone, Debug)]
pub struct DelegateSettings {
    /// How its answers are read.
    pub delegated: Delegated,
    /// Where it is asked.
    pub url: Url,
    /// PEM certificates of the authorities to trust; the system's where there are none.
    pub authorities: Option<Vec<u8>>,
    /// The most time for one question.
    pub timeout: Duration,
    /// For which hosts it is asked; for all that no other service is for where there are none.
    pub hosts: Vec<HostPattern>,
    /// The home policy of the sessions that it allows; `None` for the default one.
    pub policy: Option<PolicyName>,
}

/// Another authorization service.
#[derive(Clone)]
pub struct Delegate {
    settings: Arc<DelegateSettings>,
    client: reqwest::Client,
    metrics: Arc<Metrics>,
}

/// What the service says.
#[derive(Debug)]
pub enum Diagnostics {
    /// The request may pass, on this session.
    Allow(Box<(Allowed, Relayed)>),
    /// It may not.
    Deny(DenyReason, Box<Relayed>),
}

/// What of another service's answer becomes a part of ours.
#[derive(Clone, Default)]
pub struct Relayed {
    /// Of a denial: 302, 401 or 403.
    pub status: Option<StatusCode>,
    /// Headers.
    pub headers: HeaderMap,
    /// Of a denial: the text, and its type.
    pub body: Option<(HeaderValue, String)>,
}

/// Headers and bodies may hold secrets.
impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relayed")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why nothing is known of a request.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Http(String),
    #[error("it answers with {0}")]
    Status(StatusCode),
    #[error("it allows a request, but {0}")]
    Unusable(#[from] crate::credential::delegated::Unusable),
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        use std::error::Error;
        // The address may hold a password.
        let error = error.without_url();
        let cause = error.source().map(|cause| format!(": {cause}"));
        Self::Http(format!("{error}{}", cause.unwrap_or_default()))
    }
}

impl Delegate {
    /// A service by these settings.
    ///
    /// # Errors
    /// [`reqwest::Error`] when the authorities can't be read.
    pub fn new(settings: DelegateSettings, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = http_client(settings.timeout, settings.authorities.as_deref())?;
        Ok(Self {
            settings: Arc::new(settings),
            client,
            metrics,
        })
    }

    /// The service to ask about a host: the first that is for it, or else one that is for all.
    #[must_use]
    pub fn of<'a>(delegates: &'a [Self], host: &str) -> Option<&'a Self> {
        let named = |it: &&Self| {
            it.settings
                .hosts
                .iter()
                .any(|pattern| pattern.matches(host))
        };
        let rest = |it: &&Self| it.settings.hosts.is_empty();
        let mut all = delegates.iter();
        let named = all.clone().find(named);
        named.or_else(|| all.find(rest))
    }

    /// How its answers are read.
    #[must_use]
    pub fn delegated(&self) -> &Delegated {
        &self.settings.delegated
    }

    /// The home policy of its sessions.
    #[must_use]
    pub fn policy(&self) -> Option<&PolicyName> {
        self.settings.policy.as_ref()
    }

    /// Asks about a request, with this cookie where a cookie names the session.
    ///
    /// # Errors
    /// [`DenyReason::SourceUnavailable`] when it does not answer in time, or nothing that says yes or
    /// no.
    pub async fn ask(
        &self,
        question: &Question<'_>,
        cookie: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Diagnostics, DenyReason> {
        let stopwatch = Stopwatch::start();
        let advice = self.try_ask(question, cookie, now).await;
        let name = &*self.delegated().name;
        let word = match &advice {
            Ok(Diagnostics::Allow(_)) => "allow",
            Ok(Diagnostics::Deny(..)) => "deny",
            Err(_) => "error",
        };
        self.metrics.delegate_asked(name, word, stopwatch.seconds());
        advice.map_err(|trouble| {
            tracing::warn!(service = name, %trouble, "a check could not be answered: another service was to be asked");
            DenyReason::SourceUnavailable
        })
    }

    async fn try_ask(
        &self,
        question: &Question<'_>,
        cookie: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Diagnostics, Trouble> {
        let headers = self.delegated().ask(question, cookie);
        let anonymous = match self.delegated().key {
            SessionKey::Cookie { .. } => cookie.is_none(),
            _ => !headers.contains_key("cookie") && !headers.contains_key("authorization"),
        };
        let unnamed = if anonymous {
            DenyReason::NoCredential
        } else {
            DenyReason::InvalidCredential
        };
        let asked = self.client.get(self.settings.url.clone()).headers(headers);
        let mut answer = asked.send().await?;
        let status = answer.status();
        let reason = match status {
            StatusCode::FORBIDDEN => DenyReason::Forbidden,
            StatusCode::UNAUTHORIZED => unnamed,
            _ if status.is_redirection() && answer.headers().contains_key(LOCATION) => unnamed,
            _ if status.is_success() => {
                let headers = answer.headers();
                return match self.delegated().read(cookie, headers, now) {
                    Ok(allowed) => {
                        let passed = self.delegated().pass.iter().chain([&SET_COOKIE]);
                        let relayed = Relayed {
                            headers: picked(headers, passed),
                            ..Relayed::default()
                        };
                        Ok(Diagnostics::Allow(Box::new((allowed, relayed))))
                    }
                    // It lets somebody pass whom nobody knows.
                    Err(_) if anonymous => {
                        Ok(Diagnostics::Deny(DenyReason::NoCredential, Box::default()))
                    }
                    Err(unusable) => Err(unusable.into()),
                };
            }
            _ => return Err(Trouble::Status(status)),
        };
        let redirect = status.is_redirection();
        let mut relayed = Relayed {
            status: Some(if redirect { StatusCode::FOUND } else { status }),
            headers: picked(answer.headers(), &HANDED_ON),
            body: None,
        };
        if !redirect && let Some(kind) = answer.headers().get(CONTENT_TYPE).cloned() {
            let body = read_body(&mut answer, MAX_ANSWER_BYTES).await?;
            let text = body.and_then(|body| String::from_utf8(body).ok());
            relayed.body = text
                .filter(|text| !text.is_empty())
                .map(|text| (kind, text));
        }
        Ok(Diagnostics::Deny(reason, Box::new(relayed)))
    }
}

/// Some of the headers.
fn picked<'a>(headers: &HeaderMap, names: impl IntoIterator<Item = &'a HeaderName>) -> HeaderMap {
    let mut picked = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            picked.append(name.clone(), value.clone());
        }
    }
    picked
}
