//! Verifies tokens with the published keys of the provider.

use super::{Provider, invalid_response};
use crate::credential::jwt::{InvalidJwt, Issuer, KeySet, VerifiedIdToken};
use crate::login::LoginError;
use crate::secret::Secret;
use crate::session::Timestamp;

impl Provider {
    /// Verifies an ID token. `nonce` is the nonce of the attempt, or `None` for a refreshed ID token.
    pub(super) async fn verify_id_token(
        &self,
        keys: &KeySet,
        id_token: &Secret<String>,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<VerifiedIdToken, LoginError> {
        self.verify(keys, now, |issuer, keys| {
            issuer.verify_id_token(id_token.expose(), keys, nonce, now)
        })
        .await
    }

    /// Verifies a token with `keys`. If `keys` does not contain the key of the token, the provider may have rotated
    /// its keys, so Curfew fetches the keys once more (OpenID Connect Core 1.0, section 10.1.1).
    pub(super) async fn verify<T>(
        &self,
        keys: &KeySet,
        now: Timestamp,
        verify: impl Fn(&Issuer, &KeySet) -> Result<T, InvalidJwt>,
    ) -> Result<T, LoginError> {
        let issuer = &self.settings.issuer.issuer;
        let mut verified = verify(issuer, keys);
        if matches!(verified, Err(InvalidJwt::UnknownKey)) {
            let renewed = self.metadata_and_keys(now, true).await?;
            verified = verify(issuer, &renewed.keys);
        }
        verified.map_err(|error| invalid_response(&error.to_string()))
    }
}
