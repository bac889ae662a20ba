use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::clock::ManualClock;
use crate::testing::jwt::{SigningKey, key_set};
use crate::testing::{MINUTE, SECOND, START};

/// A fake issuer. It counts the fetches of its keys, and tests can make it fail or respond slowly.
#[derive(Default)]
struct FakeIssuer {
    fetch_count: AtomicUsize,
    is_failing: AtomicBool,
    is_slow: AtomicBool,
    has_second_key: AtomicBool,
}

struct FakeIssuerFetcher(Arc<FakeIssuer>);

#[async_trait]
impl FetchKeys for FakeIssuerFetcher {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        self.0.fetch_count.fetch_add(1, Ordering::SeqCst);
        if self.0.is_slow.load(Ordering::SeqCst) {
            tokio::time::sleep(SECOND).await;
        }
        if self.0.is_failing.load(Ordering::SeqCst) {
            return Err(FetchError::Http("test failure".to_owned()));
        }
        let (a, b) = (SigningKey::ed25519("a"), SigningKey::ed25519("b"));
        Ok(if self.0.has_second_key.load(Ordering::SeqCst) {
            key_set(&[&a, &b])
        } else {
            key_set(&[&a])
        })
    }
}

struct Fixture {
    issuer: Arc<FakeIssuer>,
    keys: Arc<IssuerKeys>,
    clock: ManualClock,
}

impl Fixture {
    /// Starts to fetch keys from a fake issuer, every five minutes and with a maximum age of one hour. `prepare`
    /// changes the issuer before the first fetch.
    fn new(prepare: impl FnOnce(&FakeIssuer)) -> Self {
        let (issuer, clock) = (Arc::new(FakeIssuer::default()), ManualClock::new(START));
        prepare(&issuer);
        let freshness = Freshness {
            refresh_interval: 5 * MINUTE,
            max_age: 60 * MINUTE,
        };
        let keys = IssuerKeys::start_fetching(
            FakeIssuerFetcher(Arc::clone(&issuer)),
            freshness,
            Arc::new(clock.clone()),
            Arc::new(Metrics::new().unwrap()),
            "main".to_owned(),
        );
        Self {
            issuer,
            keys,
            clock,
        }
    }

    /// Advances the manual clock and the paused clock of Tokio.
    async fn advance(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::sleep(time).await;
    }

    /// Returns the number of fetches.
    fn fetch_count(&self) -> usize {
        self.issuer.fetch_count.load(Ordering::SeqCst)
    }

    /// Returns whether the cached keys are usable and contain a key with this ID.
    fn has_key(&self, id: &str) -> bool {
        let keys = self.keys.current(self.clock.now());
        keys.is_ok_and(|keys| keys.knows(id))
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_in_advance() {
    let fixture = Fixture::new(|_| {});
    assert!(
        !fixture.has_key("a"),
        "no key must be usable before the first fetch"
    );
    let keys = fixture.keys.wait_for_running_fetch(START).await.unwrap();
    assert!(keys.knows("a"));
    // Curfew fetches keys only at full minutes. Move to the middle of a minute, so that no fetch is running when the
    // loop counts the fetches.
    fixture.advance(MINUTE / 2).await;
    for minutes in 1..=20_usize {
        fixture.advance(MINUTE).await;
        assert!(fixture.has_key("a"));
        assert_eq!(fixture.fetch_count(), 1 + minutes / 5, "{minutes}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_survive_an_issuer_outage_up_to_their_maximum_age() {
    let fixture = Fixture::new(|_| {});
    fixture.keys.wait_for_running_fetch(START).await.unwrap();
    fixture.issuer.is_failing.store(true, Ordering::SeqCst);
    fixture.advance(59 * MINUTE).await;
    assert!(fixture.has_key("a"));
    assert!(
        fixture.fetch_count() > 12,
        "a failed fetch must be retried after a short pause"
    );
    fixture.advance(MINUTE).await;
    assert_eq!(
        fixture.keys.current(fixture.clock.now()).map(drop),
        Err(NoKeys)
    );
    fixture.issuer.is_failing.store(false, Ordering::SeqCst);
    fixture.advance(5 * MINUTE).await;
    assert!(
        fixture.has_key("a"),
        "the keys must be fetched again after the outage"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_fetch_is_retried_soon() {
    let fixture = Fixture::new(|issuer| issuer.is_failing.store(true, Ordering::SeqCst));
    let found = fixture.keys.wait_for_running_fetch(START).await;
    assert_eq!(found.map(drop), Err(NoKeys));
    fixture.issuer.is_failing.store(false, Ordering::SeqCst);
    fixture.advance(2 * SECOND).await;
    assert!(fixture.has_key("a"));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_trigger_one_shared_fetch_in_ten_seconds() {
    let fixture = Fixture::new(|_| {});
    fixture.keys.wait_for_running_fetch(START).await.unwrap();
    fixture.issuer.has_second_key.store(true, Ordering::SeqCst);
    fixture.issuer.is_slow.store(true, Ordering::SeqCst);
    fixture.advance(MINUTE).await;
    let now = fixture.clock.now();
    let results = join_all((0..100).map(|_| fixture.keys.fetch_for_unknown_key(now))).await;
    for keys in results {
        assert!(
            keys.unwrap().knows("b"),
            "all concurrent requests must wait for the fetch"
        );
    }
    assert_eq!(fixture.fetch_count(), 2);
    // Within a minute, 600 tokens with invented key IDs arrive. They cause at most one fetch every ten seconds.
    for _ in 0..600 {
        fixture.clock.advance(SECOND / 10);
        fixture
            .keys
            .fetch_for_unknown_key(fixture.clock.now())
            .await
            .unwrap();
    }
    assert!(fixture.fetch_count() <= 2 + 6, "{}", fixture.fetch_count());
}

#[tokio::test(start_paused = true)]
async fn static_keys_are_never_fetched_and_never_expire() {
    let keys = IssuerKeys::from_static(key_set(&[&SigningKey::ed25519("a")]));
    let later = START.plus(1000 * 60 * MINUTE);
    assert!(keys.current(later).unwrap().knows("a"));
    assert!(keys.fetch_for_unknown_key(later).await.unwrap().knows("a"));
}

#[tokio::test(start_paused = true)]
async fn the_fetch_task_ends_with_its_last_user() {
    let fixture = Fixture::new(|_| {});
    fixture.keys.wait_for_running_fetch(START).await.unwrap();
    let Fixture { issuer, keys, .. } = fixture;
    drop(keys);
    tokio::time::sleep(60 * MINUTE).await;
    assert!(issuer.fetch_count.load(Ordering::SeqCst) <= 1);
}

#[tokio::test]
async fn the_cache_shares_keys_in_use() {
    let cache = KeyCache::default();
    let settings = FetchSettings {
        location: JwksLocation::KeySet("https://id.example.com/jwks".parse().unwrap()),
        authorities: None,
        timeout: SECOND,
        freshness: Freshness {
            refresh_interval: MINUTE,
            max_age: MINUTE,
        },
    };
    let start = || IssuerKeys::from_static(KeySet::default());
    let first = cache.get(&settings, start);
    assert!(Arc::ptr_eq(&first, &cache.get(&settings, start)));
    let weak_keys = Arc::downgrade(&first);
    drop(first);
    assert!(
        weak_keys.upgrade().is_none(),
        "the cache must have no strong reference to the keys"
    );
    cache.get(&settings, start);
}
