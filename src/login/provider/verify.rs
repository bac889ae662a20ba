//! Verifies what the provider has signed, with its published keys.

use super::{Provider, invalid};
use crate::credential::jwt::{InvalidJwt, Issuer, KeySet, VerifiedIdToken};
use crate::login::LoginError;
use crate::secret::Secret;
use crate::session::Timestamp;

impl Provider {
    /// Verifies an ID token. The `nonce` of the attempt is required, except in a refreshed ID token.
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

    /// Verifies a token with `keys`. If none of them is the token's, the provider may have rotated its keys. Then they
    /// are fetched once more (OpenID Connect Core 1.0, section 10.1.1).
    pub(super) async fn verify<T>(
        &self,
        keys: &KeySet,
        now: Timestamp,
        verify: impl Fn(&Issuer, &KeySet) -> Result<T, InvalidJwt>,
    ) -> Result<T, LoginError> {
        let issuer = &self.settings.issuer.issuer;
        let mut verified = verify(issuer, keys);
        if matches!(verified, Err(InvalidJwt::UnknownKey)) {
            let renewed = self.discovered(now, true).await?;
            verified = verify(issuer, &renewed.keys);
        }
        verified.map_err(|error| invalid(&error.to_string()))
    }
}
