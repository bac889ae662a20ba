use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, EndSessionUrl, IssuerUrl, ProviderMetadata};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use url::Url;

use super::LoginError;
use super::transport::send;
use crate::session::Timestamp;

/// How long what a provider says of itself is used.
const FRESH: Duration = Duration::from_secs(300);
/// The least time between two questions about keys that are not known.
const PAUSE: Duration = Duration::from_secs(10);

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3).
pub type Metadata = ProviderMetadata<
    Further,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// What other standards add.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Further {
    /// Where people log out (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<EndSessionUrl>,
    /// Whether every answer says who gives it (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Further {}

/// What a provider said of itself last, and when.
#[derive(Default)]
pub struct Discovered(Mutex<Option<(Arc<Metadata>, Timestamp)>>);

impl Discovered {
    /// What the provider says of itself, asked for when that is older than it may be; `renew` asks
    /// earlier, for a key that is not known.
    pub async fn get(
        &self,
        issuer: &str,
        client: &reqwest::Client,
        now: Timestamp,
        renew: bool,
    ) -> Result<Arc<Metadata>, LoginError> {
        // Whoever comes meanwhile waits for the same answer.
        let mut known = self.0.lock().await;
        let age = if renew { PAUSE } else { FRESH };
        if let Some((metadata, since)) = &*known
            && now < since.plus(age)
        {
            return Ok(Arc::clone(metadata));
        }
        let asking = |request| send(client.clone(), request);
        let url = IssuerUrl::new(issuer.to_owned());
        let url = url.map_err(|error| LoginError::Unavailable(error.to_string()))?;
        let metadata = Metadata::discover_async(url, &asking).await;
        let metadata = metadata.map_err(|error| {
            use std::error::Error;
            let cause = error.source().map(|cause| format!(": {cause}"));
            LoginError::Unavailable(format!("{error}{}", cause.unwrap_or_default()))
        })?;
        is_safe(&metadata)?;
        let metadata = Arc::new(metadata);
        *known = Some((Arc::clone(&metadata), now));
        Ok(metadata)
    }
}

/// Whoever speaks TLS does so everywhere.
fn is_safe(metadata: &Metadata) -> Result<(), LoginError> {
    let endpoints: [Option<&Url>; 4] = [
        Some(metadata.authorization_endpoint().url()),
        metadata.token_endpoint().map(|it| it.url()),
        metadata.userinfo_endpoint().map(|it| it.url()),
        Some(metadata.jwks_uri().url()),
    ];
    let mut endpoints = endpoints.into_iter().flatten();
    if metadata.issuer().url().scheme() == "https" && endpoints.any(|it| it.scheme() != "https") {
        let plain = "its metadata point to an address without TLS".to_owned();
        return Err(LoginError::Unavailable(plain));
    }
    Ok(())
}
