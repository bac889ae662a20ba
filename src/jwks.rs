//! A cache for the public keys of identity providers (JWKS).
//!
//! Keys are fetched in advance, so a check finds them in memory. A token with an unknown key ID triggers a fetch. All such
//! checks wait for the same fetch, and there is a minimum interval: anybody can invent a key ID.

mod fetch;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::credential::jwt::{Issuer, KeySet};
use crate::session::PolicyName;
use crate::session::Timestamp;
use crate::telemetry::Metrics;

pub use fetch::{FetchError, FetchSettings, HttpFetcher, Location};

/// The settings of an issuer and its keys.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The name in the configuration.
    pub name: String,
    /// The rules for its tokens.
    pub issuer: Issuer,
    /// The source of its keys.
    pub keys: KeySource,
    /// The home policy of sessions from its tokens; `None` for the default policy.
    pub policy: Option<PolicyName>,
}

/// The source of an issuer's keys.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A key set from a file.
    File(KeySet),
    /// A key set that is fetched from the provider.
    Fetched(FetchSettings),
}

/// The minimum time between two fetches for unknown keys.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after the first failed fetch. It doubles with each failure, up to the refresh interval.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);

/// How often the refresh task checks whether the keys are still in use.
const OWNER_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Fetches the keys of an issuer.
#[async_trait]
pub trait FetchKeys: Send + Sync + 'static {
    /// Fetches the current keys.
    ///
    /// # Errors
    /// [`FetchError`] if the keys could not be fetched.
    async fn fetch(&self) -> Result<KeySet, FetchError>;
}

/// How long fetched keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Freshness {
    /// The refresh interval.
    pub refresh: Duration,
    /// The maximum age of the keys since the last successful fetch.
    pub stale: Duration,
}

/// The cached keys of one issuer.
pub struct IssuerKeys {
    known: Mutex<CachedKeys>,
    /// Counts finished fetches, successful or not.
    finished_fetches: watch::Sender<u64>,
    /// Wakes the refresh task.
    fetch_requested: Notify,
    /// The maximum age; `None` for static keys.
    stale: Option<Duration>,
}

#[derive(Default)]
struct CachedKeys {
    keys: Option<Arc<KeySet>>,
    fetched: Timestamp,
    /// Whether a fetch is running or requested.
    fetching: bool,
    /// When an unknown key last triggered a fetch.
    asked: Option<Timestamp>,
}

/// The issuer has no usable keys: none were fetched, or they are too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JWKS not available")]
pub struct NoKeys;

impl IssuerKeys {
    /// Creates static keys, which are never fetched.
    #[must_use]
    pub fn fixed(given: KeySet) -> Arc<Self> {
        let keys = Self::empty(None);
        keys.known.lock().keys = Some(Arc::new(given));
        Arc::new(keys)
    }

    fn empty(stale: Option<Duration>) -> Self {
        Self {
            known: Mutex::default(),
            finished_fetches: watch::Sender::new(0),
            fetch_requested: Notify::new(),
            stale,
        }
    }

    /// Creates keys that a background task fetches with `fetcher`. The task ends when nobody has the keys any more.
    pub fn fetched(
        fetcher: impl FetchKeys,
        freshness: Freshness,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        issuer: String,
    ) -> Arc<Self> {
        let keys = Self::empty(Some(freshness.stale));
        keys.known.lock().fetching = true;
        let keys = Arc::new(keys);
        let task = RefreshTask {
            keys: Arc::downgrade(&keys),
            fetcher: Box::new(fetcher),
            refresh: freshness.refresh,
            clock,
            metrics,
            issuer,
        };
        tokio::spawn(task.run());
        keys
    }

    /// The current keys.
    ///
    /// # Errors
    /// [`NoKeys`] if no keys were fetched yet, or if they are too old.
    pub fn current(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        let known = self.known.lock();
        let fresh = self
            .stale
            .is_none_or(|stale| now < known.fetched.plus(stale));
        known.keys.clone().filter(|_| fresh).ok_or(NoKeys)
    }

    /// The current keys, after a running fetch has finished.
    ///
    /// # Errors
    /// [`NoKeys`] if there are still no usable keys.
    pub async fn awaited(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        let mut finished_fetches = self.finished_fetches.subscribe();
        if self.known.lock().fetching {
            // Fails only if the refresh task has ended.
            let _ = finished_fetches.changed().await;
        }
        self.current(now)
    }

    /// The keys for a token with an unknown key ID, after a new fetch. If such a fetch was started within the last 10
    /// seconds, no other one starts.
    ///
    /// # Errors
    /// [`NoKeys`] if there are no usable keys.
    pub async fn renewed(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        {
            let mut known = self.known.lock();
            let recently = known
                .asked
                .is_some_and(|asked| now < asked.plus(UNKNOWN_KEY_INTERVAL));
            if !known.fetching && !recently && self.stale.is_some() {
                known.asked = Some(now);
                known.fetching = true;
                self.fetch_requested.notify_one();
            }
        }
        self.awaited(now).await
    }
}

/// The background task that refreshes the keys of an issuer.
struct RefreshTask {
    keys: Weak<IssuerKeys>,
    fetcher: Box<dyn FetchKeys>,
    refresh: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    issuer: String,
}

impl RefreshTask {
    async fn run(self) {
        let mut failures = 0_u32;
        while let Some(keys) = self.keys.upgrade() {
            keys.known.lock().fetching = true;
            let outcome = self.fetcher.fetch().await;
            self.metrics.keys_fetched(&self.issuer, outcome.is_ok());
            {
                let mut known = keys.known.lock();
                known.fetching = false;
                match outcome {
                    Ok(fetched) => {
                        failures = 0;
                        known.keys = Some(Arc::new(fetched));
                        known.fetched = self.clock.now();
                    }
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(issuer = self.issuer, %error, "could not fetch the keys of an issuer");
                    }
                }
            }
            keys.finished_fetches.send_modify(|round| *round += 1);
            let pause = match failures {
                0 => self.refresh,
                failures => INITIAL_BACKOFF
                    .saturating_mul(1 << (failures - 1).min(16))
                    .min(self.refresh),
            };
            // Without a strong reference: when no one else has the keys, this task ends at its next check.
            let mut waited = Duration::ZERO;
            drop(keys);
            while waited < pause {
                let Some(keys) = self.keys.upgrade() else {
                    return;
                };
                let interval = OWNER_CHECK_INTERVAL.min(pause - waited);
                let woken = tokio::time::timeout(interval, keys.fetch_requested.notified()).await;
                if woken.is_ok() {
                    break;
                }
                waited += interval;
            }
        }
    }
}

/// All issuers' keys. When the configuration changes, unchanged issuers keep their keys.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<FetchSettings, Weak<IssuerKeys>>>);

impl KeyCache {
    /// The keys for these settings. `start` creates them if they do not exist.
    pub fn get(
        &self,
        settings: &FetchSettings,
        start: impl FnOnce() -> Arc<IssuerKeys>,
    ) -> Arc<IssuerKeys> {
        let mut cache = self.0.lock();
        cache.retain(|_, keys| keys.strong_count() > 0);
        if let Some(keys) = cache.get(settings).and_then(Weak::upgrade) {
            return keys;
        }
        let keys = start();
        cache.insert(settings.clone(), Arc::downgrade(&keys));
        keys
    }
}

#[cfg(test)]
mod tests;
