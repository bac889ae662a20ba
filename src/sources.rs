//! Sources: how a credential becomes the name of a session, without asking the store.

use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Clock;
use crate::credential::jwt::{InvalidJwt, Issuer, KeySet, VerifiedJwt, unverified_issuer};
use crate::credential::{CredentialExtractor, Extraction, KeyRing};
use crate::jwks::IssuerKeys;
use crate::session::{DenyReason, PolicyName, SessionId, Timestamp};

/// Every source that is configured.
#[derive(Clone)]
pub struct Sources {
    /// Finds the credential in a request.
    pub extractor: CredentialExtractor,
    /// Verifies Curfew's own tokens.
    pub key_ring: Arc<KeyRing>,
    /// Verify the tokens of identity providers.
    pub jwt: Vec<JwtSource>,
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
pub struct Identified<'a> {
    /// The session that it names.
    pub id: SessionId,
    /// For a credential that somebody else has issued: what it says besides, and the home policy of a
    /// session that it starts.
    pub adoptable: Option<(VerifiedJwt, Option<&'a PolicyName>)>,
}

impl Sources {
    /// The session that a request's credential names.
    ///
    /// # Errors
    /// The reason of the denial: there is none, it is ambiguous or no good, or it can't be verified
    /// now.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        clock: &dyn Clock,
    ) -> Result<Identified<'_>, DenyReason> {
        match self.extractor.extract(headers) {
            Extraction::Nothing => Err(DenyReason::NoCredential),
            Extraction::Ambiguous => Err(DenyReason::MalformedRequest),
            Extraction::Token(text) => match self.key_ring.verify(text) {
                Ok(id) => Ok(Identified {
                    id,
                    adoptable: None,
                }),
                Err(_) => Err(DenyReason::InvalidCredential),
            },
            Extraction::Jwt(text) => {
                let text = std::str::from_utf8(text).map_err(|_| DenyReason::InvalidCredential)?;
                self.identify_jwt(text, clock).await
            }
        }
    }

    async fn identify_jwt(
        &self,
        text: &str,
        clock: &dyn Clock,
    ) -> Result<Identified<'_>, DenyReason> {
        let source = JwtSource::of(&self.jwt, text).ok_or(DenyReason::InvalidCredential)?;
        let unknown_key = |why: &InvalidJwt| *why == InvalidJwt::UnknownKey;
        let verified = source.verified(text, clock, Issuer::verify, unknown_key);
        match verified.await {
            Ok(verified) => Ok(Identified {
                id: verified.session,
                adoptable: Some((verified, source.policy.as_ref())),
            }),
            Err(Unverified::Invalid(why)) => {
                tracing::debug!(%why, "a JWT was refused");
                Err(DenyReason::InvalidCredential)
            }
            Err(Unverified::NoKeys) => {
                tracing::warn!(
                    issuer = source.issuer.issuer,
                    "a JWT can't be verified: there are no keys"
                );
                Err(DenyReason::SourceUnavailable)
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
