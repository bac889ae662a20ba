//! Sources: how a credential becomes the name of a session, without asking the store.
//!
//! Curfew's own tokens come first, then those of identity providers; where there is neither, another
//! authorization service may know the client ([`Delegate`]).

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::clock::Clock;
use crate::credential::jwt::{InvalidJwt, Issuer, KeySet, unverified_issuer};
use crate::credential::{CredentialExtractor, KeyRing, PresentedCredential, cookie_values};
use crate::delegate::{Delegate, Relayed};
use crate::jwks::IssuerKeys;
use crate::policy::{MaxAge, Policies};
use crate::session::{Attributes, DenyReason, PolicyName, SessionId, Subject, Timestamp};
use crate::store::LimitsOfSources;

/// Every source that is configured.
#[derive(Clone)]
pub struct Sources {
    /// Finds the credential in a request.
    pub extractor: CredentialExtractor,
    /// Verifies Curfew's own tokens.
    pub key_ring: Arc<KeyRing>,
    /// Verify the tokens of identity providers.
    pub jwt: Vec<JwtSource>,
    /// Other authorization services.
    pub delegates: Vec<Delegate>,
}

/// An identity provider whose tokens are credentials.
#[derive(Clone)]
pub struct JwtSource {
    /// What its tokens must be like.
    pub issuer: Issuer,
    /// Its keys.
    pub keys: Arc<IssuerKeys>,
    /// The home policy of the sessions that its tokens start; `None` for the default one.
    pub policy: Option<PolicyName>,
}

/// What a credential says.
#[derive(Clone, Debug)]
pub struct ResolvedCredential<'a> {
    /// The session that it names.
    pub id: SessionId,
    /// For a credential that somebody else has issued: what it says besides.
    pub adoptable: Option<ExternalIdentity<'a>>,
    /// For one that another service vouches for: what of its answer becomes a part of ours.
    pub relayed: Option<Box<Relayed>>,
    /// What makes the client drop the credential, where that is not the session cookie.
    pub cleared: Option<&'a HeaderValue>,
    /// Whether another party issued the credential: it can still be valid when its session has ended.
    pub is_foreign: bool,
}

/// What a credential of somebody else says of a session that it may start.
#[derive(Clone, Debug)]
pub struct ExternalIdentity<'a> {
    /// Who issued the credential.
    pub party: Party<'a>,
    /// Whose session it is.
    pub subject: Subject,
    /// What else is known of the subject.
    pub attributes: Attributes,
    /// When the subject signed in; the time of the first request where nobody says so.
    pub started: Timestamp,
    /// How recent the authentication must be, where that is required to start a session.
    pub freshness: Option<Freshness>,
    /// When the credential is no good any more.
    pub expires: Timestamp,
    /// The home policy; `None` for the default one.
    pub policy: Option<&'a PolicyName>,
}

/// Who issues credentials that are not Curfew's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party<'a> {
    /// An issuer of JSON Web Tokens: its `iss`.
    Issuer(&'a str),
    /// Another authorization service: its name in the configuration.
    Service(&'a str),
}

impl fmt::Display for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer(issuer) => write!(f, "jwt {issuer}"),
            Self::Service(name) => write!(f, "delegated {name}"),
        }
    }
}

/// How recent an authentication must be to start a session.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Its greatest age.
    pub max_age: MaxAge,
    /// When it was, as far as is known.
    pub authenticated: Option<Timestamp>,
}

/// What a request presents.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'a> {
    /// A token of Curfew's, verified, which names this session.
    Ours(SessionId),
    /// What may be a token of an identity provider's, not verified.
    Jwt(&'a str),
}

/// Why a request names no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialError {
    /// It has no credential.
    Nothing,
    /// It has one that may be meant for others.
    Foreign,
    /// It has one that is no good, or that can't be verified now.
    Refused(DenyReason),
    /// It is a token that does not say when its user signed in.
    NoAuthTime,
}

impl From<CredentialError> for DenyReason {
    fn from(unidentified: CredentialError) -> Self {
        match unidentified {
            CredentialError::Nothing => Self::NoCredential,
            CredentialError::Foreign | CredentialError::NoAuthTime => Self::InvalidCredential,
            CredentialError::Refused(reason) => reason,
        }
    }
}

impl ResolvedCredential<'_> {
    /// By a credential of our own.
    #[must_use]
    pub const fn ours(id: SessionId) -> Self {
        Self {
            id,
            adoptable: None,
            relayed: None,
            cleared: None,
            is_foreign: false,
        }
    }
}

impl Sources {
    /// The absolute limit of the sessions that each party's credentials start. Variants of a policy only tighten it.
    #[must_use]
    pub fn limits(&self, policies: &Policies) -> LimitsOfSources {
        let issuers = self.jwt.iter();
        let issuers = issuers.map(|it| (Party::Issuer(&it.issuer.issuer), it.policy.as_ref()));
        let services = self.delegates.iter();
        let services = services.map(|it| (Party::Service(&it.delegated().name), it.policy()));
        let limits = issuers.chain(services).map(|(party, policy)| {
            let name = policy.unwrap_or_else(|| policies.default_name());
            let policy = policies.get(name.as_str());
            let policy = policy.map_or_else(|| policies.tightest(), |(_, policy)| policy);
            (party.to_string(), policy.limits.absolute)
        });
        limits.collect()
    }

    /// What a request presents.
    ///
    /// # Errors
    /// [`CredentialError`]: there is nothing, or it is ambiguous or no good.
    pub fn present<'a>(&self, headers: &'a HeaderMap) -> Result<Presented<'a>, CredentialError> {
        match self.extractor.extract(headers) {
            PresentedCredential::Nothing => Err(CredentialError::Nothing),
            PresentedCredential::Foreign => Err(CredentialError::Foreign),
            PresentedCredential::Ambiguous => {
                Err(CredentialError::Refused(DenyReason::MalformedRequest))
            }
            PresentedCredential::Token(text) => match self.key_ring.verify(text) {
                Ok(id) => Ok(Presented::Ours(id)),
                Err(_) => Err(CredentialError::Refused(DenyReason::InvalidCredential)),
            },
            PresentedCredential::Jwt(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(Presented::Jwt(text)),
                Err(_) => Err(CredentialError::Foreign),
            },
        }
    }

    /// The names of the cookies for sessions that a request has with several values.
    #[must_use]
    pub fn ambiguous_cookies(&self, headers: &HeaderMap) -> Vec<&str> {
        let own = &self.extractor.cookie;
        let jwt = self.extractor.jwt.as_ref();
        let jwt = jwt.and_then(|places| places.cookie.as_deref());
        let services = self.delegates.iter();
        let services = services.filter_map(|service| service.delegated().key.cookie());
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

    /// The `Set-Cookie` that clears the cookie of another service, as it is configured.
    #[must_use]
    pub fn cleared_by_service(&self, name: &str) -> Option<&HeaderValue> {
        let services = self.delegates.iter().map(Delegate::delegated);
        let mut of_that_name = services.filter(|service| service.key.cookie() == Some(name));
        of_that_name.find_map(|service| service.cleared_cookie.as_ref())
    }

    /// The session that an identity provider's token names.
    ///
    /// # Errors
    /// [`CredentialError`]: it is no good, or it can't be verified now.
    pub async fn identify_jwt(
        &self,
        text: &str,
        clock: &dyn Clock,
    ) -> Result<ResolvedCredential<'_>, CredentialError> {
        let source = JwtSource::of(&self.jwt, text).ok_or(CredentialError::Foreign)?;
        let unknown_key = |why: &InvalidJwt| *why == InvalidJwt::UnknownKey;
        let verified = source.verified(text, clock, Issuer::verify, unknown_key);
        match verified.await {
            Ok(verified) => Ok(ResolvedCredential {
                is_foreign: true,
                adoptable: Some(ExternalIdentity {
                    party: Party::Issuer(&source.issuer.issuer),
                    subject: verified.subject,
                    attributes: verified.attributes,
                    started: verified.started,
                    freshness: None,
                    expires: verified.expires,
                    policy: source.policy.as_ref(),
                }),
                ..ResolvedCredential::ours(verified.session)
            }),
            Err(Unverified::Invalid(InvalidJwt::NoAuthTime)) => Err(CredentialError::NoAuthTime),
            Err(Unverified::Invalid(why)) => {
                tracing::debug!(%why, "a JWT was refused");
                Err(CredentialError::Refused(DenyReason::InvalidCredential))
            }
            Err(Unverified::NoKeys) => {
                tracing::warn!(
                    issuer = source.issuer.issuer,
                    "a JWT can't be verified: there are no keys"
                );
                Err(CredentialError::Refused(DenyReason::SourceUnavailable))
            }
        }
    }
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug)]
pub enum Unverified<E> {
    /// It is not good.
    Invalid(E),
    /// Whether it is good can't be said now.
    NoKeys,
}

impl JwtSource {
    /// The source of a token, by what the token says of its issuer.
    #[must_use]
    pub fn of<'a>(sources: &'a [Self], text: &str) -> Option<&'a Self> {
        let claimed = unverified_issuer(text)?;
        let mut sources = sources.iter();
        sources.find(|source| source.issuer.issuer == claimed)
    }

    /// Verifies a token by the keys that are known, and by newer ones where it names another.
    ///
    /// # Errors
    /// [`Unverified`].
    pub async fn verified<T, E>(
        &self,
        text: &str,
        clock: &dyn Clock,
        verify: impl Fn(&Issuer, &str, &KeySet, Timestamp) -> Result<T, E>,
        unknown_key: impl Fn(&E) -> bool,
    ) -> Result<T, Unverified<E>> {
        let keys = match self.keys.current(clock.now()) {
            Ok(keys) => keys,
            Err(_) => {
                let awaited = self.keys.awaited(clock.now()).await;
                awaited.map_err(|_| Unverified::NoKeys)?
            }
        };
        match verify(&self.issuer, text, &keys, clock.now()) {
            Err(error) if unknown_key(&error) => {}
            outcome => return outcome.map_err(Unverified::Invalid),
        }
        let keys = self.keys.renewed(clock.now()).await;
        let keys = keys.map_err(|_| Unverified::NoKeys)?;
        let outcome = verify(&self.issuer, text, &keys, clock.now());
        outcome.map_err(Unverified::Invalid)
    }
}
