//! Sources resolve a credential to a session ID, without a request to the store.
//!
//! Curfew looks for its own tokens first, then for tokens of identity providers. For a request without such a token,
//! Curfew asks the delegated service of the host, if there is one ([`Delegate`]).

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::clock::Clock;
use crate::credential::jwt::{InvalidJwt, Issuer, KeySet, unverified_issuer};
use crate::credential::{CredentialExtractor, KeyRing, PresentedCredential, cookie_values};
use crate::delegate::{Delegate, RelayedResponse};
use crate::jwks::IssuerKeys;
use crate::policy::{MaxAge, Policies};
use crate::session::{Attributes, DenyReason, PolicyName, SessionId, Subject, Timestamp};
use crate::store::LimitsBySource;

/// The configured sources.
#[derive(Clone)]
pub struct Sources {
    /// Finds the credential in a request.
    pub extractor: CredentialExtractor,
    /// Verifies Curfew's own tokens.
    pub key_ring: Arc<KeyRing>,
    /// The identity providers whose tokens are accepted.
    pub jwt: Vec<JwtSource>,
    /// The delegated services.
    pub delegates: Vec<Delegate>,
}

/// An identity provider whose tokens are credentials.
#[derive(Clone)]
pub struct JwtSource {
    /// The requirements for the provider's tokens.
    pub issuer: Issuer,
    /// The keys that verify its tokens.
    pub keys: Arc<IssuerKeys>,
    /// The home policy of the sessions that these tokens start; `None` for the default policy.
    pub policy: Option<PolicyName>,
}

/// A verified credential.
#[derive(Clone, Debug)]
pub struct ResolvedCredential<'a> {
    /// The session ID of the credential.
    pub id: SessionId,
    /// The data for a new session; `None` for a token of Curfew.
    pub external: Option<ExternalIdentity<'a>>,
    /// The headers and the body that the reply takes from the delegated service's answer.
    pub relayed_response: Option<Box<RelayedResponse>>,
    /// The `Set-Cookie` value that clears the delegated service's cookie, if one is configured.
    pub removal_cookie: Option<&'a HeaderValue>,
    /// Whether another issuer issued the credential. Such a credential can still be valid after its session has
    /// ended.
    pub is_external: bool,
}

/// The data for a new session from a credential of another issuer.
#[derive(Clone, Debug)]
pub struct ExternalIdentity<'a> {
    /// The issuer of the credential.
    pub issuer: ExternalIssuer<'a>,
    /// The person or program that signed in.
    pub subject: Subject,
    /// Groups and other claims of the subject.
    pub attributes: Attributes,
    /// The time of the sign-in, or of the first request if the credential does not contain the time of the sign-in.
    pub started: Timestamp,
    /// The maximum age of the authentication for a new session; `None` if there is no such limit.
    pub freshness: Option<AuthenticationFreshness>,
    /// The expiry of the credential.
    pub expires: Timestamp,
    /// The home policy; `None` for the default policy.
    pub policy: Option<&'a PolicyName>,
}

/// An issuer of credentials other than Curfew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalIssuer<'a> {
    /// An issuer of JSON Web Tokens, with its `iss`.
    Issuer(&'a str),
    /// A delegated service, with its name in the configuration.
    Service(&'a str),
}

impl fmt::Display for ExternalIssuer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer(issuer) => write!(f, "jwt {issuer}"),
            Self::Service(name) => write!(f, "delegated {name}"),
        }
    }
}

/// The maximum age of an authentication that may start a session.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticationFreshness {
    /// The configured maximum age.
    pub max_age: MaxAge,
    /// The time of the authentication, if the credential contains it.
    pub authenticated: Option<Timestamp>,
}

/// The credential of a request.
#[derive(Clone, Copy, Debug)]
pub enum FoundCredential<'a> {
    /// The session ID of a verified token of Curfew.
    Own(SessionId),
    /// An unverified text that can be a JWT of an identity provider.
    Jwt(&'a str),
}

/// Why Curfew cannot resolve the credential of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialError {
    /// The request has no credential.
    Missing,
    /// The request has a token of an unknown issuer, which may be meant for the application.
    Foreign,
    /// The credential is invalid, ambiguous, or cannot be verified now.
    Refused(DenyReason),
    /// The token does not contain the time of the sign-in.
    NoAuthTime,
}

impl From<CredentialError> for DenyReason {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Missing => Self::NoCredential,
            CredentialError::Foreign | CredentialError::NoAuthTime => Self::InvalidCredential,
            CredentialError::Refused(reason) => reason,
        }
    }
}

impl ResolvedCredential<'_> {
    /// Resolves a token of Curfew.
    #[must_use]
    pub const fn of_own_token(id: SessionId) -> Self {
        Self {
            id,
            external: None,
            relayed_response: None,
            removal_cookie: None,
            is_external: false,
        }
    }
}

impl Sources {
    /// Returns the absolute limit for the sessions of each issuer. The result is the limit of the policy itself,
    /// because the variants (limits for groups) can only shorten it.
    #[must_use]
    pub fn absolute_limits(&self, policies: &Policies) -> LimitsBySource {
        let issuers = self.jwt.iter();
        let issuers = issuers.map(|it| {
            (
                ExternalIssuer::Issuer(&it.issuer.issuer),
                it.policy.as_ref(),
            )
        });
        let services = self.delegates.iter();
        let services =
            services.map(|it| (ExternalIssuer::Service(&it.service().name), it.policy()));
        let limits = issuers.chain(services).map(|(issuer, policy)| {
            let name = policy.unwrap_or_else(|| policies.default_name());
            let policy = policies.get(name.as_str());
            let policy = policy.map_or_else(|| policies.strictest(), |(_, policy)| policy);
            (issuer.to_string(), policy.limits.absolute)
        });
        limits.collect()
    }

    /// Finds the credential of a request.
    ///
    /// # Errors
    /// [`CredentialError`] if the credential is missing, ambiguous or invalid.
    pub fn find_credential<'a>(
        &self,
        headers: &'a HeaderMap,
    ) -> Result<FoundCredential<'a>, CredentialError> {
        match self.extractor.extract(headers) {
            PresentedCredential::Nothing => Err(CredentialError::Missing),
            PresentedCredential::Foreign => Err(CredentialError::Foreign),
            PresentedCredential::Ambiguous => {
                Err(CredentialError::Refused(DenyReason::MalformedRequest))
            }
            PresentedCredential::Token(text) => match self.key_ring.verify(text) {
                Ok(id) => Ok(FoundCredential::Own(id)),
                Err(_) => Err(CredentialError::Refused(DenyReason::InvalidCredential)),
            },
            PresentedCredential::Jwt(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(FoundCredential::Jwt(text)),
                Err(_) => Err(CredentialError::Foreign),
            },
        }
    }

    /// Returns the names of the session cookies that a request contains more than once, with different values.
    #[must_use]
    pub fn ambiguous_cookies(&self, headers: &HeaderMap) -> Vec<&str> {
        let own = &self.extractor.cookie;
        let jwt = self.extractor.jwt.as_ref();
        let jwt = jwt.and_then(|places| places.cookie.as_deref());
        let services = self.delegates.iter();
        let services = services.filter_map(|delegate| delegate.service().key.cookie());
        let mut names: Vec<&str> = [own.as_str()]
            .into_iter()
            .chain(jwt)
            .chain(services)
            .collect();
        names.retain(|name| {
            let mut values = cookie_values(headers, name);
            let first = values.next();
            values.any(|value| Some(value) != first)
        });
        names.dedup();
        names
    }

    /// Returns the configured `Set-Cookie` value that clears the cookie `name` of a delegated service.
    #[must_use]
    pub fn removal_cookie_of_service(&self, name: &str) -> Option<&HeaderValue> {
        let services = self.delegates.iter().map(Delegate::service);
        let mut of_that_name = services.filter(|service| service.key.cookie() == Some(name));
        of_that_name.find_map(|service| service.cleared_cookie.as_ref())
    }

    /// Verifies an identity provider's token and resolves it to its session ID.
    ///
    /// # Errors
    /// [`CredentialError`] if the token is invalid or cannot be verified now.
    pub async fn resolve_jwt(
        &self,
        text: &str,
        clock: &dyn Clock,
    ) -> Result<ResolvedCredential<'_>, CredentialError> {
        let source = JwtSource::of(&self.jwt, text).ok_or(CredentialError::Foreign)?;
        let unknown_key = |why: &InvalidJwt| *why == InvalidJwt::UnknownKey;
        let verified = source.verify_with_current_keys(text, clock, Issuer::verify, unknown_key);
        match verified.await {
            Ok(verified) => Ok(ResolvedCredential {
                is_external: true,
                external: Some(ExternalIdentity {
                    issuer: ExternalIssuer::Issuer(&source.issuer.issuer),
                    subject: verified.subject,
                    attributes: verified.attributes,
                    started: verified.started,
                    freshness: None,
                    expires: verified.expires,
                    policy: source.policy.as_ref(),
                }),
                ..ResolvedCredential::of_own_token(verified.session)
            }),
            Err(VerificationError::Invalid(InvalidJwt::NoAuthTime)) => {
                Err(CredentialError::NoAuthTime)
            }
            Err(VerificationError::Invalid(why)) => {
                tracing::debug!(%why, "JWT invalid");
                Err(CredentialError::Refused(DenyReason::InvalidCredential))
            }
            Err(VerificationError::NoKeys) => {
                tracing::warn!(
                    issuer = source.issuer.issuer,
                    "could not verify a JWT: no usable keys (JWKS) of the issuer"
                );
                Err(CredentialError::Refused(DenyReason::SourceUnavailable))
            }
        }
    }
}

/// Why a token could not be verified.
#[derive(Clone, Copy, Debug)]
pub enum VerificationError<E> {
    /// The token is invalid.
    Invalid(E),
    /// No keys are available, so the validity of the token is unknown.
    NoKeys,
}

impl JwtSource {
    /// Returns the source of the issuer that the token names in `iss`.
    #[must_use]
    pub fn of<'a>(sources: &'a [Self], text: &str) -> Option<&'a Self> {
        let issuer = unverified_issuer(text)?;
        let mut sources = sources.iter();
        sources.find(|source| source.issuer.issuer == issuer)
    }

    /// Verifies a token with the cached keys. If the token names an unknown key, fetches the keys again.
    ///
    /// # Errors
    /// [`VerificationError`] if the token is invalid or no keys are available.
    pub async fn verify_with_current_keys<T, E>(
        &self,
        text: &str,
        clock: &dyn Clock,
        verify: impl Fn(&Issuer, &str, &KeySet, Timestamp) -> Result<T, E>,
        unknown_key: impl Fn(&E) -> bool,
    ) -> Result<T, VerificationError<E>> {
        let keys = match self.keys.current(clock.now()) {
            Ok(keys) => keys,
            Err(_) => {
                let keys = self.keys.wait_for_running_fetch(clock.now()).await;
                keys.map_err(|_| VerificationError::NoKeys)?
            }
        };
        match verify(&self.issuer, text, &keys, clock.now()) {
            Err(error) if unknown_key(&error) => {}
            outcome => return outcome.map_err(VerificationError::Invalid),
        }
        let keys = self.keys.fetch_for_unknown_key(clock.now()).await;
        let keys = keys.map_err(|_| VerificationError::NoKeys)?;
        let outcome = verify(&self.issuer, text, &keys, clock.now());
        outcome.map_err(VerificationError::Invalid)
    }
}
