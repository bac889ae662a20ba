//! A revocation rule ends all sessions with certain properties. A dump of Redis contains no names from rules. Replicas
//! of the previous version and of this version read each other's rules. Curfew reports a rule that it cannot decrypt.

use curfew::revocation::{RevocationConditions, RevocationRule};
use curfew::store::{AddRuleOutcome, CutOffStore};
use curfew::telemetry::{Diagnostics, Metrics};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::redis::RedisServer;

const CUT_OFFS_KEY: &[u8] = b"test:not-before";
const FORGET_BEFORE: Timestamp = Timestamp::from_millis(1000);
/// Names that occur only in the conditions of the rule. A dump with one of them contains the rule in plain text.
const CONDITION_NAMES: [&str; 3] = [
    "night-shift-nurses",
    "ward7.example.com",
    "https://id.example",
];

fn new_rule() -> RevocationRule {
    let [group, host, provider] = CONDITION_NAMES.map(|name| Some(name.to_owned()));
    RevocationRule {
        conditions: RevocationConditions {
            group,
            host,
            provider,
            ..RevocationConditions::default()
        },
        before: now(),
    }
}

/// Makes the server save an RDB file, and returns its content.
fn save_rdb_dump(server: &RedisServer) -> Vec<u8> {
    server.command::<()>(&[b"CONFIG", b"SET", b"rdbcompression", b"no"]);
    server.command::<()>(&[b"SAVE"]);
    let directory: Vec<String> = server.command(&[b"CONFIG", b"GET", b"dir"]);
    std::fs::read(PathBuf::from(&directory[1]).join("dump.rdb")).unwrap()
}

fn condition_names_in(dump: &[u8]) -> Vec<&'static str> {
    let is_in = |name: &&str| dump.windows(name.len()).any(|it| it == name.as_bytes());
    CONDITION_NAMES.into_iter().filter(is_in).collect()
}

fn rule_count(server: &RedisServer) -> usize {
    let rules = (1_u64 << 51).to_string();
    let log = format!("({}", 1_u64 << 52);
    server.command(&[b"ZCOUNT", CUT_OFFS_KEY, rules.as_bytes(), log.as_bytes()])
}

async fn read_cut_offs(replica: &ConnectedStore) {
    assert_eq!(replica.read_cut_offs().await, Ok(true));
}

/// Follows the cut-offs until `condition` is true for the diagnostics. `what` describes the condition.
async fn follow_until(
    replica: &ConnectedStore,
    what: &str,
    mut condition: impl AsyncFnMut(&Diagnostics) -> bool,
) {
    let (diagnostics, metrics) = (Diagnostics::default(), Metrics::new().unwrap());
    let policies = Live::new(super::migrations::policies());
    let stop = CancellationToken::new();
    tokio::select! {
        () = replica.follow_cut_offs(&policies, &diagnostics, &metrics, stop) => unreachable!("the task ended although it was not stopped"),
        () = eventually(what, async || condition(&diagnostics).await) => {}
    }
}

#[tokio::test]
async fn a_dump_names_no_group_host_or_provider_of_a_rule() {
    let server = RedisServer::start();
    let one = ConnectedStore::connect(settings(&server.url())).await;
    let other_store = ConnectedStore::connect(settings(&server.url())).await;
    let first = new_rule();
    one.add_rule(&first, FORGET_BEFORE).await.unwrap();
    // A rule with the same conditions and a later time updates the time of the existing member.
    let later = RevocationRule {
        before: now().plus(MINUTE),
        ..first
    };
    other_store.add_rule(&later, FORGET_BEFORE).await.unwrap();
    assert_eq!(rule_count(&server), 1);
    read_cut_offs(&one).await;
    assert_eq!(*one.rules(), [later]);
    assert!(!condition_names_in(&save_rdb_dump(&server)).contains(&CONDITION_NAMES[0]));
    assert_eq!(condition_names_in(&save_rdb_dump(&server)), [""; 0]);
}

#[tokio::test]
async fn a_plain_rule_of_the_previous_version_is_in_force_and_is_encrypted() {
    let server = RedisServer::start();
    // With this schema version, older replicas may run, so the replica writes a format that these can read.
    server.command::<()>(&[b"SET", b"test:schema", b"2"]);
    let older = ConnectedStore::connect(settings(&server.url())).await;
    older.add_rule(&new_rule(), FORGET_BEFORE).await.unwrap();
    assert_eq!(condition_names_in(&save_rdb_dump(&server)), CONDITION_NAMES);
    server.command::<()>(&[b"SET", b"test:schema", b"3"]);
    let newer = ConnectedStore::connect(settings(&server.url())).await;
    read_cut_offs(&newer).await;
    let rules = newer.rules();
    assert_eq!(rules[0].conditions, new_rule().conditions);
    follow_until(&newer, "the rule in Redis is encrypted", async |_| {
        condition_names_in(&save_rdb_dump(&server)).is_empty()
    })
    .await;
    assert_eq!(rule_count(&server), 1);
    let third = ConnectedStore::connect(settings(&server.url())).await;
    read_cut_offs(&third).await;
    assert_eq!(
        third.rules(),
        rules,
        "all replicas should read the same time for the rule"
    );
}

#[tokio::test]
async fn an_undecryptable_rule_is_reported_and_not_confirmed() {
    let server = RedisServer::start();
    let one = ConnectedStore::connect(settings(&server.url())).await;
    let added = one.add_rule(&new_rule(), FORGET_BEFORE).await.unwrap();
    let AddRuleOutcome::Added {
        change: Some(_), ..
    } = added
    else {
        panic!("{added:?}");
    };
    let key = SigningKey::parse(&"E".repeat(43)).unwrap();
    let other = KeyRing::new(vec![key]).unwrap();
    let other_store = ConnectedStore::start_with_keys(
        settings(&server.url()),
        StoreClock::new(),
        Live::new(other),
    );
    eventually("the second store is connected", async || {
        other_store.ready().await.is_ok()
    })
    .await;
    let has_diagnostic = async |diagnostics: &Diagnostics| {
        let lines = diagnostics.recommendations();
        lines
            .iter()
            .any(|it| it.contains("1 revocation rules in Redis could not be decrypted"))
    };
    follow_until(
        &other_store,
        "the rule is in the diagnostics",
        has_diagnostic,
    )
    .await;
    assert!(other_store.rules().is_empty());
    assert_eq!(
        other_store.confirmed_change(),
        0,
        "no replica may confirm a rule that it cannot decrypt"
    );
    read_cut_offs(&one).await;
    assert!(one.confirmed_change() > 0);
    assert_eq!(rule_count(&server), 1, "the rule stays in Redis");
}
