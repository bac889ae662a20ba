//! Measures how much memory Redis needs for each session. The program creates sessions as the service does, and reads
//! `used_memory`. `scripts/memory.sh` runs it.
//!
//! The argument is the number of sessions. The default is one million.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed measurement stops the program"
)]

use curfew_testkit as support;

use std::sync::Arc;
use std::time::Duration;

use curfew::clock::StoreClock;
use curfew::credential::{KeyRing, SigningKey};
use curfew::live::Live;
use curfew::session::{
    Attributes, Limits, NewSession, PolicyName, Session, SessionId, Subject, Timestamp,
};
use curfew::store::redis::{RedisSettings, RedisStore, RedisTarget};
use curfew::store::{DeadlineQueue, SessionStore};
use futures_util::future::join_all;
use support::redis::{RedisServer, info_field};

/// The number of sessions that are created at the same time.
const MAX_CONCURRENT_CREATES: u64 = 500;

#[tokio::main]
async fn main() {
    let args = std::env::args().skip(1);
    let count = args
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(1_000_000);
    let full_server = RedisServer::start();
    let before = used_memory(&full_server);
    let store = create_sessions(&full_server, count).await;
    let after = used_memory(&full_server);
    let keys: u64 = full_server.command(&[b"DBSIZE"]);

    // Copies only the records to a new server, to measure them without the indexes.
    let records_server = RedisServer::start();
    copy_records(&full_server, &records_server);
    let records = used_memory(&records_server) - before;
    let queue: u64 = full_server.command(&[
        b"MEMORY",
        b"USAGE",
        b"curfew:{q}deadlines",
        b"SAMPLES",
        b"0",
    ]);
    drop(store);

    let per_session = |bytes: u64| bytes / count;
    println!(
        "{count} sessions of {count} subjects, {keys} keys, bytes of used_memory for each session:"
    );
    println!("| what | bytes for each session |");
    println!("|---|--:|");
    println!("| the record with its key | {} |", per_session(records));
    println!("| the deadline queue | {} |", per_session(queue));
    println!(
        "| all: record, subject index, deadline queue | {} |",
        per_session(after - before)
    );
}

fn used_memory(server: &RedisServer) -> u64 {
    info_field(server, "used_memory")
        .parse()
        .expect("the answer to INFO should contain used_memory")
}

async fn create_sessions(server: &RedisServer, count: u64) -> Arc<RedisStore> {
    let settings = RedisSettings {
        command_timeout: Duration::from_secs(30),
        ..RedisSettings::new(
            RedisTarget::parse(&server.url()).unwrap(),
            curfew::migrations::SCRIPTS,
        )
    };
    let key = SigningKey::parse(&SigningKey::generate().unwrap()).unwrap();
    let key_ring = Live::new(KeyRing::new(vec![key]).unwrap());
    let clock = Arc::new(StoreClock::new());
    let store = Arc::new(RedisStore::new(settings, clock, key_ring));
    let running_store = Arc::clone(&store);
    tokio::spawn(async move { running_store.run(Default::default()).await });
    let now = support::now();
    let numbers: Vec<u64> = (0..count).collect();
    for chunk in numbers.chunks(usize::try_from(MAX_CONCURRENT_CREATES).unwrap()) {
        let creations = chunk.iter().map(async |number| {
            let (id, session) = (random_id(), session(*number, now));
            store
                .enqueue(id, now.plus(Duration::from_secs(900)))
                .await
                .unwrap();
            store.create(id, &session).await.unwrap();
        });
        join_all(creations).await;
    }
    store
}

fn random_id() -> SessionId {
    let mut bytes = [0; SessionId::LEN];
    getrandom::fill(&mut bytes).unwrap();
    SessionId::from_bytes(bytes)
}

/// Returns a session without attributes. Each number has its own subject, with a name of usual length.
fn session(number: u64, now: Timestamp) -> Session {
    let limits = Limits {
        idle: Some(Duration::from_secs(900)),
        absolute: Duration::from_secs(43_200),
        max_auth_age: None,
    };
    let new = NewSession {
        remembered: false,
        binding: curfew::session::Binding::default(),
        subject: Subject::new(format!("user{number:07}")).unwrap(),
        attributes: Attributes::default(),
        policy: PolicyName::new("default").unwrap(),
    };
    Session::start(new, &limits, Duration::from_secs(3600), now)
}

/// Copies the records from one server to another, with their expiries.
fn copy_records(from: &RedisServer, to: &RedisServer) {
    let connect = |server: &RedisServer| {
        let client = redis::Client::open(server.url()).unwrap();
        client.get_connection().unwrap()
    };
    let (mut from, mut to) = (connect(from), connect(to));
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg("curfew:s:*")
            .arg("COUNT")
            .arg(1000);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query(&mut from).unwrap();
        let mut read = redis::pipe();
        for key in &keys {
            read.get(key).cmd("PEXPIRETIME").arg(key);
        }
        let answers: Vec<redis::Value> = read.query(&mut from).unwrap();
        let mut write = redis::pipe();
        for (key, answer) in keys.iter().zip(answers.chunks_exact(2)) {
            let record: Vec<u8> = redis::from_redis_value_ref(&answer[0]).unwrap();
            let expiry: u64 = redis::from_redis_value_ref(&answer[1]).unwrap();
            write
                .cmd("SET")
                .arg(key)
                .arg(record)
                .arg("PXAT")
                .arg(expiry)
                .ignore();
        }
        write.exec(&mut to).unwrap();
        cursor = next;
        if cursor == 0 {
            return;
        }
    }
}
