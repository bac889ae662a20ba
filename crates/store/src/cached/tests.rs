use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::Notify;

use super::record_cache::MAX_GENERATION_AGE;
use super::*;
use crate::CreateOutcome;
use crate::clock::ManualClock;
use crate::conformance;
use crate::memory::MemoryStore;
use crate::secret::Secret;
use crate::session::{Details, EndReason};
use crate::testing::{MINUTE, SECOND, START, session_of};

const ID: SessionId = SessionId::from_bytes([7; SessionId::LEN]);

/// A store that several processes share. A test can delay its answers.
struct SharedStore {
    memory: MemoryStore,
    load_count: AtomicUsize,
    /// While this is set, each load waits for this notification before it returns.
    load_gate: Mutex<Option<Arc<Notify>>>,
}

#[async_trait]
impl SessionStore for SharedStore {
    async fn load(&self, id: SessionId) -> LoadResult {
        self.load_count.fetch_add(1, Ordering::SeqCst);
        let loaded = self.memory.load(id).await;
        let load_gate = self.load_gate.lock().clone();
        if let Some(load_gate) = load_gate {
            load_gate.notified().await;
        }
        loaded
    }

    forward!(self => self.memory; create, touch, end, keep_tombstone, withdraw, change, age, list, wait_replicated, ready,
        incarnation, flush);
}

/// This store caches nothing.
impl LocalStore for SharedStore {
    fn load_cached(&self, _: SessionId) -> Option<Session> {
        None
    }

    fn try_buffer_touch(&self, _: SessionId, _: Touch) -> bool {
        false
    }
}

struct Fixture {
    shared: Arc<SharedStore>,
    clock: ManualClock,
    metrics: Arc<Metrics>,
    cache: Arc<CachedStore<Arc<SharedStore>>>,
}

impl Fixture {
    /// Creates a usable cache with one session.
    async fn new() -> Self {
        let fixture = Self::empty();
        fixture
            .cache
            .create(ID, &session_of("alice", START))
            .await
            .unwrap();
        fixture.cache.caught_up_to(START);
        fixture
    }

    fn empty() -> Self {
        let clock = ManualClock::new(START);
        let shared = Arc::new(SharedStore {
            memory: MemoryStore::new(1000, Arc::new(clock.clone())),
            load_count: AtomicUsize::new(0),
            load_gate: Mutex::default(),
        });
        let metrics = Arc::new(Metrics::new().unwrap());
        let cache = Arc::new(CachedStore::new(
            Arc::clone(&shared),
            1000,
            Arc::new(clock.clone()),
            Arc::new(clock.clone()),
            Arc::clone(&metrics),
        ));
        Self {
            shared,
            clock,
            metrics,
            cache,
        }
    }

    fn load_count(&self) -> usize {
        self.shared.load_count.load(Ordering::SeqCst)
    }

    /// Starts a load that reads the record at once, but does not finish before the test notifies the returned
    /// [`Notify`].
    async fn start_delayed_load(&self) -> (tokio::task::JoinHandle<LoadResult>, Arc<Notify>) {
        let release = Arc::new(Notify::new());
        *self.shared.load_gate.lock() = Some(Arc::clone(&release));
        let (cache, before) = (Arc::clone(&self.cache), self.load_count());
        let load = tokio::spawn(async move { cache.load(ID).await });
        while self.load_count() == before {
            tokio::task::yield_now().await;
        }
        *self.shared.load_gate.lock() = None;
        (load, release)
    }

    async fn end_by_other_replica(&self) {
        let ending = EndRequest::revoked(self.clock.now());
        self.shared.memory.end(ID, ending).await.unwrap();
    }
}

#[tokio::test]
async fn passes_the_conformance_suite() {
    let fixture = Fixture::empty();
    conformance::run(&fixture.cache, START).await;
    fixture.cache.caught_up_to(START);
    conformance::run(&fixture.cache, START).await;
}

#[tokio::test]
async fn a_loaded_session_is_cached() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture.cache.load_cached(ID),
        None,
        "a session should not be cached before its first load"
    );
    let session = fixture.cache.load(ID).await.unwrap().unwrap();
    assert_eq!(fixture.cache.load_cached(ID), Some(session));
    assert_eq!(fixture.load_count(), 1);
    let metrics = &fixture.metrics.near_cache;
    assert_eq!(
        (
            metrics.hits.get(),
            metrics.misses.get(),
            metrics.bypassed.get()
        ),
        (1, 1, 0)
    );
}

/// A change by this replica takes effect at once. The near cache never contains the refresh token.
#[tokio::test]
async fn a_changed_session_is_cached_without_its_refresh_token() {
    let fixture = Fixture::new().await;
    fixture.cache.load(ID).await.unwrap();
    let details = Arc::new(Details {
        host: Some("app.example.com".into()),
        refresh_token: Some(Secret::new("refresh-me".to_owned())),
        ..Details::default()
    });
    let change = Change {
        expected: None,
        details: Some(Arc::clone(&details)),
        attributes: None,
    };
    let outcome = fixture.cache.change(ID, &change).await.unwrap();
    assert!(matches!(outcome, ChangeOutcome::Changed(_)), "{outcome:?}");
    assert_eq!(
        fixture.cache.load_cached(ID),
        None,
        "a change should drop the cached record"
    );
    let loaded = fixture.cache.load(ID).await.unwrap().unwrap();
    assert_eq!(
        loaded.details,
        Some(details),
        "a load should return the refresh token, because revalidation needs it"
    );
    let cached = fixture.cache.load_cached(ID).unwrap();
    let expected = Details::of_sign_in(Some("app.example.com".into()), None);
    assert_eq!(cached.details, expected);
}

#[tokio::test]
async fn only_live_sessions_are_cached() {
    let fixture = Fixture::new().await;
    let other = SessionId::from_bytes([8; 16]);
    assert_eq!(fixture.cache.load(other).await, Ok(None));
    assert_eq!(fixture.cache.load_cached(other), None);
    fixture.end_by_other_replica().await;
    assert!(fixture.cache.load(ID).await.unwrap().is_some());
    assert_eq!(fixture.cache.load_cached(ID), None);
    let created = fixture.cache.create(other, &session_of("bob", START)).await;
    assert_eq!(
        created,
        Ok(CreateOutcome::Created),
        "a load of a missing session should not prevent its creation"
    );
    assert!(fixture.cache.load(other).await.unwrap().is_some());
}

#[tokio::test]
async fn an_end_by_any_replica_takes_effect_at_once() {
    let fixture = Fixture::new().await;
    fixture.cache.load(ID).await.unwrap();
    fixture.end_by_other_replica().await;
    fixture.clock.advance(SECOND / 10);
    fixture.cache.invalidate(ID, START);
    assert_eq!(fixture.cache.load_cached(ID), None);
    let delay = &fixture.metrics.near_cache.end_delay;
    assert_eq!(delay.get_sample_count(), 1);
    assert!((delay.get_sample_sum() - 0.1).abs() < 0.01);
    let fixture = Fixture::new().await;
    fixture.cache.load(ID).await.unwrap();
    fixture
        .cache
        .end(ID, EndRequest::revoked(START))
        .await
        .unwrap();
    assert_eq!(fixture.cache.load_cached(ID), None);
    let fixture = Fixture::new().await;
    fixture.cache.load(ID).await.unwrap();
    fixture.cache.age(ID, MINUTE).await.unwrap();
    assert_eq!(fixture.cache.load_cached(ID), None);
}

#[tokio::test]
async fn a_load_that_overlaps_an_end_is_not_cached() {
    for case in 0..3 {
        let fixture = Fixture::new().await;
        let (load, release) = fixture.start_delayed_load().await;
        match case {
            0 => {
                fixture.end_by_other_replica().await;
                fixture.cache.invalidate(ID, START);
            }
            1 => drop(fixture.cache.end(ID, EndRequest::revoked(START)).await),
            _ => {
                // The invalidation of this session end was lost. The cache is notified that an invalidation may be
                // missing.
                fixture.end_by_other_replica().await;
                fixture.cache.on_lost_invalidation();
                fixture.cache.caught_up_to(START);
            }
        }
        // A load that starts now must not join the load that is still in flight.
        let reloaded = fixture.cache.load(ID).await.unwrap().unwrap();
        assert!(matches!(reloaded.state, State::Ended(_)));
        release.notify_one();
        assert_eq!(load.await.unwrap().unwrap().unwrap().state, State::Live);
        assert_eq!(fixture.cache.load_cached(ID), None, "case {case}");
    }
}

#[tokio::test]
async fn the_cache_returns_nothing_after_the_lease() {
    let fixture = Fixture::new().await;
    fixture.cache.load(ID).await.unwrap();
    fixture
        .clock
        .set(START.plus(LEASE).minus(Duration::from_millis(1)));
    assert!(fixture.cache.load_cached(ID).is_some());
    fixture.clock.set(START.plus(LEASE));
    assert_eq!(fixture.cache.load_cached(ID), None);
    fixture.cache.load(ID).await.unwrap();
    assert_eq!(fixture.metrics.near_cache.bypassed.get(), 1);
    // The heartbeat was late, but no invalidation was lost.
    fixture.cache.caught_up_to(START.plus(SECOND));
    assert!(fixture.cache.load_cached(ID).is_some());
    fixture.cache.on_lost_invalidation();
    assert_eq!(fixture.cache.load_cached(ID), None);
    fixture.cache.caught_up_to(START.plus(SECOND));
    assert_eq!(
        fixture.cache.load_cached(ID),
        None,
        "the cache should have dropped the records"
    );
    assert_eq!(fixture.metrics.near_cache.flushes.get(), 1);
}

#[tokio::test]
async fn a_session_in_use_is_reloaded_from_time_to_time() {
    let fixture = Fixture::new().await;
    fixture.cache.load(ID).await.unwrap();
    for second in 0..=60 {
        let now = START.plus(second * SECOND);
        fixture.clock.set(now);
        fixture.cache.caught_up_to(now);
        if fixture.cache.load_cached(ID).is_none() {
            assert!(second * SECOND > MAX_GENERATION_AGE - SECOND);
            return;
        }
    }
    panic!("the session is still cached after a minute");
}

#[tokio::test]
async fn a_written_touch_is_not_due_again() {
    let fixture = Fixture::new().await;
    let session = fixture.cache.load(ID).await.unwrap().unwrap();
    let touch = Touch {
        at: START.plus(SECOND),
        last_seen: session.last_seen,
        retention: session.retention,
        interval: SECOND,
        deadline: session.deadline,
    };
    fixture.cache.touch(ID, touch).await.unwrap();
    let seen = fixture.cache.load_cached(ID).unwrap().last_seen;
    assert_eq!(seen, START.plus(SECOND));
}

#[tokio::test]
async fn concurrent_loads_share_one_request() {
    let fixture = Fixture::new().await;
    let (first, release) = fixture.start_delayed_load().await;
    let others = (0..100).map(|_| fixture.cache.load(ID));
    let release_load = async {
        tokio::task::yield_now().await;
        release.notify_one();
    };
    let (others, ()) = tokio::join!(join_all(others), release_load);
    assert_eq!(fixture.load_count(), 1);
    let result = first.await.unwrap();
    assert!(others.into_iter().all(|other| other == result));
    assert!(fixture.cache.in_flight.lock().by_id.is_empty());
}

#[tokio::test]
async fn a_load_without_waiters_is_cancelled() {
    let fixture = Fixture::new().await;
    let (first, _release) = fixture.start_delayed_load().await;
    let second = fixture.cache.load(ID);
    assert!(tokio::time::timeout(Duration::ZERO, second).await.is_err());
    assert_eq!(
        fixture.cache.in_flight.lock().by_id.len(),
        1,
        "the load should continue for the first waiter"
    );
    first.abort();
    assert!(first.await.is_err());
    assert!(fixture.cache.in_flight.lock().by_id.is_empty());
    assert!(fixture.cache.load(ID).await.unwrap().is_some());
    assert_eq!(fixture.load_count(), 2);
}

/// An operation on one of a few sessions, or an event of the invalidation channel.
#[derive(Clone, Copy, Debug)]
enum Event {
    Load(u8),
    Check(u8),
    EndByThisReplica(u8),
    /// Another process ends the session. The invalidation arrives later.
    EndByOtherReplica(u8),
    /// The oldest invalidation that is still on its way arrives.
    Deliver,
    /// The latest heartbeat returns. All earlier messages have arrived before it.
    Heartbeat,
    /// The connection breaks: messages are lost, and the cache is notified.
    ConnectionLost,
    Wait(u16),
}

fn any_event() -> impl Strategy<Value = Event> {
    let id = 0_u8..4;
    prop_oneof![
        4 => id.clone().prop_map(Event::Load),
        6 => id.clone().prop_map(Event::Check),
        1 => id.clone().prop_map(Event::EndByThisReplica),
        2 => id.prop_map(Event::EndByOtherReplica),
        2 => Just(Event::Deliver),
        3 => Just(Event::Heartbeat),
        1 => Just(Event::ConnectionLost),
        3 => (0_u16..1500).prop_map(Event::Wait),
    ]
}

proptest! {
    /// If the cache returns a session, the session was live at most one lease ago, and this process did not end it.
    #[test]
    fn no_end_is_missed_for_longer_than_the_lease(events in proptest::collection::vec(any_event(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::empty();
            let id = |number: u8| SessionId::from_bytes([number; 16]);
            for number in 0..4 {
                fixture.cache.create(id(number), &session_of("alice", START)).await.unwrap();
            }
            let mut ended: HashMap<u8, (Timestamp, bool)> = HashMap::new();
            let mut undelivered = std::collections::VecDeque::new();
            for event in events {
                let now = fixture.clock.now();
                match event {
                    Event::Load(number) => {
                        let loaded = fixture.cache.load(id(number)).await.unwrap().unwrap();
                        prop_assert_eq!(loaded.state == State::Live, !ended.contains_key(&number));
                    }
                    Event::Check(number) => {
                        let cached = fixture.cache.load_cached(id(number));
                        if let (Some(session), Some((at, by_this_replica))) = (cached, ended.get(&number)) {
                            prop_assert_eq!(session.state, State::Live);
                            prop_assert!(!by_this_replica && now < at.plus(LEASE), "{:?} after {:?}", now, at);
                        }
                    }
                    Event::EndByThisReplica(number) => {
                        fixture.cache.end(id(number), EndRequest::revoked(now)).await.unwrap();
                        ended.entry(number).or_insert((now, true)).1 = true;
                    }
                    Event::EndByOtherReplica(number) => {
                        let ending = EndRequest { reason: EndReason::Revoked, ..EndRequest::revoked(now) };
                        let outcome = fixture.shared.memory.end(id(number), ending).await.unwrap();
                        if matches!(outcome, EndOutcome::Ended(_)) {
                            ended.insert(number, (now, false));
                            undelivered.push_back((number, now));
                        }
                    }
                    Event::Deliver => {
                        if let Some((number, at)) = undelivered.pop_front() {
                            fixture.cache.invalidate(id(number), at);
                        }
                    }
                    Event::Heartbeat => {
                        for (number, at) in undelivered.drain(..) {
                            fixture.cache.invalidate(id(number), at);
                        }
                        fixture.cache.caught_up_to(now);
                    }
                    Event::ConnectionLost => {
                        undelivered.clear();
                        fixture.cache.on_lost_invalidation();
                    }
                    Event::Wait(millis) => fixture.clock.advance(Duration::from_millis(millis.into())),
                }
            }
            Ok(())
        })?;
    }
}
