//! The cut-offs of subjects: a sorted set in Redis, and a local copy in every replica. All sessions of a subject that
//! started before its cut-off have ended.
//!
//! A replica reads the changes of the set on a separate connection (`reader.rs`). While the copy is not fresh, it may
//! lack a cut-off. The replica then reads the cut-offs of each session that it loads from Redis.

pub(super) mod log;
mod reader;
pub(super) mod rule;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::RedisStore;
use super::format::Format;
use crate::clock::{Clock, SteadyClock};
use crate::cut_offs::{CutOffs, subject_key};
use crate::redis::invalidation::Message;
use crate::revocation::{RevocationConditions, RevocationRule};
use crate::revocation_rules::RevocationRules;
use crate::session::{Session, State, Subject, Timestamp};
use crate::{
    AddRuleOutcome, CutOffStore, CutOffUsage, MAX_REVOCATION_RULES, Replication, StoreError,
};
use log::{EPOCH_BASE, LOG_SCORE_BASE, Member, RULE_SCORE_BASE};
use reader::Reader;
use rule::RuleMember;

/// How long the copy counts as complete after a complete read. The lease of the near cache has the same length.
const LEASE: Duration = crate::cached::LEASE;
/// The member whose score is the general cut-off.
pub(super) const GENERAL_MEMBER: &str = "*";
/// The member whose score is the epoch: a random number that distinguishes the set from an earlier set that Redis has
/// lost.
pub(super) const EPOCH_MEMBER: &str = "#";

/// The cut-offs and revocation rules that this replica has read.
pub(super) struct LocalCopy {
    /// Maximum number of cut-offs in Redis.
    pub(super) max: usize,
    pub(super) table: CutOffs,
    pub(super) rules: RevocationRules,
    /// How many revocation rules in Redis this replica could not decrypt.
    pub(super) undecryptable_rules: AtomicUsize,
    pub(super) reader: tokio::sync::Mutex<Reader>,
    /// Notified when another replica announces a change.
    pub(super) change_announced: Notify,
    /// Notified when this replica must announce how far it has read the changes.
    pub(super) announcement_due: Notify,
    /// The sequence number of the last change that this replica has read. The replica has read all earlier changes too.
    pub(super) last_read_change: AtomicU64,
    steady: SteadyClock,
    /// The time until which the copy counts as complete, in milliseconds of `steady`.
    fresh_until: AtomicU64,
}

impl LocalCopy {
    /// Creates an empty copy, for at most `max` cut-offs in Redis.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            // The table has extra space for cut-offs that Redis has just removed or lost.
            table: CutOffs::new(max + max / 8),
            rules: RevocationRules::new(),
            undecryptable_rules: AtomicUsize::new(0),
            reader: tokio::sync::Mutex::default(),
            change_announced: Notify::new(),
            announcement_due: Notify::new(),
            last_read_change: AtomicU64::new(0),
            steady: SteadyClock::new(),
            fresh_until: AtomicU64::new(0),
        }
    }

    pub(super) fn steady_now(&self) -> Timestamp {
        self.steady.now()
    }

    /// Records that the copy has all changes up to the time `since`.
    pub(super) fn mark_complete_up_to(&self, since: Timestamp) {
        let until = since.plus(LEASE).as_millis();
        self.fresh_until.fetch_max(until, Ordering::Release);
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.steady.now().as_millis() < self.fresh_until.load(Ordering::Acquire)
    }
}

impl RedisStore {
    /// Reads the cut-offs that apply to a live session from Redis, if the copy may be incomplete.
    pub(super) async fn refresh_cut_offs_of(&self, session: &Session) -> Result<(), StoreError> {
        if session.state != State::Live || self.cut_offs.is_fresh() {
            return Ok(());
        }
        let key = self.keys.cut_offs();
        let subject_keys: Vec<_> = std::iter::once(session.subject.clone())
            .chain(session.provider_names())
            .map(|subject| subject_key(&subject))
            .collect();
        let mut read_times = redis::pipe();
        read_times.cmd("ZSCORE").arg(&key).arg(GENERAL_MEMBER);
        for subject_key in &subject_keys {
            read_times.cmd("ZSCORE").arg(&key).arg(&subject_key[..]);
        }
        let read_rules = read_rules_command(&key);
        // Curfew sends two requests, because their replies have different types.
        let (times, rules) = tokio::try_join!(
            self.send_with_retry::<Vec<Option<u64>>>(&read_times),
            self.send_with_retry::<Vec<Member>>(&read_rules),
        )?;
        self.apply_rules(&rules);
        let mut times = times.into_iter().map(|at| at.map(Timestamp::from_millis));
        if let Some(at) = times.next().flatten() {
            self.cut_offs.table.raise_general_cut_off(at);
        }
        for (subject_key, at) in subject_keys.into_iter().zip(times) {
            if let Some(at) = at {
                self.cut_offs.table.raise(subject_key, at);
            }
        }
        Ok(())
    }
}

impl RedisStore {
    /// Adds the revocation rules from Redis to the copy.
    pub(super) fn apply_rules(&self, members: &[Member]) {
        let (key, key_ring) = (self.keys.cut_offs(), self.key_ring.current());
        let (mut rules, mut undecryptable) = (Vec::new(), 0);
        for member in members {
            match rule::parse(member, &key, &key_ring) {
                RuleMember::Rule(rule, _) => rules.push(rule),
                RuleMember::Undecryptable => undecryptable += 1,
                RuleMember::Unknown => {}
            }
        }
        self.cut_offs.rules.add(rules);
        let counter = &self.cut_offs.undecryptable_rules;
        counter.store(undecryptable, Ordering::Relaxed);
    }

    /// Encodes a revocation rule with these conditions as a member of the set, in a format that all replicas can read.
    pub(super) fn rule_member(
        &self,
        conditions: &RevocationConditions,
    ) -> Result<Vec<u8>, StoreError> {
        let (key, format) = (self.keys.cut_offs(), self.upgrade.format());
        let member = rule::encode(conditions, format, &key, &self.key_ring.current());
        member.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Encrypts each revocation rule that is not yet encrypted with the first key of the key ring.
    pub(super) async fn seal_rules(&self) -> Result<(), StoreError> {
        if self.upgrade.format() == Format::Plain {
            return Ok(());
        }
        let key = self.keys.cut_offs();
        let members: Vec<Member> = self.send_with_retry(&read_rules_command(&key)).await?;
        let key_ring = self.key_ring.current();
        for member in &members {
            let RuleMember::Rule(rule, false) = rule::parse(member, &key, &key_ring) else {
                continue;
            };
            let (old, score) = member;
            let mut seal = redis::pipe();
            seal.atomic();
            // Another replica may have moved the time forward in the meantime. `GT` keeps the later time.
            let add = seal.cmd("ZADD").arg(&key).arg("GT").arg(score);
            add.arg(self.rule_member(&rule.conditions)?);
            seal.cmd("ZREM").arg(&key).arg(old);
            self.send_with_retry::<()>(&seal).await?;
        }
        Ok(())
    }
}

/// Returns a command that reads all revocation rules of the set.
pub(super) fn read_rules_command(key: &[u8]) -> redis::Cmd {
    let mut read = redis::cmd("ZRANGEBYSCORE");
    read.arg(key).arg(RULE_SCORE_BASE);
    read.arg(format!("({LOG_SCORE_BASE}")).arg("WITHSCORES");
    read
}

/// Creates a random epoch for a set without an epoch.
fn random_epoch() -> Result<u64, StoreError> {
    let random = getrandom::u32();
    let random = random.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok(EPOCH_BASE + u64::from(random))
}

#[async_trait]
impl CutOffStore for RedisStore {
    async fn set_cut_off(
        &self,
        subject: &Subject,
        at: Timestamp,
        forget_until: Timestamp,
    ) -> Result<Replication, StoreError> {
        let (key, name) = (self.keys.cut_offs(), subject_key(subject));
        let mut set = self.scripts.cut_off.key(&key);
        set.arg(&name[..])
            .arg(at.as_millis())
            .arg(forget_until.as_millis())
            .arg(self.managed_connection.clock().now().as_millis())
            .arg(self.cut_offs.max)
            .arg(self.keys.invalidation_channel())
            .arg(Message::CutOffs.encode())
            .arg(random_epoch()?);
        self.send_once::<u64>(&set).await?;
        self.cut_offs.table.raise(name, at);
        // `WAIT` counts from a write on its own connection, so Curfew sends the script again on that connection.
        Ok(self.send_and_wait_for_replicas(&set, &key).await)
    }

    async fn cut_off(&self, subject: &Subject) -> Result<Option<Timestamp>, StoreError> {
        let key = self.keys.cut_offs();
        let mut read = redis::pipe();
        read.cmd("ZSCORE")
            .arg(&key)
            .arg(&subject_key(subject)[..])
            .cmd("ZSCORE")
            .arg(&key)
            .arg(GENERAL_MEMBER);
        let (own, general): (Option<u64>, Option<u64>) = self.send_with_retry(&read).await?;
        Ok(own.max(general).map(Timestamp::from_millis))
    }

    fn known_cut_off(&self, subject: &Subject) -> Option<Timestamp> {
        self.cut_offs.table.for_subject(subject)
    }

    fn is_fresh(&self) -> bool {
        self.cut_offs.is_fresh()
    }

    async fn add_rule(
        &self,
        rule: &RevocationRule,
        forget_until: Timestamp,
    ) -> Result<AddRuleOutcome, StoreError> {
        let key = self.keys.cut_offs();
        let mut add = self.scripts.rule.key(&key);
        add.arg(self.rule_member(&rule.conditions)?)
            .arg(rule.before.as_millis())
            .arg(forget_until.as_millis())
            .arg(self.managed_connection.clock().now().as_millis())
            .arg(MAX_REVOCATION_RULES)
            .arg(self.keys.invalidation_channel())
            .arg(Message::CutOffs.encode())
            .arg(random_epoch()?)
            .arg(u8::from(rule.conditions.match_everybody()));
        let change: u64 = self.send_once(&add).await?;
        if change == 0 {
            return Ok(AddRuleOutcome::TooMany);
        }
        self.cut_offs.rules.add([rule.clone()]);
        self.cut_offs.announcement_due.notify_one();
        Ok(AddRuleOutcome::Added {
            change: Some(change),
            replication: self.send_and_wait_for_replicas(&add, &key).await,
        })
    }

    fn rules(&self) -> Arc<Vec<RevocationRule>> {
        self.cut_offs.rules.all()
    }

    fn is_ended_by_rule(&self, session: &Session) -> bool {
        self.cut_offs.rules.ends(session)
    }

    fn usage(&self) -> CutOffUsage {
        CutOffUsage {
            entries: self.cut_offs.table.len(),
            max: self.cut_offs.max,
        }
    }
}
