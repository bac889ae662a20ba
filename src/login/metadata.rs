use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// How long metadata stay in the cache.
const METADATA_TTL: Duration = Duration::from_secs(300);
/// The minimum time between two requests because of unknown keys.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Provider metadata (OpenID Connect Discovery 1.0, section 3).
pub type Metadata = ProviderMetadata<
    LogoutMetadata,
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

/// Metadata fields of other standards.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LogoutMetadata {
    /// The address for RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<EndSessionUrl>,
    /// Whether every authorization response has the `iss` parameter (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for LogoutMetadata {}

/// A cache of a provider's metadata.
#[derive(Default)]
pub struct MetadataCache {
    last: Mutex<LastResult>,
    /// Counts finished requests, successful or not.
    rounds: AtomicU64,
}

#[derive(Default)]
struct LastResult {
    /// The metadata, and when they were fetched.
    known: Option<(Arc<Metadata>, Timestamp)>,
    /// Why the last request failed.
    failed: Option<String>,
}

impl MetadataCache {
    /// The metadata, fetched again if they are older than their TTL. With `renew`, a shorter age applies, for a
    /// token with an unknown key.
    pub async fn get(
        &self,
        issuer: &str,
        client: &reqwest::Client,
        now: Timestamp,
        renew: bool,
    ) -> Result<Arc<Metadata>, LoginError> {
        // Concurrent callers share one request, even if it fails. With one request after another, the last caller would wait
        // for all of them.
        let begun = self.rounds.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(why) = &last.failed
            && self.rounds.load(Ordering::SeqCst) != begun
        {
            return Err(LoginError::Unavailable(why.clone()));
        }
        let age = if renew { RETRY_DELAY } else { METADATA_TTL };
        if let Some((metadata, since)) = &last.known
            && now < since.plus(age)
        {
            return Ok(Arc::clone(metadata));
        }
        let asked = fetch(issuer, client).await;
        self.rounds.fetch_add(1, Ordering::SeqCst);
        last.failed = asked.as_ref().err().cloned();
        let metadata = Arc::new(asked.map_err(LoginError::Unavailable)?);
        last.known = Some((Arc::clone(&metadata), now));
        Ok(metadata)
    }
}

/// Fetches the metadata of a provider.
async fn fetch(issuer: &str, client: &reqwest::Client) -> Result<Metadata, String> {
    let asking = |request| send(client.clone(), request);
    let url = IssuerUrl::new(issuer.to_owned());
    let url = url.map_err(|error| error.to_string())?;
    let metadata = Metadata::discover_async(url, &asking).await;
    let metadata = metadata.map_err(|error| {
        use std::error::Error;
        let cause = error.source().map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })?;
    require_tls(&metadata)?;
    Ok(metadata)
}

/// Checks that an issuer with TLS has no endpoints without TLS.
fn require_tls(metadata: &Metadata) -> Result<(), String> {
    let endpoints: [Option<&Url>; 4] = [
        Some(metadata.authorization_endpoint().url()),
        metadata.token_endpoint().map(|it| it.url()),
        metadata.userinfo_endpoint().map(|it| it.url()),
        Some(metadata.jwks_uri().url()),
    ];
    let mut endpoints = endpoints.into_iter().flatten();
    if metadata.issuer().url().scheme() == "https" && endpoints.any(|it| it.scheme() != "https") {
        return Err("invalid metadata: endpoint without TLS".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;

    use super::*;
    use crate::http_client::http_client;

    #[tokio::test]
    async fn concurrent_callers_share_one_failed_request() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            // Closes every connection after 100 ms.
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(stream);
            }
        });
        let client = http_client(Duration::from_secs(5), None).unwrap();
        let (cache, now) = (MetadataCache::default(), Timestamp::default());
        let get = || cache.get(&issuer, &client, now, false);
        let answers = join_all((0..20).map(|_| get())).await;
        assert!(answers.iter().all(Result::is_err));
        let waited = asked.load(Ordering::SeqCst);
        // A later caller sends a new request.
        assert!(get().await.is_err());
        assert!(asked.load(Ordering::SeqCst) > waited);
        // The HTTP client may repeat a request after a closed connection.
        assert!(waited <= 3, "{waited} connections for 20");
    }
}
