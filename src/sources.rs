//! Sources: how a credential becomes the name of a session, without asking the store.

use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Clock;
use crate::credential::jwt::{InvalidJwt, Issuer, VerifiedJwt, unverified_issuer};
use crate::credential::{CredentialExtractor, Extraction, KeyRing};
use crate::jwks::IssuerKeys;
use crate::session::{DenyReason, PolicyName, SessionId};

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
        let claimed = unverified_issuer(text).ok_or(DenyReason::InvalidCredential)?;
        let mut sources = self.jwt.iter();
        let source = sources.find(|source| source.issuer.issuer == claimed);
        let source = source.ok_or(DenyReason::InvalidCredential)?;
        match source.verify(text, clock).await {
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
                    issuer = claimed,
                    "a JWT can't be verified: there are no keys"
                );
                Err(DenyReason::StoreUnavailable)
            }
        }
    }
}

/// Why a token is not taken.
enum Unverified {
    Invalid(InvalidJwt),
    /// Whether it is good can't be said now.
    NoKeys,
}

impl JwtSource {
    /// Verifies a token by the keys that are known, and by newer ones where it names another.
    async fn verify(&self, text: &str, clock: &dyn Clock) -> Result<VerifiedJwt, Unverified> {
        let keys = match self.keys.current(clock.now()) {
            Ok(keys) => keys,
            Err(_) => {
                let awaited = self.keys.awaited(clock.now()).await;
                awaited.map_err(|_| Unverified::NoKeys)?
            }
        };
        match self.issuer.verify(text, &keys, clock.now()) {
            Err(InvalidJwt::UnknownKey) => {}
            outcome => return outcome.map_err(Unverified::Invalid),
        }
        let keys = self.keys.renewed(clock.now()).await;
        let keys = keys.map_err(|_| Unverified::NoKeys)?;
        let outcome = self.issuer.verify(text, &keys, clock.now());
        outcome.map_err(Unverified::Invalid)
    }
}
