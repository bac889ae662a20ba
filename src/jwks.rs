//! A cache for the public keys of identity providers (JWKS).
//!
//! A background task fetches the keys in advance, so a check finds them in memory. A token with an unknown key ID
//! triggers another fetch. All checks with such tokens wait for the same fetch. There is a minimum interval between
//! these fetches, because anybody can invent a key ID.

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

pub use fetch::{FetchError, FetchSettings, HttpFetcher, JwksLocation};

/// The settings of an issuer and of its keys.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The name of the issuer in the configuration.
    pub name: String,
    /// The requirements for the issuer's tokens.
    pub issuer: Issuer,
    /// Where the issuer's keys come from.
    pub keys: KeySource,
    /// The home policy of sessions from the issuer's tokens, fixed at their start; `None` for the default policy.
    pub policy: Option<PolicyName>,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A key set from a file.
    File(KeySet),
    /// A key set that Curfew fetches from the issuer.
    Fetched(FetchSettings),
}

/// The minimum time between two fetches for unknown keys.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after the first failed fetch. It doubles with each failure, up to the refresh interval.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);

/// The interval at which the refresh task checks whether its keys are still in use.
const USAGE_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Fetches the keys of an issuer.
#[async_trait]
pub trait FetchKeys: Send + Sync + 'static {
    /// Fetches the current keys.
    ///
    /// # Errors
    /// [`FetchError`] if the keys could not be fetched.
    async fn fetch(&self) -> Result<KeySet, FetchError>;
}

/// The refresh interval and the maximum age of fetched keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Freshness {
    /// The refresh interval.
    pub refresh_interval: Duration,
    /// The maximum age of the keys, which begins with the last successful fetch.
    pub max_age: Duration,
}

/// The cached keys of one issuer.
pub struct IssuerKeys {
    cached: Mutex<CachedKeys>,
    /// The number of finished fetches, successful or not.
    finished_fetches: watch::Sender<u64>,
    /// Wakes the refresh task.
    fetch_requested: Notify,
    /// The maximum age of the keys; `None` for static keys.
    max_age: Option<Duration>,
}

#[derive(Default)]
struct CachedKeys {
    keys: Option<Arc<KeySet>>,
    fetched_at: Timestamp,
    /// Whether a fetch is running or requested.
    is_fetching: bool,
    /// When an unknown key ID last triggered a fetch.
    unknown_key_fetch_at: Option<Timestamp>,
}

/// The issuer has no usable keys: Curfew has not fetched any yet, or they are too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no usable keys of the issuer: its JWKS could not be fetched, or is too old")]
pub struct NoKeys;

impl IssuerKeys {
    /// Wraps static keys, which are never fetched.
    #[must_use]
    pub fn from_static(key_set: KeySet) -> Arc<Self> {
        let keys = Self::empty(None);
        keys.cached.lock().keys = Some(Arc::new(key_set));
        Arc::new(keys)
    }

    fn empty(max_age: Option<Duration>) -> Self {
        Self {
            cached: Mutex::default(),
            finished_fetches: watch::Sender::new(0),
            fetch_requested: Notify::new(),
            max_age,
        }
    }

    /// Starts a background task that fetches the keys with `fetcher`. The task ends after the last reference to the
    /// keys is dropped.
    pub fn start_fetching(
        fetcher: impl FetchKeys,
        freshness: Freshness,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        issuer: String,
    ) -> Arc<Self> {
        let keys = Self::empty(Some(freshness.max_age));
        keys.cached.lock().is_fetching = true;
        let keys = Arc::new(keys);
        let task = RefreshTask {
            keys: Arc::downgrade(&keys),
            fetcher: Box::new(fetcher),
            refresh_interval: freshness.refresh_interval,
            clock,
            metrics,
            issuer,
        };
        tokio::spawn(task.run());
        keys
    }

    /// Returns the cached keys.
    ///
    /// # Errors
    /// [`NoKeys`] if Curfew has not fetched any keys yet, or if they are too old.
    pub fn current(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        let cached = self.cached.lock();
        let is_usable = self
            .max_age
            .is_none_or(|max_age| now < cached.fetched_at.plus(max_age));
        cached.keys.clone().filter(|_| is_usable).ok_or(NoKeys)
    }

    /// Waits for a running fetch, if there is one, and returns the keys.
    ///
    /// # Errors
    /// [`NoKeys`] if there are still no usable keys.
    pub async fn wait_for_running_fetch(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        let mut finished_fetches = self.finished_fetches.subscribe();
        if self.cached.lock().is_fetching {
            // The wait fails only if the refresh task has ended.
            let _ = finished_fetches.changed().await;
        }
        self.current(now)
    }

    /// Fetches the keys again for a token with an unknown key ID, and returns them. If the last fetch for an unknown
    /// key ID started less than `UNKNOWN_KEY_INTERVAL` ago, does not start another fetch.
    ///
    /// # Errors
    /// [`NoKeys`] if there are no usable keys.
    pub async fn fetch_for_unknown_key(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        {
            let mut cached = self.cached.lock();
            let fetched_recently = cached
                .unknown_key_fetch_at
                .is_some_and(|at| now < at.plus(UNKNOWN_KEY_INTERVAL));
            if !cached.is_fetching && !fetched_recently && self.max_age.is_some() {
                cached.unknown_key_fetch_at = Some(now);
                cached.is_fetching = true;
                self.fetch_requested.notify_one();
            }
        }
        self.wait_for_running_fetch(now).await
    }
}

/// The background task that refreshes the keys of an issuer.
struct RefreshTask {
    keys: Weak<IssuerKeys>,
    fetcher: Box<dyn FetchKeys>,
    refresh_interval: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    issuer: String,
}

impl RefreshTask {
    /// Fetches the keys regularly, until nothing else uses them.
    async fn run(self) {
        let mut failures = 0_u32;
        while let Some(keys) = self.keys.upgrade() {
            keys.cached.lock().is_fetching = true;
            let outcome = self.fetcher.fetch().await;
            self.metrics.count_keys_fetch(&self.issuer, outcome.is_ok());
            {
                let mut cached = keys.cached.lock();
                cached.is_fetching = false;
                match outcome {
                    Ok(fetched) => {
                        failures = 0;
                        cached.keys = Some(Arc::new(fetched));
                        cached.fetched_at = self.clock.now();
                    }
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(issuer = self.issuer, %error, "could not fetch the keys of an issuer");
                    }
                }
            }
            keys.finished_fetches.send_modify(|count| *count += 1);
            let pause = match failures {
                0 => self.refresh_interval,
                failures => INITIAL_BACKOFF
                    .saturating_mul(1 << (failures - 1).min(16))
                    .min(self.refresh_interval),
            };
            // During the pause, the task keeps no strong reference, so that it can detect that nothing else uses the
            // keys.
            let mut waited = Duration::ZERO;
            drop(keys);
            while waited < pause {
                let Some(keys) = self.keys.upgrade() else {
                    return;
                };
                let interval = USAGE_CHECK_INTERVAL.min(pause - waited);
                let woken = tokio::time::timeout(interval, keys.fetch_requested.notified()).await;
                if woken.is_ok() {
                    break;
                }
                waited += interval;
            }
        }
    }
}

/// The fetched keys of all issuers. After a reload of the configuration, an issuer with unchanged settings keeps its
/// keys.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<FetchSettings, Weak<IssuerKeys>>>);

impl KeyCache {
    /// Returns the keys for these settings. If the cache has no keys for these settings, creates them with the
    /// function `start`.
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
