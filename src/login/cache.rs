//! A cache for the metadata and the keys of a provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::LoginError;
use super::discovery::{Discovered, discover};
use crate::session::Timestamp;

/// The time after which metadata and keys are fetched again.
const DISCOVERY_TTL: Duration = Duration::from_secs(300);
/// The minimum time between two requests for unknown key IDs.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);

/// A cache for the metadata and the keys of one provider.
#[derive(Default)]
pub struct DiscoveryCache {
    last: Mutex<LastResult>,
    /// The number of finished requests, successful or not.
    finished_requests: AtomicU64,
}

#[derive(Default)]
struct LastResult {
    /// The metadata and keys, and the time when they were fetched.
    discovered: Option<(Arc<Discovered>, Timestamp)>,
    /// When the last successful request for an unknown key ID was sent.
    renewed: Option<Timestamp>,
    /// The error of the last request, if it failed.
    error: Option<String>,
}

impl DiscoveryCache {
    /// Returns the metadata and keys. Fetches them first if they are older than `DISCOVERY_TTL`. If `renew` is true,
    /// fetches them first unless such a fetch was less than `UNKNOWN_KEY_INTERVAL` ago.
    pub async fn get(
        &self,
        issuer: &str,
        client: &reqwest::Client,
        now: Timestamp,
        renew: bool,
    ) -> Result<Arc<Discovered>, LoginError> {
        // Concurrent callers share one request, even if it fails. Otherwise each caller would send a request after
        // the previous one, and the last caller would wait for all of them.
        let finished_before = self.finished_requests.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some((discovered, fetched)) = &last.discovered {
            let is_fresh = if renew {
                let is_recent = |renewed: Timestamp| now < renewed.plus(UNKNOWN_KEY_INTERVAL);
                last.renewed.is_some_and(is_recent)
            } else {
                now < fetched.plus(DISCOVERY_TTL)
            };
            if is_fresh {
                return Ok(Arc::clone(discovered));
            }
        }
        if let Some(error) = &last.error
            && self.finished_requests.load(Ordering::SeqCst) != finished_before
        {
            return Err(LoginError::Unavailable(error.clone()));
        }
        let result = discover(issuer, client).await;
        let result = result.map_err(|error| error.to_string());
        self.finished_requests.fetch_add(1, Ordering::SeqCst);
        last.error = result.as_ref().err().cloned();
        let discovered = Arc::new(result.map_err(LoginError::Unavailable)?);
        last.discovered = Some((Arc::clone(&discovered), now));
        if renew {
            last.renewed = Some(now);
        }
        Ok(discovered)
    }
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
        let connections = Arc::new(AtomicUsize::new(0));
        let connection_count = Arc::clone(&connections);
        tokio::spawn(async move {
            // Closes every connection after 100 ms.
            while let Ok((stream, _)) = listener.accept().await {
                connection_count.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(stream);
            }
        });
        let client = http_client(Duration::from_secs(5), None).unwrap();
        let (cache, now) = (DiscoveryCache::default(), Timestamp::default());
        let get = || cache.get(&issuer, &client, now, false);
        let answers = join_all((0..20).map(|_| get())).await;
        assert!(answers.iter().all(Result::is_err));
        let shared = connections.load(Ordering::SeqCst);
        // A later caller sends a new request.
        assert!(get().await.is_err());
        assert!(connections.load(Ordering::SeqCst) > shared);
        // A shared request can need more than one connection, because the HTTP client may repeat it.
        assert!(shared <= 3, "{shared} connections for 20 callers");
    }
}
