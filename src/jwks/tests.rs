use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::clock::ManualClock;
use crate::testing::jwt::{SigningKey, key_set};
use crate::testing::{MINUTE, SECOND, START};

/// An issuer that counts fetches of its keys. It can be set to fail or to be slow.
#[derive(Default)]
struct Provider {
    asked: AtomicUsize,
    fails: AtomicBool,
    slow: AtomicBool,
    second_key: AtomicBool,
}

struct ProviderFetcher(Arc<Provider>);

#[async_trait]
impl FetchKeys for ProviderFetcher {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if self.0.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(SECOND).await;
        }
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(FetchError::Http("test failure".to_owned()));
        }
        let (a, b) = (SigningKey::ed25519("a"), SigningKey::ed25519("b"));
        Ok(if self.0.second_key.load(Ordering::SeqCst) {
            key_set(&[&a, &b])
        } else {
            key_set(&[&a])
        })
    }
}

struct Fixture {
    provider: Arc<Provider>,
    keys: Arc<IssuerKeys>,
    clock: ManualClock,
}

impl Fixture {
    /// Keys that are fetched every five minutes, with a maximum age of one hour.
    fn new(prepare: impl FnOnce(&Provider)) -> Self {
        let (provider, clock) = (Arc::new(Provider::default()), ManualClock::new(START));
        prepare(&provider);
        let freshness = Freshness {
            refresh: 5 * MINUTE,
            stale: 60 * MINUTE,
        };
        let keys = IssuerKeys::fetched(
            ProviderFetcher(Arc::clone(&provider)),
            freshness,
            Arc::new(clock.clone()),
            Arc::new(Metrics::new().unwrap()),
            "main".to_owned(),
        );
        Self {
            provider,
            keys,
            clock,
        }
    }

    /// Advances both clocks.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::sleep(time).await;
    }

    fn asked(&self) -> usize {
        self.provider.asked.load(Ordering::SeqCst)
    }

    fn knows(&self, id: &str) -> bool {
        let keys = self.keys.current(self.clock.now());
        keys.is_ok_and(|keys| keys.knows(id))
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_ahead_of_time() {
    let fixture = Fixture::new(|_| {});
    assert!(!fixture.knows("a"), "not yet");
    let keys = fixture.keys.awaited(START).await.unwrap();
    assert!(keys.knows("a"));
    // Moves to the middle of a minute: Curfew fetches keys only at full minutes.
    fixture.pass(MINUTE / 2).await;
    for minutes in 1..=20_usize {
        fixture.pass(MINUTE).await;
        assert!(fixture.knows("a"));
        assert_eq!(fixture.asked(), 1 + minutes / 5, "{minutes}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_survive_an_issuer_outage_up_to_their_maximum_age() {
    let fixture = Fixture::new(|_| {});
    fixture.keys.awaited(START).await.unwrap();
    fixture.provider.fails.store(true, Ordering::SeqCst);
    fixture.pass(59 * MINUTE).await;
    assert!(fixture.knows("a"));
    assert!(fixture.asked() > 12, "the fetch is retried often");
    fixture.pass(MINUTE).await;
    assert_eq!(
        fixture.keys.current(fixture.clock.now()).map(drop),
        Err(NoKeys)
    );
    fixture.provider.fails.store(false, Ordering::SeqCst);
    fixture.pass(5 * MINUTE).await;
    assert!(fixture.knows("a"), "the issuer works again");
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_fetch_is_retried_soon() {
    let fixture = Fixture::new(|provider| provider.fails.store(true, Ordering::SeqCst));
    let found = fixture.keys.awaited(START).await;
    assert_eq!(found.map(drop), Err(NoKeys));
    fixture.provider.fails.store(false, Ordering::SeqCst);
    fixture.pass(2 * SECOND).await;
    assert!(fixture.knows("a"));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_trigger_one_shared_fetch_and_rarely() {
    let fixture = Fixture::new(|_| {});
    fixture.keys.awaited(START).await.unwrap();
    fixture.provider.second_key.store(true, Ordering::SeqCst);
    fixture.provider.slow.store(true, Ordering::SeqCst);
    fixture.pass(MINUTE).await;
    let now = fixture.clock.now();
    let all = join_all((0..100).map(|_| fixture.keys.renewed(now))).await;
    for keys in all {
        assert!(
            keys.unwrap().knows("b"),
            "all concurrent requests waited for the fetch"
        );
    }
    assert_eq!(fixture.asked(), 2);
    // Many invented key IDs cause one fetch in ten seconds.
    for _ in 0..600 {
        fixture.clock.advance(SECOND / 10);
        fixture.keys.renewed(fixture.clock.now()).await.unwrap();
    }
    assert!(fixture.asked() <= 2 + 6, "{}", fixture.asked());
}

#[tokio::test(start_paused = true)]
async fn static_keys_are_never_fetched_or_too_old() {
    let keys = IssuerKeys::fixed(key_set(&[&SigningKey::ed25519("a")]));
    let later = START.plus(1000 * 60 * MINUTE);
    assert!(keys.current(later).unwrap().knows("a"));
    assert!(keys.renewed(later).await.unwrap().knows("a"));
}

#[tokio::test(start_paused = true)]
async fn the_fetch_task_ends_with_its_last_user() {
    let fixture = Fixture::new(|_| {});
    fixture.keys.awaited(START).await.unwrap();
    let Fixture { provider, keys, .. } = fixture;
    drop(keys);
    tokio::time::sleep(60 * MINUTE).await;
    assert!(provider.asked.load(Ordering::SeqCst) <= 1);
}

#[tokio::test]
async fn the_cache_shares_keys_in_use() {
    let cache = KeyCache::default();
    let settings = FetchSettings {
        location: Location::KeySet("https://id.example.com/jwks".parse().unwrap()),
        authorities: None,
        timeout: SECOND,
        freshness: Freshness {
            refresh: MINUTE,
            stale: MINUTE,
        },
    };
    let start = || IssuerKeys::fixed(KeySet::default());
    let first = cache.get(&settings, start);
    assert!(Arc::ptr_eq(&first, &cache.get(&settings, start)));
    let gone = Arc::downgrade(&first);
    drop(first);
    assert!(
        gone.upgrade().is_none(),
        "the cache itself keeps no keys alive"
    );
    cache.get(&settings, start);
}
