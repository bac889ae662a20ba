use super::*;
use crate::clock::ManualClock;
use crate::conformance;
use crate::memory::MemoryStore;
use crate::session::EndReason;
use crate::testing::{MINUTE, START, session_of};

const ID: SessionId = SessionId::from_bytes([7; SessionId::LEN]);

struct Fixture {
    journal: JournaledStore<Arc<MemoryStore>>,
    memory: Arc<MemoryStore>,
    clock: ManualClock,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn new() -> Self {
        let clock = ManualClock::new(START);
        let metrics = Arc::new(Metrics::new().unwrap());
        let memory = Arc::new(MemoryStore::new(1000, Arc::new(clock.clone())));
        let journal = JournaledStore::new(
            Arc::clone(&memory),
            5 * MINUTE,
            Arc::new(clock.clone()),
            Arc::clone(&metrics),
        );
        Self {
            journal,
            memory,
            clock,
            metrics,
        }
    }

    /// Ends a session, and then makes it live again in the store, to simulate a fail-over. Returns the tombstone.
    async fn end_and_restore(&self) -> Session {
        let session = session_of("alice", START);
        self.journal.create(ID, &session).await.unwrap();
        let ended = self
            .journal
            .end(ID, EndRequest::revoked(START))
            .await
            .unwrap();
        let EndOutcome::Ended(tombstone) = ended else {
            panic!("{ended:?}")
        };
        self.memory.put(ID, session);
        tombstone
    }
}

#[tokio::test]
async fn a_restored_session_is_ended_in_the_journal_at_once_and_in_the_store_after_the_replay() {
    let fixture = Fixture::new();
    let tombstone = fixture.end_and_restore().await;
    let from_journal = fixture.journal.load(ID).await.unwrap();
    assert_eq!(from_journal.as_ref(), Some(&tombstone));
    let page = fixture.journal.list(&tombstone.subject, None, 9).await;
    assert_eq!(page.unwrap().sessions, [(ID, tombstone.clone())]);
    let from_store = fixture.memory.load(ID).await.unwrap().unwrap();
    assert_eq!(from_store.state, State::Live);
    assert_eq!(fixture.journal.replay().await, Ok(1));
    let from_store = fixture.memory.load(ID).await.unwrap();
    assert_eq!(from_store, Some(tombstone));
    assert_eq!(fixture.journal.replay().await, Ok(0));
    assert_eq!(fixture.metrics.store.ends_replayed.get(), 1);
}

#[tokio::test]
async fn a_restored_session_keeps_its_first_end() {
    let fixture = Fixture::new();
    let tombstone = fixture.end_and_restore().await;
    let idle = EndRequest {
        reason: EndReason::IdleTimeout,
        ..EndRequest::revoked(START.plus(MINUTE))
    };
    let outcome = fixture.journal.end(ID, idle).await.unwrap();
    assert_eq!(outcome, EndOutcome::AlreadyEnded(tombstone));
}

/// The reply to the first call was lost, so the second call returns that the session had already ended.
#[tokio::test]
async fn an_end_whose_reply_was_lost_is_journaled() {
    let fixture = Fixture::new();
    let session = session_of("alice", START);
    fixture.journal.create(ID, &session).await.unwrap();
    fixture
        .memory
        .end(ID, EndRequest::revoked(START))
        .await
        .unwrap();
    let ended = fixture
        .journal
        .end(ID, EndRequest::revoked(START))
        .await
        .unwrap();
    assert!(matches!(ended, EndOutcome::AlreadyEnded(_)), "{ended:?}");
    fixture.memory.put(ID, session);
    let from_journal = fixture.journal.load(ID).await.unwrap().unwrap();
    assert!(matches!(from_journal.state, State::Ended(_)));
    assert_eq!(fixture.journal.replay().await, Ok(1));
}

/// The store lost the record through `DEL`, `FLUSHALL`, or the restore of an older copy.
#[tokio::test]
async fn a_session_whose_tombstone_is_lost_does_not_start_again() {
    let fixture = Fixture::new();
    let tombstone = fixture.end_and_restore().await;
    fixture.memory.remove(ID);
    assert_eq!(fixture.memory.load(ID).await.unwrap(), None);
    let from_journal = fixture.journal.load(ID).await.unwrap();
    assert_eq!(from_journal.as_ref(), Some(&tombstone));
    let session = session_of("alice", START);
    let outcome = fixture.journal.create(ID, &session).await;
    assert_eq!(outcome.unwrap(), CreateOutcome::Exists);
    assert_eq!(fixture.memory.load(ID).await.unwrap(), None);
    // The journal returns the tombstone until the record would have expired, but at most for the retention of the
    // journal.
    fixture.clock.advance(5 * MINUTE);
    fixture.journal.replay().await.unwrap();
    assert_eq!(fixture.journal.load(ID).await.unwrap(), None);
}

#[tokio::test]
async fn journal_entries_expire() {
    let fixture = Fixture::new();
    fixture.end_and_restore().await;
    fixture.clock.advance(5 * MINUTE);
    assert_eq!(fixture.journal.replay().await, Ok(0));
    let session = fixture.journal.load(ID).await.unwrap().unwrap();
    assert_eq!(session.state, State::Live);
}

#[tokio::test]
async fn passes_the_conformance_suite() {
    let fixture = Fixture::new();
    conformance::run(&fixture.journal, START).await;
}
