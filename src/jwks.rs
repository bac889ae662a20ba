//! The public keys of identity providers, fetched and kept.
//!
//! They are fetched ahead of time, so that a check finds them in memory. A token that names a key
//! which is not known makes them be fetched at once, for all such checks together and not often:
//! anybody can invent a key id.

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

/// An identity provider.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The name in the configuration.
    pub name: String,
    /// What its tokens must be like.
    pub issuer: Issuer,
    /// Where its keys come from.
    pub keys: KeySource,
    /// The home policy of the sessions that its tokens start; `None` for the default one.
    pub policy: Option<PolicyName>,
}

/// Where the keys of an identity provider come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file that has been read.
    File(KeySet),
    /// The provider itself.
    Fetched(FetchSettings),
}

/// The least time between two fetches that tokens with unknown keys ask for.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(10);
/// The pause after the first fetch that failed; each further one is twice as long, up to the usual
/// interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether anybody has the keys.
const LOOK: Duration = Duration::from_secs(10);

/// Gets the keys of an issuer.
#[async_trait]
pub trait FetchKeys: Send + Sync + 'static {
    /// The keys as they are now.
    ///
    /// # Errors
    /// [`FetchError`] when they could not be had.
    async fn fetch(&self) -> Result<KeySet, FetchError>;
}

/// How long fetched keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Freshness {
    /// How often they are fetched.
    pub refresh: Duration,
    /// How long they are used after the last fetch that succeeded.
    pub stale: Duration,
}

/// The keys of one issuer.
pub struct IssuerKeys {
    known: Mutex<Known>,
    /// Counts the fetches that have ended, however.
    rounds: watch::Sender<u64>,
    /// Asks for a fetch.
    wanted: Notify,
    /// `None` for keys that were given once and for all.
    stale: Option<Duration>,
}

#[derive(Default)]
struct Known {
    keys: Option<Arc<KeySet>>,
    fetched: Timestamp,
    /// Whether a fetch is under way or about to begin.
    fetching: bool,
    /// When an unknown key last asked for one.
    asked: Option<Timestamp>,
}

/// There are no keys of the issuer, or they are too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the issuer's keys are not known")]
pub struct NoKeys;

impl IssuerKeys {
    /// Keys that were given once and for all.
    #[must_use]
    pub fn fixed(given: KeySet) -> Arc<Self> {
        let keys = Self::empty(None);
        keys.known.lock().keys = Some(Arc::new(given));
        Arc::new(keys)
    }

    fn empty(stale: Option<Duration>) -> Self {
        Self {
            known: Mutex::default(),
            rounds: watch::Sender::new(0),
            wanted: Notify::new(),
            stale,
        }
    }

    /// Keys that `fetcher` gets, in the background for as long as anybody has them.
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
        let keeper = Keeper {
            keys: Arc::downgrade(&keys),
            fetcher: Box::new(fetcher),
            refresh: freshness.refresh,
            clock,
            metrics,
            issuer,
        };
        tokio::spawn(keeper.run());
        keys
    }

    /// The keys, unless there are none yet or they are too old.
    ///
    /// # Errors
    /// [`NoKeys`] then.
    pub fn current(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        let known = self.known.lock();
        let fresh = self
            .stale
            .is_none_or(|stale| now < known.fetched.plus(stale));
        known.keys.clone().filter(|_| fresh).ok_or(NoKeys)
    }

    /// The keys, after a fetch that is under way has ended.
    ///
    /// # Errors
    /// [`NoKeys`] when there are none all the same.
    pub async fn awaited(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        let mut rounds = self.rounds.subscribe();
        if self.known.lock().fetching {
            // Fails only when nobody fetches any more.
            let _ = rounds.changed().await;
        }
        self.current(now)
    }

    /// The keys, after a fetch: for a token whose key is not known. There is none when the last such
    /// token was a moment ago.
    ///
    /// # Errors
    /// [`NoKeys`] when there are none.
    pub async fn renewed(&self, now: Timestamp) -> Result<Arc<KeySet>, NoKeys> {
        {
            let mut known = self.known.lock();
            let lately = known
                .asked
                .is_some_and(|asked| now < asked.plus(UNKNOWN_KEY_PAUSE));
            if !known.fetching && !lately && self.stale.is_some() {
                known.asked = Some(now);
                known.fetching = true;
                self.wanted.notify_one();
            }
        }
        self.awaited(now).await
    }
}

/// Fetches an issuer's keys from time to time.
struct Keeper {
    keys: Weak<IssuerKeys>,
    fetcher: Box<dyn FetchKeys>,
    refresh: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    issuer: String,
}

impl Keeper {
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
                        tracing::warn!(issuer = self.issuer, %error, "an issuer's keys could not be fetched");
                    }
                }
            }
            keys.rounds.send_modify(|round| *round += 1);
            let pause = match failures {
                0 => self.refresh,
                failures => FIRST_PAUSE
                    .saturating_mul(1 << (failures - 1).min(16))
                    .min(self.refresh),
            };
            // Without holding on to them: when nobody else does, this ends within a look.
            let mut waited = Duration::ZERO;
            drop(keys);
            while waited < pause {
                let Some(keys) = self.keys.upgrade() else {
                    return;
                };
                let look = LOOK.min(pause - waited);
                let woken = tokio::time::timeout(look, keys.wanted.notified()).await;
                if woken.is_ok() {
                    break;
                }
                waited += look;
            }
        }
    }
}

/// The keys of all issuers, so that those of an issuer which stays are not fetched anew when the
/// configuration changes.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<FetchSettings, Weak<IssuerKeys>>>);

impl KeyCache {
    /// The keys that are fetched like this; those that are fetched already, if they are.
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
