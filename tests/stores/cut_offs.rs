//! A cut-off ends all sessions of one subject that started before a certain time. Replicas keep a copy of the cut-offs.
//! They read the changes from a log in Redis, and miss none.

use std::collections::BTreeMap;

use curfew::revocation::{RevocationConditions, RevocationRule};
use curfew::store::{AddRuleOutcome, CutOffStore};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::cluster::Cluster;
use crate::support::recording_proxy::RecordingProxy;
use crate::support::redis::RedisServer;
use crate::support::sentinel::SentinelGroup;
use curfew::telemetry::{Diagnostics, Metrics};

const CUT_OFFS_KEY: &[u8] = b"test:not-before";
const FORGET_BEFORE: Timestamp = Timestamp::from_millis(1000);

fn subject(number: u32) -> Subject {
    Subject::new(format!("subject {number}")).unwrap()
}

/// Returns the member of the sorted set for a subject.
fn cut_off_member(number: u32) -> Vec<u8> {
    let text = format!("curfew subject 1\0subject {number}");
    Sha256::digest(text)[..16].to_vec()
}

/// Writes cut-offs with the script of the previous version, which does not add the changes to the log.
fn write_without_log(server: &RedisServer, cut_offs: &[(u32, u64)]) {
    let script = include_str!("../../migrations/0005_not_before.lua");
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for (number, at) in cut_offs {
        let mut eval = redis::cmd("EVAL");
        eval.arg(script)
            .arg(1)
            .arg(CUT_OFFS_KEY)
            .arg(cut_off_member(*number))
            .arg(at);
        eval.arg(0).arg(now().as_millis());
        eval.exec(&mut connection).unwrap();
    }
}

/// Adds `count` cut-offs to the set. Each group of `in_one_millisecond` cut-offs has the same time.
fn add_cut_offs(server: &RedisServer, count: u32, in_one_millisecond: u32) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let begin = now().as_millis() - 60_000;
    let numbers: Vec<u32> = (0..count).collect();
    for chunk in numbers.chunks(10_000) {
        let mut add = redis::cmd("ZADD");
        add.arg(CUT_OFFS_KEY);
        for number in chunk {
            let at = begin + u64::from(number / in_one_millisecond);
            add.arg(at).arg(cut_off_member(*number));
        }
        add.exec(&mut connection).unwrap();
    }
    // The score of the empty member is the sequence number of the last change.
    let mut number = redis::cmd("ZADD");
    number.arg(CUT_OFFS_KEY).arg(now().as_millis()).arg("");
    number.exec(&mut connection).unwrap();
}

async fn read_cut_offs(replica: &ConnectedStore) {
    let read = replica.read_cut_offs();
    let read = tokio::time::timeout(Duration::from_secs(120), read).await;
    assert_eq!(read.unwrap(), Ok(true));
}

#[tokio::test]
async fn a_replica_with_200_000_entries_reads_only_what_changes() {
    const CUT_OFF_COUNT: u32 = 200_000;
    let server = RedisServer::start();
    add_cut_offs(&server, CUT_OFF_COUNT, 1);
    server.command::<()>(&[b"SLOWLOG", b"RESET"]);
    let recording_proxy = RecordingProxy::start(([127, 0, 0, 1], server.port).into()).await;
    let reader =
        ConnectedStore::connect(settings(&format!("redis://{}/", recording_proxy.address))).await;
    let writer = ConnectedStore::connect(settings(&server.url())).await;
    writer
        .set_cut_off(&subject(0), now(), FORGET_BEFORE)
        .await
        .unwrap();
    while reader.read_cut_offs().await == Ok(false) {}
    assert!(reader.is_fresh());
    assert_eq!(reader.usage().entries, CUT_OFF_COUNT as usize);
    assert_eq!(reader.full_cut_off_read_count().await, 1);
    let bytes = reader.cut_off_bytes() as f64 / f64::from(CUT_OFF_COUNT);
    assert!(bytes < 32.0, "{bytes} bytes for each entry");
    // The reader asks for a limited number of cut-offs at a time, so no command is slow.
    let slow: Vec<redis::Value> = server.command(&[b"SLOWLOG", b"GET"]);
    assert!(slow.is_empty(), "{slow:?}");
    for number in CUT_OFF_COUNT..CUT_OFF_COUNT + 5 {
        let at = now();
        writer
            .set_cut_off(&subject(number), at, FORGET_BEFORE)
            .await
            .unwrap();
        recording_proxy.take();
        read_cut_offs(&reader).await;
        let (_, response) = recording_proxy.take();
        assert!(response.len() < 2000, "{} bytes", response.len());
        assert_eq!(reader.known_cut_off(&subject(number)), Some(at));
    }
    assert_eq!(reader.full_cut_off_read_count().await, 1);
    recording_proxy.take();
    read_cut_offs(&reader).await;
    let (_, response) = recording_proxy.take();
    assert!(
        response.len() < 300,
        "{} bytes in the reply, although nothing has changed",
        response.len()
    );
}

#[tokio::test]
async fn a_replica_reads_more_entries_of_one_millisecond_than_fit_on_a_page() {
    let server = RedisServer::start();
    add_cut_offs(&server, 9000, 4500);
    let replica = ConnectedStore::connect(settings(&server.url())).await;
    read_cut_offs(&replica).await;
    assert_eq!(replica.usage().entries, 9000);
}

/// During a rolling update, replicas of both versions write cut-offs, and read the cut-offs of the other version.
#[tokio::test]
async fn replicas_of_two_versions_read_each_others_cut_offs() {
    let server = RedisServer::start();
    let new = ConnectedStore::connect(settings(&server.url())).await;
    let at = |millis| Timestamp::from_millis(now().as_millis() / 1_000_000 * 1_000_000 + millis);
    write_without_log(&server, &[(1, at(1).as_millis())]);
    read_cut_offs(&new).await;
    assert_eq!(new.known_cut_off(&subject(1)), Some(at(1)));
    new.set_cut_off(&subject(2), at(2), FORGET_BEFORE)
        .await
        .unwrap();
    write_without_log(&server, &[(3, at(3).as_millis()), (1, at(4).as_millis())]);
    read_cut_offs(&new).await;
    let known: Vec<_> = (1..=3)
        .map(|number| new.known_cut_off(&subject(number)))
        .collect();
    assert_eq!(known, [Some(at(4)), Some(at(2)), Some(at(3))]);
    // The previous version reads the whole set, and uses members of 16 bytes.
    let all: Vec<(Vec<u8>, u64)> =
        server.command(&[b"ZRANGE", CUT_OFFS_KEY, b"0", b"-1", b"WITHSCORES"]);
    let names: BTreeMap<Vec<u8>, u64> = all
        .into_iter()
        .filter(|(name, _)| name.len() == 16)
        .collect();
    let expected: BTreeMap<Vec<u8>, u64> = [(1, 4), (2, 2), (3, 3)]
        .map(|(number, millis)| (cut_off_member(number), at(millis).as_millis()))
        .into();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn replicas_bound_the_set_without_losing_a_cut_off() {
    const MAX_CUT_OFFS: usize = 500;
    let server = RedisServer::start();
    let bounded_settings = || RedisSettings {
        max_cut_offs: MAX_CUT_OFFS,
        ..settings(&server.url())
    };
    let (one, two) = (
        ConnectedStore::connect(bounded_settings()).await,
        ConnectedStore::connect(bounded_settings()).await,
    );
    read_cut_offs(&two).await;
    let begin = now();
    let at = |number: u32| begin.plus(Duration::from_millis(u64::from(number)));
    for number in 0..1500 {
        one.set_cut_off(&subject(number), at(number), FORGET_BEFORE)
            .await
            .unwrap();
        if number % 100 == 0 {
            read_cut_offs(&two).await;
        }
    }
    read_cut_offs(&one).await;
    read_cut_offs(&two).await;
    let names: Vec<Vec<u8>> = server.command(&[b"ZRANGE", CUT_OFFS_KEY, b"0", b"-1"]);
    let names = names.iter().filter(|name| name.len() == 16).count();
    assert!(
        (MAX_CUT_OFFS - 101..=MAX_CUT_OFFS + 2).contains(&names),
        "{names}"
    );
    let three = ConnectedStore::connect(bounded_settings()).await;
    read_cut_offs(&three).await;
    for replica in [&one, &two, &three] {
        assert!(replica.usage().entries <= MAX_CUT_OFFS * 9 / 8);
        for number in 0..1500 {
            let known = replica.known_cut_off(&subject(number));
            assert!(known >= Some(at(number)), "{number}: {known:?}");
        }
        // The general cut-off has replaced the oldest cut-offs. It applies to a subject without its own cut-off, and
        // must not be later than the remaining cut-offs.
        let other = replica.known_cut_off(&subject(9999));
        assert!(
            other < Some(at(1500 - MAX_CUT_OFFS as u32 + 101)),
            "{other:?}"
        );
        assert!(other >= replica.cut_off(&subject(9999)).await.unwrap());
    }
}

#[tokio::test]
async fn a_replica_removes_old_cut_offs_from_redis_and_from_its_copy() {
    let server = RedisServer::start();
    let replica = ConnectedStore::connect(settings(&server.url())).await;
    let policies = Live::new(super::migrations::policies());
    let absolute_limit = limits().absolute;
    let old = now().minus(absolute_limit + MINUTE).as_millis();
    let cut_offs: Vec<(u32, u64)> = (0..1200).map(|number| (number, old)).collect();
    write_without_log(&server, &cut_offs);
    write_without_log(&server, &[(7777, now().as_millis())]);
    let (diagnostics, metrics) = (Diagnostics::default(), Metrics::new().unwrap());
    let follow =
        replica.follow_cut_offs(&policies, &diagnostics, &metrics, CancellationToken::new());
    let old_cut_offs_are_removed = async || {
        let count: usize = server.command(&[b"ZCARD", CUT_OFFS_KEY]);
        // The set has two members: the remaining cut-off, and the sequence number of the last change.
        count == 2 && metrics.store.cut_offs.get() == 1
    };
    tokio::select! {
        () = follow => unreachable!("the task ended although it was not stopped"),
        () = eventually("old cut-offs are removed", old_cut_offs_are_removed) => {}
    }
    assert!(replica.known_cut_off(&subject(7777)).is_some());
    assert_eq!(replica.known_cut_off(&subject(1)), None);
    assert_eq!(metrics.store.cut_offs_fresh.get(), 1);
}

#[tokio::test]
async fn a_replica_keeps_cut_offs_that_a_fail_over_lost() {
    let mut group = SentinelGroup::start().await;
    let replica = ConnectedStore::connect(settings(&group.url())).await;
    let at = now();
    for number in 0..3 {
        replica
            .set_cut_off(&subject(number), at, FORGET_BEFORE)
            .await
            .unwrap();
    }
    read_cut_offs(&replica).await;
    let primary = group.primary_index();
    // Removes the third cut-off from Redis, as if the fail-over below had lost it.
    for server in &group.servers {
        server.command::<()>(&[b"CONFIG", b"SET", b"repl-diskless-sync-delay", b"0"]);
    }
    group.servers[primary].command::<()>(&[b"ZREM", CUT_OFFS_KEY, &cut_off_member(2)]);
    eventually("the replicas of Redis have the removal", async || {
        group.servers.iter().all(|server| {
            let score: Option<f64> = server.command(&[b"ZSCORE", CUT_OFFS_KEY, &cut_off_member(2)]);
            score.is_none()
        })
    })
    .await;
    group.servers[primary].kill();
    group.wait_for_fail_over(primary).await;
    eventually("the store works again", async || {
        replica.ready().await.is_ok()
    })
    .await;
    eventually("the replica reads the cut-offs again", async || {
        replica.read_cut_offs().await == Ok(true)
    })
    .await;
    for number in 0..3 {
        assert_eq!(replica.known_cut_off(&subject(number)), Some(at));
    }
    let other = ConnectedStore::connect(settings(&group.url())).await;
    other
        .set_cut_off(&subject(3), at, FORGET_BEFORE)
        .await
        .unwrap();
    read_cut_offs(&replica).await;
    assert_eq!(replica.known_cut_off(&subject(3)), Some(at));
}

#[tokio::test]
async fn replicas_of_a_cluster_read_each_others_cut_offs() {
    let cluster = Cluster::start().await;
    let one = ConnectedStore::connect(settings(&cluster.url())).await;
    let two = ConnectedStore::connect(settings(&cluster.url())).await;
    read_cut_offs(&two).await;
    for number in 0..20 {
        let at = now();
        one.set_cut_off(&subject(number), at, FORGET_BEFORE)
            .await
            .unwrap();
        read_cut_offs(&two).await;
        assert_eq!(two.known_cut_off(&subject(number)), Some(at));
    }
    assert_eq!(
        two.full_cut_off_read_count().await,
        0,
        "a replica that started with an empty set never needs a full read"
    );
}

/// After a fail-over loses a revocation rule, all replicas that have read this rule still apply it.
#[tokio::test]
async fn replicas_keep_rules_that_redis_lost() {
    let server = RedisServer::start();
    let one = ConnectedStore::connect(settings(&server.url())).await;
    let two = ConnectedStore::connect(settings(&server.url())).await;
    read_cut_offs(&two).await;
    let new_rule = |policy: Option<&str>| RevocationRule {
        conditions: RevocationConditions {
            policy: policy.map(str::to_owned),
            ..RevocationConditions::default()
        },
        before: now().plus(MINUTE),
    };
    one.add_rule(&new_rule(Some("strict")), FORGET_BEFORE)
        .await
        .unwrap();
    read_cut_offs(&two).await;
    assert!(!two.is_ended_by_rule(&new_session()));
    let added = one
        .add_rule(&new_rule(Some("default")), FORGET_BEFORE)
        .await
        .unwrap();
    assert!(matches!(
        added,
        AddRuleOutcome::Added {
            change: Some(_),
            ..
        }
    ));
    read_cut_offs(&two).await;
    assert!(two.is_ended_by_rule(&new_session()));
    assert_eq!(two.full_cut_off_read_count().await, 0);
    // A replica that has not read the revocation rules yet reads them when it loads a session.
    one.create(ID, &new_session()).await.unwrap();
    let three = ConnectedStore::connect(settings(&server.url())).await;
    three.load(ID).await.unwrap();
    assert!(three.is_ended_by_rule(&new_session()));
    server.command::<()>(&[b"FLUSHALL"]);
    read_cut_offs(&two).await;
    assert!(
        two.is_ended_by_rule(&new_session()),
        "the replica should still apply the rules that it has read"
    );
}

#[derive(Clone, Debug)]
enum Step {
    /// A replica sets a cut-off. The fields are whether it is the second replica, the number of the subject, and the
    /// time.
    Set(bool, u32, u64),
    /// A replica of the previous version of Curfew sets a cut-off.
    SetByPreviousVersion(u32, u64),
    /// A replica reads the set.
    Read(bool),
    /// The store loses the cut-off of the subject with this number.
    Lose(u32),
    /// The store loses all cut-offs.
    LoseAll,
    /// Redis removes the oldest entries of the log of changes.
    Trim,
    /// All connections are lost.
    Disconnect,
    /// A replica restarts.
    Restart(bool),
}

fn any_history() -> impl Strategy<Value = Vec<Step>> {
    let (replica_index, number, at) = (any::<bool>(), 0_u32..30, 1_u64..1000);
    let step = prop_oneof![
        8 => (replica_index, number.clone(), at.clone()).prop_map(|(replica_index, number, at)| Step::Set(replica_index, number, at)),
        2 => (number.clone(), at).prop_map(|(number, at)| Step::SetByPreviousVersion(number, at)),
        6 => replica_index.prop_map(Step::Read),
        1 => number.prop_map(Step::Lose),
        1 => Just(Step::LoseAll),
        1 => Just(Step::Trim),
        1 => Just(Step::Disconnect),
        1 => replica_index.prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Random histories of two replicas and a replica of the previous version, with losses and lost connections. After each
/// read, a replica has all cut-offs of Redis, and all cut-offs that it had before. It has no cut-off that was never
/// set.
#[test]
fn two_replicas_follow_the_set_in_random_histories() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = RedisServer::start();
    let mut runner = TestRunner::new(Config::with_cases(60));
    runner
        .run(&any_history(), |steps| {
            runtime.block_on(run_history(&server, steps));
            Ok(())
        })
        .unwrap();
}

async fn run_history(server: &RedisServer, steps: Vec<Step>) {
    server.command::<()>(&[b"FLUSHALL"]);
    let mut replicas = [
        ConnectedStore::connect(settings(&server.url())).await,
        ConnectedStore::connect(settings(&server.url())).await,
    ];
    let mut known: [BTreeMap<u32, u64>; 2] = Default::default();
    let mut all_times: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Set(replica_index, number, at) => {
                let at_time = Timestamp::from_millis(at);
                let replica = &replicas[usize::from(replica_index)];
                let forget = Timestamp::default();
                replica
                    .set_cut_off(&subject(number), at_time, forget)
                    .await
                    .unwrap();
                all_times.entry(number).or_default().push(at);
                let entry = known[usize::from(replica_index)]
                    .entry(number)
                    .or_insert(at);
                *entry = at.max(*entry);
            }
            Step::SetByPreviousVersion(number, at) => {
                write_without_log(server, &[(number, at)]);
                all_times.entry(number).or_default().push(at);
            }
            Step::Read(replica_index) => {
                let replica = &replicas[usize::from(replica_index)];
                read_cut_offs(replica).await;
                let stored_cut_offs: Vec<(Vec<u8>, u64)> =
                    server.command(&[b"ZRANGE", CUT_OFFS_KEY, b"0", b"-1", b"WITHSCORES"]);
                let stored_cut_offs: BTreeMap<Vec<u8>, u64> = stored_cut_offs.into_iter().collect();
                for number in 0..30 {
                    let found = replica
                        .known_cut_off(&subject(number))
                        .map(Timestamp::as_millis);
                    let before = known[usize::from(replica_index)].get(&number).copied();
                    let stored = stored_cut_offs.get(&cut_off_member(number)).copied();
                    assert!(
                        found >= before.max(stored),
                        "subject {number}: the replica has {found:?}; before, it had {before:?}; Redis has {stored:?}"
                    );
                    if let Some(found) = found {
                        assert!(
                            all_times[&number].contains(&found),
                            "subject {number}: no replica ever set the cut-off {found}"
                        );
                        known[usize::from(replica_index)].insert(number, found);
                    }
                }
            }
            Step::Lose(number) => {
                server.command::<()>(&[b"ZREM", CUT_OFFS_KEY, &cut_off_member(number)]);
            }
            Step::LoseAll => server.command::<()>(&[b"FLUSHALL"]),
            Step::Trim => {
                let log = (1_u64 << 52).to_string();
                server.command::<()>(&[b"ZREMRANGEBYSCORE", CUT_OFFS_KEY, log.as_bytes(), b"+inf"]);
            }
            Step::Disconnect => {
                server.command::<()>(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
                for replica in &replicas {
                    eventually("the store is connected", async || {
                        replica.ready().await.is_ok() && replica.read_cut_offs().await.is_ok()
                    })
                    .await;
                }
            }
            Step::Restart(replica_index) => {
                replicas[usize::from(replica_index)] =
                    ConnectedStore::connect(settings(&server.url())).await;
                known[usize::from(replica_index)].clear();
            }
        }
    }
}
