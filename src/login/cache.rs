//! A cache of what providers publish about themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::LoginError;
use super::discovery::{Discovered, discover};
use crate::session::Timestamp;

/// How long metadata and keys stay in the cache.
const DISCOVERY_TTL: Duration = Duration::from_secs(300);
/// The minimum time between two requests because of unknown keys.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// A cache of a provider's metadata and keys.
#[derive(Default)]
pub struct DiscoveryCache {
    last: Mutex<LastResult>,
    /// Counts finished requests, successful or not.
    rounds: AtomicU64,
}

#[derive(Default)]
struct LastResult {
    /// The metadata and keys, and when they were fetched.
    known: Option<(Arc<Discovered>, Timestamp)>,
    /// Why the last request failed.
    failed: Option<String>,
}

impl DiscoveryCache {
    /// The metadata and keys, fetched again if they are older than their TTL. With `renew`, a shorter age applies, for a
    /// token with an unknown key.
    pub async fn get(
        &self,
        issuer: &str,
        client: &reqwest::Client,
        now: Timestamp,
        renew: bool,
    ) -> Result<Arc<Discovered>, LoginError> {
        // Concurrent callers share one request, even if it fails. With one request after another, the last caller would wait
        // for all of them.
        let begun = self.rounds.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(why) = &last.failed
            && self.rounds.load(Ordering::SeqCst) != begun
        {
            return Err(LoginError::Unavailable(why.clone()));
        }
        let age = if renew { RETRY_DELAY } else { DISCOVERY_TTL };
        if let Some((discovered, since)) = &last.known
            && now < since.plus(age)
        {
            return Ok(Arc::clone(discovered));
        }
        let asked = discover(issuer, client).await;
        let asked = asked.map_err(|error| error.to_string());
        self.rounds.fetch_add(1, Ordering::SeqCst);
        last.failed = asked.as_ref().err().cloned();
        let discovered = Arc::new(asked.map_err(LoginError::Unavailable)?);
        last.known = Some((Arc::clone(&discovered), now));
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
        let (cache, now) = (DiscoveryCache::default(), Timestamp::default());
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
